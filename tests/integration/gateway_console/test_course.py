"""The clinic answers readers at its own console: what waits is seen, what was done is told, no line is needed."""

from __future__ import annotations

import re

import pytest

from gateway.journal.accounts import take_over_accounts
from gateway.journal.course import acts_of, due_acts, note_answer, take_over_courses
from storage.contract.course import CaseCourse, SiteActKind, SiteActRefusal, SiteActsAnswer, SiteQuestion
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from tests.integration.gateway_console.conftest import Clinic, enrol, hub_account
from tests.integration.gateway_console.day import Day


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic)


@pytest.fixture
def study(day: Day) -> Uid:
    """A study that a physician reads."""
    study_uid = day.study("Wu^Shi=吴^十")
    day.transfer(study_uid, "confirmed")
    day.at_hub(study_uid, Hop.OFFERED, Hop.CLAIMED)
    return study_uid


def ask(clinic: Clinic, day: Day, study_uid: Uid) -> None:
    day.at_hub(study_uid, Hop.HELD)
    question = SiteQuestion(
        request_id="r1", wants=("history",), question="发病时间？", asked_by="王医师", asked_at=clinic.clock()
    )
    take_over_courses(clinic.journal, [CaseCourse(study_uids=(study_uid,), question=question)])


def test_what_a_reader_asks_is_seen_and_answered_without_a_line(clinic: Clinic, day: Day, study: Uid):
    ask(clinic, day, study)
    someone = clinic.logged_in()
    assert "阅片医师请求补充资料" in someone.get("/attention").text
    page = someone.get(f"/studies/{study}").text
    assert "待本院补充资料" in page
    assert "发病时间？" in page
    assert someone.post(f"/studies/{study}/answer", request_id="r1", words="昨晚八点").status == 303
    (act,) = due_acts(clinic.journal, 10)
    assert (act.kind, act.request_id, act.words, act.study_uid) == (SiteActKind.ANSWER, "r1", "昨晚八点", study)
    page = someone.get(f"/studies/{study}").text
    assert "等待送往中心" in page
    assert 'name="request_id"' not in page, "it is answered once"
    assert "阅片医师请求补充资料" not in someone.get("/attention").text
    assert clinic.verbs()[-2:] == ["site_answer", "study_viewed"]


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        ("answer", {"request_id": "r2", "words": "昨晚"}),
        ("answer", {"request_id": "r1", "words": "  "}),
        ("answer", {"request_id": "r1", "words": "长" * 2001}),
        ("resubmit", {"words": "请阅片"}),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(clinic: Clinic, day: Day, study: Uid, verb: str, form: dict[str, str]):
    ask(clinic, day, study)
    page = clinic.logged_in().post(f"/studies/{study}/{verb}", **form)
    assert page.status == 409
    assert re.search(r"[\u4e00-\u9fff]{6,}", page.text)
    assert due_acts(clinic.journal, 10) == []


def test_a_study_is_withdrawn_until_its_report_is_signed(clinic: Clinic, day: Day, study: Uid):
    someone = clinic.logged_in()
    assert f'action="/studies/{study}/withdraw"' in someone.get(f"/studies/{study}").text
    assert someone.post(f"/studies/{study}/withdraw", words="患者转院").status == 303
    note_answer(clinic.journal, SiteActsAnswer(done=(due_acts(clinic.journal, 10)[0].act_id,)))
    take_over_courses(clinic.journal, [CaseCourse(study_uids=(study,), withdrawal_asked=True)])
    assert "等待阅片医师答复" in someone.get(f"/studies/{study}").text
    day.at_hub(study, Hop.WITHDRAWN)
    take_over_courses(clinic.journal, [])
    page = someone.get(f"/studies/{study}").text
    assert "已撤回" in page
    assert f'action="/studies/{study}/withdraw"' not in page


def test_what_the_hub_refuses_waits_for_somebody_until_it_is_seen(clinic: Clinic, day: Day, study: Uid):
    ask(clinic, day, study)
    someone = clinic.logged_in()
    someone.post(f"/studies/{study}/answer", request_id="r1", words="昨晚八点")
    (act,) = due_acts(clinic.journal, 10)
    refusal = SiteActRefusal(act_id=act.act_id, code="wrong_state", reason="too late")
    note_answer(clinic.journal, SiteActsAnswer(done=(), refused=(refusal,)))
    assert "情况已经变化" in someone.get(f"/studies/{study}").text
    assert "中心没有接受本院的答复或请求" in someone.get("/attention").text
    assert someone.post(f"/attention/act-{act.act_id}/settled").status == 303
    assert "中心没有接受本院的答复或请求" not in someone.get("/attention").text
    assert acts_of(clinic.journal, study)[0].state == "refused"


def test_only_the_clinics_operators_act(clinic: Clinic, day: Day, study: Uid):
    ask(clinic, day, study)
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor = clinic.logged_in("doctor")
    page = doctor.get(f"/studies/{study}").text
    assert "发病时间？" in page
    assert 'name="request_id"' not in page
    assert doctor.post(f"/studies/{study}/answer", request_id="r1", words="昨晚八点").status == 403


def test_a_report_that_is_being_amended_is_said_to_be(clinic: Clinic, day: Day, study: Uid):
    day.report(study)
    someone = clinic.logged_in()
    day.at_hub(study, Hop.SIGNED, Hop.AMENDMENT_OPENED, Hop.CLAIMED)
    assert "报告补充或更正中" in someone.get(f"/studies/{study}").text
    day.at_hub(study, Hop.AMENDMENT_CLOSED)
    assert "报告补充或更正中" not in someone.get(f"/studies/{study}").text


def test_a_void_report_is_marked_wherever_it_is_shown_until_somebody_has_settled_it(
    clinic: Clinic, day: Day, study: Uid
):
    document_id = day.report(study)
    someone = clinic.logged_in()
    pages = (f"/studies/{study}", f"/reports/{document_id}", f"/reports/{document_id}/print")
    assert not any("已作废" in someone.get(page).text for page in pages)
    day.at_hub(study, Hop.SIGNED, Hop.VOIDED)
    assert all("已作废" in someone.get(page).text for page in pages)
    assert "报告已作废" in someone.get("/attention").text
    someone.post(f"/attention/void-{study}/settled")
    assert "报告已作废" not in someone.get("/attention").text
