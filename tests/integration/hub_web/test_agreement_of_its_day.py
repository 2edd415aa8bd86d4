"""An old case is judged by the agreement of its day: what is agreed afterwards changes no limit, no explanation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case, Offer, Report
from reading_queue.domain.report import ReportContent
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views
from reading_queue.services.network.network import load_network
from reading_queue.services.reading import reading
from reading_queue.services.routing import explaining
from tests.integration.hub_web.county import AUTHOR, CHEAP, COORDINATOR, VERIFIER, County, read_document
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

FIRST = "renmin-first:qinghe-t01"


def change(hub: Hub, county: County, **changes: object) -> None:
    """Agree on other terms from now on."""
    coordinator = county.viewer(COORDINATOR)
    found = network_views.view_agreement(hub, coordinator, FIRST)
    same = ("stage", "modalities", "body_regions", "services", "cases_per_day_max", "time_limits_min", "valid_from")
    terms: dict[str, Any] = {name: getattr(found, name) for name in (*same, "valid_until")}
    terms["assisting"] = found.assisting_id
    network_editing.save_agreement(hub, coordinator, FIRST, {**terms, **changes}, found.version)


def versions_offered(hub: Hub, case_id: str, county: County) -> set[int | None]:
    with hub.transaction() as session:
        of_task = select(Offer.agreement_version).where(
            Offer.reading_task_id == county.task(case_id), Offer.agreement_id == FIRST, Offer.state == "open"
        )
        return set(session.scalars(of_task))


def test_limit_and_explanation_stay_those_of_the_day_when_the_agreement_is_changed_afterwards(
    hub: Hub, county: County, hub_clock: SteerableClock, browser_of: Callable[[str], Visitor]
) -> None:
    case_id = county.arrive("1.2.3.4")
    with hub.transaction() as session:
        due_at = session.get_one(Case, case_id).due_at
    hub_clock.advance(60)
    change(hub, county, time_limits_min={"routine": 33})
    later = county.arrive("1.2.3.5")
    assert versions_offered(hub, case_id, county) == {1}
    assert versions_offered(hub, later, county) == {2}
    coordinator = county.viewer(COORDINATOR)
    old, new = (explaining.why_late(hub, coordinator, one) for one in (case_id, later))
    assert (old.agreement_id, old.agreement_version, old.limit_min, old.due_at) == (FIRST, 1, 1440, due_at)
    assert (new.agreement_version, new.limit_min) == (2, 33)
    page = browser_of(COORDINATOR).get(f"/coordinator/cases/{case_id}/lateness").text
    assert "第 1 版，时限 1 天" in page
    assert "按当日协议判定：双桥镇中心卫生院 ⇄ 清河县人民医院" in page


def test_who_read_for_a_site_may_still_ask_about_the_cases_of_that_time(
    hub: Hub, county: County, hub_clock: SteerableClock
) -> None:
    county.arrive("1.2.3.4")
    hub_clock.advance(timedelta(days=3).total_seconds())
    coordinator, author = county.viewer(COORDINATOR), county.viewer(AUTHOR)
    document = read_document()
    ended = (hub_clock.now - timedelta(days=1)).date()
    for agreement in document["agreements"]:
        agreement["valid_until"] = ended.isoformat()
    load_network(hub, document, hasher=CHEAP)
    assert network_views.view_agreement(hub, coordinator, FIRST).is_over
    assert [one.offered > 0 for one in explaining.why_not_me(hub, author, "A1")] == [True]
    county.arrive("1.2.3.5")
    assert len(explaining.why_not_me(hub, author, "A1")) == 1, "nobody reads what came after the end"


def test_report_names_the_hospital_that_was_agreed_when_the_case_was_taken(
    hub: Hub, county: County, hub_clock: SteerableClock
) -> None:
    document = read_document()
    guest = next(one for one in document["physicians"] if one["login"] == "wu.ke")
    guest["also_at"] = ["qinghe-renmin"]
    document["physicians"] = [guest, *(one for one in document["physicians"] if one["login"] == VERIFIER)]
    load_network(hub, document, whole=True, hasher=CHEAP)
    case_id = county.arrive("1.2.3.4")
    county.submit(case_id, VERIFIER)
    task, reader = county.task(case_id), county.viewer("wu.ke")
    reading.claim(hub, reader, task)
    hub_clock.advance(60)
    change(hub, county, assisting="jianglan-sheng")
    reading.sign(hub, reader, task, None)
    with hub.transaction() as session:
        report = ReportContent.from_json(session.scalars(select(Report.content)).one())
    assert report.verifier.organisation_id == "qinghe-renmin"
