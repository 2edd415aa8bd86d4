"""What the pages show and what their forms do, over HTTP; how they look is for eyes and test_browser."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Case
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Study
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import (
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    PASSWORD,
    TECHNICIAN,
    TEXT,
    VERIFIER,
    County,
)
from tests.integration.hub_web.serving import Answer, Visitor
from tests.support.clock import SteerableClock

STUDY = "1.2.3.1"


@pytest.fixture
def case_id(county: County) -> str:
    return county.arrive(STUDY)


def address(county: County, case_id: str) -> str:
    return f"/radiologist/cases/{case_id}/tasks/{county.task(case_id)}"


def test_report_is_written_submitted_verified_and_signed_with_forms_alone(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author, verifier = browser_of(AUTHOR), browser_of(VERIFIER)
    assert author.post(f"{address(county, case_id)}/claim").headers["Location"] == f"/radiologist/cases/{case_id}"
    page = author.get(f"/radiologist/cases/{case_id}").text
    assert f"/viewer/viewer?StudyInstanceUIDs={STUDY}&amp;lng=zh" in page
    done = author.post(f"{address(county, case_id)}/submit", **TEXT.model_dump())
    assert done.headers["Location"] == "/radiologist/?done=submitted"
    assert "报告已提交" in author.get("/radiologist/?done=submitted").text
    county.run_jobs()
    verifier.post(f"{address(county, case_id)}/claim")
    assert TEXT.impression in verifier.get(f"/radiologist/cases/{case_id}").text
    final = {**TEXT.model_dump(), "recommendation": "六个月后复查。"}
    assert verifier.post(f"{address(county, case_id)}/sign", **final).headers["Location"].endswith("done=signed")
    study = browser_of(TECHNICIAN).get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").text
    assert "六个月后复查。" in study
    assert "报告已签发" in study
    assert "周蔚" in study


def test_refused_text_is_shown_again_with_the_reasons(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author = browser_of(AUTHOR)
    author.post(f"{address(county, case_id)}/claim")
    answer = author.post(f"{address(county, case_id)}/submit", findings="两肺____", impression="")
    assert answer.status == 422
    assert "诊断意见为空" in answer.text
    assert "模板中还有空白没有填写" in answer.text
    assert "两肺____" in answer.text


def test_signature_asks_for_the_password_and_keeps_the_text(
    browser_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub, hub_clock: SteerableClock
) -> None:
    author = browser_of(AUTHOR)
    author.post(f"{address(county, case_id)}/claim")
    assert 'name="password"' not in author.get(f"/radiologist/cases/{case_id}").text
    hub_clock.advance(hub.policy.reauthentication_s - 10)
    author.post(f"{address(county, case_id)}/heartbeat")
    hub_clock.advance(20)
    asked = author.post(f"{address(county, case_id)}/submit", **TEXT.model_dump())
    assert (asked.status, 'name="password"' in asked.text, TEXT.impression in asked.text) == (403, True, True)
    wrong = author.post(f"{address(county, case_id)}/submit", password="wrong", **TEXT.model_dump())
    assert (wrong.status, TEXT.impression in wrong.text) == (401, True)
    right = author.post(f"{address(county, case_id)}/submit", password=PASSWORD, **TEXT.model_dump())
    assert right.status == 303


def test_draft_is_saved_by_script_and_by_button_and_never_overwritten_unseen(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author = browser_of(AUTHOR)
    author.post(f"{address(county, case_id)}/claim")
    draft = f"{address(county, case_id)}/draft"
    saved = author.post(draft, {"Accept": "application/json"}, findings="一\r\n二", version="")
    assert saved.json()["version"] == 1
    stale = author.post(draft, {"Accept": "application/json"}, findings="三", version="")
    assert (stale.status, stale.json()["code"]) == (409, "stale_draft")
    assert author.post(draft, findings="四", version="1").status == 303
    assert ">四</textarea>" in author.get(f"/radiologist/cases/{case_id}").text


def test_technician_says_that_the_signed_report_is_here(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    technician, page = browser_of(TECHNICIAN), f"/clinic/studies/{FIRST_SITE}/{STUDY}"
    assert f"/clinic/cases/{case_id}/receive" not in technician.get(page).text
    county.submit(case_id)
    county.sign(case_id)
    shown = re.search(r'name="report_id" value="([0-9a-f]+)"', technician.get(page).text)
    assert shown is not None
    received = technician.post(f"/clinic/cases/{case_id}/receive", report_id=shown[1])
    assert received.headers["Location"].endswith("done=received")
    after = technician.get(page).text
    assert "已签收" in after
    assert f"/clinic/cases/{case_id}/receive" not in after


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"because": "forced", "instances": 3}, "技师未等检查传完"),
        ({"because": "instances_missing", "instances": 3, "expected": 5}, "预告 5 幅，收到 3 幅"),
        ({"because": "expected_count", "instances": 3, "expected": 3}, None),
    ],
)
def test_reader_sees_that_images_may_be_missing_until_the_rest_has_come(
    browser_of: Callable[[str], Visitor], county: County, case_id: str, detail: dict[str, object], words: str | None
) -> None:
    county.complete(STUDY, detail)
    page = browser_of(AUTHOR).get(f"/radiologist/cases/{case_id}").text
    assert ("影像可能不完整" in page) is (words is not None)
    assert words is None or words in page
    county.complete(STUDY, {"because": "quiet_period", "instances": 2})
    assert "影像可能不完整" not in browser_of(AUTHOR).get(f"/radiologist/cases/{case_id}").text


def test_report_is_returned_to_its_author_with_the_reason(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    county.submit(case_id)
    verifier = browser_of(VERIFIER)
    verifier.post(f"{address(county, case_id)}/claim")
    assert verifier.post(f"{address(county, case_id)}/return", return_reason="").status == 422
    returned = verifier.post(f"{address(county, case_id)}/return", return_reason="请补充左肺")
    assert returned.headers["Location"].endswith("done=returned")
    author = browser_of(AUTHOR)
    assert "审核医师把您的报告退回修改" in author.get("/radiologist/").text
    assert "请补充左肺" in author.get(f"/radiologist/cases/{case_id}").text


def test_released_task_keeps_what_was_written(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    author = browser_of(AUTHOR)
    author.post(f"{address(county, case_id)}/claim")
    released = author.post(f"{address(county, case_id)}/release", findings="写了一半", version="", reason="110532")
    assert released.headers["Location"].endswith("done=released")
    county.run_jobs()
    verifier = browser_of(VERIFIER)
    verifier.post(f"{address(county, case_id)}/claim")
    assert "写了一半" in verifier.get(f"/radiologist/cases/{case_id}").text


def test_declined_offer_leaves_the_desk(browser_of: Callable[[str], Visitor], county: County, case_id: str) -> None:
    author = browser_of(AUTHOR)
    assert "赵䶮" in author.get("/radiologist/").text
    author.post(f"{address(county, case_id)}/decline", reason="110530")
    assert "赵䶮" not in author.get("/radiologist/").text


def images_drawn(page: Answer) -> str:
    found = re.search(r'name="images" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_late_images_must_be_looked_at_before_signing(
    browser_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub
) -> None:
    author = browser_of(AUTHOR)
    author.post(f"{address(county, case_id)}/claim")
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(images_unacknowledged=True))
    refused = author.post(f"{address(county, case_id)}/submit", **TEXT.model_dump())
    assert (refused.status, "已查看新到影像" in refused.text) == (409, True)
    drawn = images_drawn(refused)
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(images_version=Case.images_version + 1))
        session.execute(update(Study).values(instance_count=Study.instance_count + 5))
    for way in ("images", "submit"):
        stale = author.post(f"{address(county, case_id)}/{way}", images=drawn, **TEXT.model_dump())
        assert (stale.status, "又到了 5 幅影像" in stale.text, TEXT.impression in stale.text) == (409, True, True)
    assert "已查看新到影像" in stale.text, "nothing is acknowledged"
    seen = author.post(f"{address(county, case_id)}/images", images=images_drawn(stale), **TEXT.model_dump())
    assert TEXT.impression in seen.text
    assert author.post(f"{address(county, case_id)}/submit", **TEXT.model_dump()).status == 303


def changes_told(reader: Visitor, page: Answer) -> str:
    """Return what the open page is told when it asks whether it still shows the case as it is."""
    (its,) = re.findall(r'id="changes"[^>]* hx-get="([^"]+)"', page.text)
    return reader.get(html.unescape(its)).text


def test_an_open_page_says_what_has_changed_since_it_was_drawn(
    browser_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub
) -> None:
    author = browser_of(AUTHOR)
    offered = author.get(f"/radiologist/cases/{case_id}")
    assert "notice" not in changes_told(author, offered)
    author.post(f"{address(county, case_id)}/claim")
    claimed = author.get(f"/radiologist/cases/{case_id}")
    assert "状态或持有人已变" in changes_told(author, offered)
    author.post(f"{address(county, case_id)}/draft", version="", **TEXT.model_dump())
    assert "notice" not in changes_told(author, claimed), "what the reader does there is no news"
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(images_version=Case.images_version + 1))
    told = changes_told(author, claimed)
    assert ("影像有新到或更正" in told, "状态" in told, f'href="/radiologist/cases/{case_id}"' in told) == (
        True,
        False,
        True,
    )
    assert "notice" not in changes_told(author, author.get(f"/radiologist/cases/{case_id}"))
    author.post(f"{address(county, case_id)}/release", version="1", reason="110530", **TEXT.model_dump())
    told = changes_told(author, claimed)
    assert ("已不在您名下" in told, "赵䶮" in told, case_id in told) == (True, False, True)


def test_most_urgent_offer_stands_first(browser_of: Callable[[str], Visitor], county: County) -> None:
    county.arrive("1.2.3.1", patient="常规患者", ago_s=600)
    county.arrive("1.2.3.2", patient="急诊患者", lane=Lane.STAT, ago_s=10)
    page = browser_of(AUTHOR).get("/radiologist/").text
    assert page.index("急诊患者") < page.index("常规患者")


def test_coordinator_sees_what_is_stuck_in_words(
    browser_of: Callable[[str], Visitor], county: County, case_id: str, hub: Hub, hub_clock: SteerableClock
) -> None:
    assert "没有卡住的检查" in browser_of(COORDINATOR).get("/coordinator/").text
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(unroutable_reason="三位医师不在班"))
    page = browser_of(COORDINATOR).get("/coordinator/").text
    assert "三位医师不在班" in page
    assert page.count("未接入") == 21
    with hub.transaction() as session:
        late = {"unroutable_reason": None, "due_at": hub.clock()}
        session.execute(update(Case).where(Case.case_id == case_id).values(late))
    hub_clock.advance(3600)
    page = browser_of(COORDINATOR).get("/coordinator/").text
    assert "已超时" in page
    assert page.count("失去联系") == 2


def test_names_are_escaped(browser_of: Callable[[str], Visitor], county: County) -> None:
    county.arrive("1.2.3.9", patient="<script>alert(1)</script>")
    page = browser_of(TECHNICIAN).get("/clinic/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_empty_lists_say_what_to_do(browser_of: Callable[[str], Visitor]) -> None:
    assert "还没有检查" in browser_of(TECHNICIAN).get("/clinic/").text
    assert "现在没有派给您的检查" in browser_of(AUTHOR).get("/radiologist/").text


def test_part_of_a_page_is_answered_for_its_refresh(browser_of: Callable[[str], Visitor]) -> None:
    part = browser_of(TECHNICIAN).get("/clinic/", HX_Request="true").text
    assert part.lstrip().startswith('<div id="studies"')


@pytest.mark.parametrize(
    "path", ["/clinic/studies/../x", "/clinic/studies/Bad_Site/1.2", "/nothing", "/static/x/y.css"]
)
def test_wrong_address_gets_a_page_with_words(browser_of: Callable[[str], Visitor], path: str) -> None:
    answer = browser_of(TECHNICIAN).get(path)
    assert answer.status == 404
    assert "返回工作台" in answer.text


def test_pages_carry_security_headers_and_are_never_stored(browser_of: Callable[[str], Visitor]) -> None:
    headers = browser_of(TECHNICIAN).get("/clinic/").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert len(headers["X-Request-Id"]) == 32


def test_case_that_says_only_its_body_region_is_told_by_it_in_words(
    county: County, browser_of: Callable[[str], Visitor]
) -> None:
    county.arrive("1.2.3.9", what="")
    desk = browser_of(AUTHOR).get("/radiologist/").text
    assert "<span>胸部</span>" in desk
    assert "CHEST" not in desk


def test_body_larger_than_any_form_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/login", login=TECHNICIAN, password="x" * 2_000_000)
    assert answer.status == 413
    assert "内容太大" in answer.text


def test_own_files_are_kept_by_browsers_under_their_digest(visitor: Visitor) -> None:
    page = visitor.get("/login").text
    start = page.index("/static/", page.index('rel="stylesheet"'))
    sheet = visitor.get(page[start : page.index('"', start)])
    assert sheet.status == 200
    assert "immutable" in sheet.headers["Cache-Control"]
    assert sheet.headers["Content-Type"].startswith("text/css")


def test_logs_name_routes_and_never_addresses_queries_or_patients(
    browser_of: Callable[[str], Visitor], case_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    browser = browser_of(TECHNICIAN)
    browser.get(f"/clinic/studies/{FIRST_SITE}/{STUDY}?name=赵䶮")
    browser.get("/clinic/?before=secret")
    told = "".join(capfd.readouterr())
    assert "/studies/{site_id}/{study_uid}" in told
    assert "赵䶮" not in told
    assert "secret" not in told
