"""What another hospital advised is in the signed report, and on the page that the clinic reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Report
from reading_queue.domain.report import ReportContent
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from tests.integration.hub_web import consulting
from tests.integration.hub_web.consulting import OPINION, QUESTION
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, TECHNICIAN, TEXT, County
from tests.integration.hub_web.serving import Visitor

pytestmark = pytest.mark.postgres
PAGE = f"/clinic/studies/{FIRST_SITE}/1.2.3.1"


def signed(hub: Hub, case_id: str) -> ReportContent:
    with hub.transaction() as session:
        (content,) = session.scalars(select(Report.content).where(Report.case_id == case_id))
    return ReportContent.from_json(content)


def advised(county: County) -> str:
    """Return a case whose report was signed after the city had advised."""
    case_id = county.arrive("1.2.3.1")
    consulting.answer(county, consulting.ask(county, case_id))
    reading.submit(county.hub, county.viewer(AUTHOR), county.task(case_id), TEXT)
    county.run_jobs()
    county.sign(case_id)
    return case_id


def test_clinic_reads_who_at_which_hospital_advised_what(county: County, browser_of: Callable[[str], Visitor]) -> None:
    case_id = advised(county)
    decided = browser_of(COORDINATOR).get(f"/coordinator/cases/{case_id}/decisions").text
    assert f"周蔚 请 临澜市第一人民医院 会诊：{QUESTION}" in decided
    shown = browser_of(TECHNICIAN).get(PAGE).text
    for words in ("临澜市第一人民医院会诊意见", OPINION, "孙澜", "副主任医师", "周蔚 询问：", QUESTION):
        assert words in shown, words


def test_signed_report_has_the_opinion_and_one_without_is_read_by_older_gateways(hub: Hub, county: County) -> None:
    content = signed(hub, advised(county))
    assert content.format == "counterpart-report/4"
    (opinion,) = content.opinions
    consultant = opinion.consultant
    assert (consultant.name, consultant.organisation_id, consultant.title) == ("孙澜", "linlan-diyi", "associate_chief")
    assert (opinion.opinion, opinion.question, opinion.asked_by) == (OPINION, QUESTION, "周蔚")
    assert opinion.asked_at <= opinion.answered_at <= content.signed_at
    plain = county.arrive("1.2.3.2")
    county.submit(plain)
    county.sign(plain)
    without = signed(hub, plain)
    assert without.format == "counterpart-report/2"
    assert b'"opinions"' not in without.canonical()
    assert b'"opinions"' not in content.model_copy(update={"format": "counterpart-report/3"}).canonical()
