"""A preliminary report at the clinic's own console: seen first, marked as what it is, acknowledged once, replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.journal.accounts import take_over_accounts
from gateway.journal.course import due_acts
from gateway.journal.preliminaries import take_over_preliminaries
from storage.contract.course import SiteActKind
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.preliminary import PreliminaryReport
from tests.integration.gateway_console.conftest import NARROW, WIDE, Clinic, enrol, hub_account
from tests.integration.gateway_console.day import Day
from tests.support.reports import FINDINGS, IMPRESSION, RECOMMENDATION, signatory


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic)


@pytest.fixture
def study(clinic: Clinic, day: Day) -> Uid:
    """An emergency whose author has signed."""
    study_uid = day.study("Wu^Shi=吴^十")
    day.transfer(study_uid, "confirmed")
    day.at_hub(study_uid, Hop.OFFERED, Hop.CLAIMED, Hop.SUBMITTED)
    stand(clinic, study_uid)
    return study_uid


def stand(clinic: Clinic, study_uid: Uid, submission_id: str = "s1", *, is_final_signed: bool = False) -> None:
    report = PreliminaryReport(
        submission_id=submission_id,
        case_id="case1",
        study_uids=(study_uid,),
        lane=Lane.STAT,
        author=signatory("李明", "attending", "清河县人民医院"),
        findings=FINDINGS,
        impression=IMPRESSION,
        recommendation=RECOMMENDATION,
        submitted_at=clinic.clock(),
        is_final_signed=is_final_signed,
    )
    take_over_preliminaries(clinic.journal, [report], clinic.clock())


def test_it_is_seen_above_the_list_in_its_row_and_among_what_needs_a_person(clinic: Clinic, study: Uid):
    someone = clinic.logged_in()
    listed = someone.get("/studies").text
    assert "急诊临时报告待知悉" in listed
    banner = listed[listed.index('role="alert"') :]
    assert banner.index("吴十") < banner.index(IMPRESSION.splitlines()[0]), "whose it is stands before what it says"
    assert f'href="/studies/{study}#preliminary"' in listed
    needed = someone.get("/attention").text
    assert "急诊临时报告待知悉" in needed
    assert "吴十" in needed, "whose it is"
    page = someone.get(f"/studies/{study}").text
    for words in ("急诊临时报告", "尚未经第二名医师审核", FINDINGS, IMPRESSION, "李明（清河县人民医院）"):
        assert words in page, words


def test_it_is_acknowledged_once_with_who_was_told(clinic: Clinic, study: Uid):
    someone = clinic.logged_in()
    assert someone.post(f"/studies/{study}/acknowledge", submission_id="s1", words=" ").status == 409
    assert someone.post(f"/studies/{study}/acknowledge", submission_id="other", words="赵医生").status == 409
    assert someone.post(f"/studies/{study}/acknowledge", submission_id="s1", words="赵医生").status == 303
    assert someone.post(f"/studies/{study}/acknowledge", submission_id="s1", words="赵医生").status == 409
    (act,) = due_acts(clinic.journal, 10)
    assert (act.kind, act.request_id, act.words) == (SiteActKind.ACKNOWLEDGE, "s1", "赵医生")
    page = someone.get(f"/studies/{study}").text
    assert "高原 已知悉" in page
    assert "赵医生" in page
    assert 'name="submission_id"' not in page
    assert "/withdraw" in page, "that it is on its way to the hub holds up nothing else"
    for path in ("/studies", "/attention"):
        assert "急诊临时报告待知悉" not in someone.get(path).text
    assert "临时报告" in someone.get("/studies").text, "its row leads to it as long as it stands"


def test_the_signed_report_takes_its_place(clinic: Clinic, day: Day, study: Uid):
    stand(clinic, study, is_final_signed=True)
    someone = clinic.logged_in()
    assert "正式报告已签发，正在送回" in someone.get(f"/studies/{study}").text
    day.report(study)
    page = someone.get(f"/studies/{study}").text
    assert "急诊临时报告" not in page
    assert "第 1 版" in page
    assert "临时报告" not in someone.get("/studies").text
    assert "临时报告" not in someone.get("/attention").text


def test_what_was_taken_back_is_crossed_out_and_told_until_somebody_has_settled_it(clinic: Clinic, study: Uid):
    take_over_preliminaries(clinic.journal, [], clinic.clock())
    someone = clinic.logged_in()
    page = someone.get(f"/studies/{study}").text
    assert "临时报告已撤回" in page
    assert '<del class="preliminary-text">' in page
    assert "急诊临时报告已撤回" in someone.get("/attention").text
    assert someone.post("/attention/back-s1/settled").status == 303
    assert "急诊临时报告已撤回" not in someone.get("/attention").text


def test_who_only_looks_does_not_acknowledge(clinic: Clinic, study: Uid):
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor = clinic.logged_in("doctor")
    page = doctor.get(f"/studies/{study}").text
    assert IMPRESSION in page
    assert 'name="submission_id"' not in page
    assert doctor.post(f"/studies/{study}/acknowledge", submission_id="s1", words="x").status == 403


@pytest.mark.browser
@pytest.mark.xdist_group("console_screens")
@pytest.mark.parametrize("language", ["中文", "English"])
def test_it_is_read_and_acknowledged_on_any_screen(
    clinic: Clinic, study: Uid, page: Page, tmp_path: Path, language: str
):
    page.goto(f"{clinic.url}/studies")
    if language == "English":
        page.get_by_role("button", name="English").click()
        page.wait_for_load_state()
    for path in ("/studies", f"/studies/{study}", "/attention"):
        page.goto(f"{clinic.url}{path}")
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            name = path.strip("/").split("/")
            page.screenshot(path=tmp_path / f"{len(name)}-{name[0]}-{language}-{size['width']}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.goto(f"{clinic.url}/studies")
    page.locator(".preliminaries a").first.click()
    expect(page.locator("#preliminary")).to_contain_text(IMPRESSION)
    page.locator("[name=words]").first.fill("赵医生")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        pass  # the page refreshes itself around the form
    expect(page.locator("[name=words]").first).to_have_value("赵医生")
    page.locator("form[action$=acknowledge] button").click()
    expect(page.locator(".notice.good").first).to_be_visible()
    expect(page.locator("form[action$=acknowledge]")).to_have_count(0)
