"""Orders on the desks and in the JSON API: made, refused field by field, cancelled, and joined to studies by people."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from reading_queue.services.orders import unmatched
from reading_queue.services.reading import reading
from tests.integration.hub_web.county import (
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    OTHER_TECHNICIAN,
    PASSWORD,
    SECOND_SITE,
    TECHNICIAN,
    TEXT,
    County,
)
from tests.integration.hub_web.serving import Visitor
from tests.support.chromium import running_chromium
from tests.support.order_forms import form_in

STUDY = "1.2.3.4001"
Of = Callable[[str], Visitor]
FORM = {
    "patient_number": "P4001",
    "patient_name": "赵䶮",
    "sex": "F",
    "birth_date": "1958-04-12",
    "identity_kind": "none",
    "lane": "routine",
    "visit_kind": "O",
    "modality": "CT",
    "procedure_name": "胸部平扫",
    "history": "咳嗽2周",
    "question": "排除肺炎",
    "consent_recorded": "yes",
    "consent_given_by": "赵䶮",
    "consent_at": "2026-03-01T09:00",
}
BODY: dict[str, Any] = {name: text for name, text in FORM.items() if not name.startswith("consent")} | {
    "site_id": FIRST_SITE,
    "consent": {"given_by": "赵䶮", "at": "2026-03-01T01:00:00Z"},
}


def entered(answer: Any) -> str:
    """Return the id of the order that a form made."""
    assert answer.status == 303, answer.text
    return str(answer.headers["Location"]).removeprefix("/clinic/orders/").split("?")[0]


def test_the_clinic_orders_and_finds_the_order_with_its_consent(browser_of: Of):
    clinic = browser_of(TECHNICIAN)
    assert 'name="consent_at"' in clinic.get("/clinic/orders/new").text
    order_id = entered(clinic.post("/clinic/orders/new", **FORM))
    page = clinic.get(f"/clinic/orders/{order_id}?done=order_entered").text
    for words in ("赵䶮，03-01 09:00", "HUBU", "咳嗽2周", "排除肺炎"):
        assert words in page
    assert browser_of(OTHER_TECHNICIAN).get(f"/clinic/orders/{order_id}").status == 404


def test_a_form_with_mistakes_comes_back_with_each_named_and_nothing_lost(browser_of: Of):
    clinic = browser_of(TECHNICIAN)
    clinic.get("/clinic/orders/new")
    wrong = FORM | {"identity_kind": "resident", "identity_number": "110105194912310021", "consent_given_by": ""}
    answer = clinic.post("/clinic/orders/new", **wrong)
    assert answer.status == 422
    for words in ("身份证号码的最后一位对不上", "110105194912310021", "咳嗽2周", "请填写此项"):
        assert words in answer.text
    asked = clinic.post("/clinic/orders/new", **FORM | {"history": ""})
    assert asked.status == 422
    assert "确认缺项，仍然保存" in asked.text
    entered(clinic.post("/clinic/orders/new", **FORM | {"history": "", "confirmed": "history"}))


def test_who_oversees_many_sites_says_for_which(browser_of: Of):
    coordinator = browser_of(COORDINATOR)
    assert 'name="site_id"' in coordinator.get("/clinic/orders/new").text
    assert "请选择申请机构" in coordinator.post("/clinic/orders/new", **FORM).text
    entered(coordinator.post("/clinic/orders/new", **FORM, site_id=SECOND_SITE))


@pytest.mark.parametrize(("login", "desk"), [(TECHNICIAN, "clinic"), (COORDINATOR, "coordinator")])
def test_a_proposal_is_confirmed_or_rejected_on_both_desks(browser_of: Of, county: County, login: str, desk: str):
    clinic = browser_of(login)
    order_id = entered(clinic.post("/clinic/orders/new", **FORM, scheduled_at="2026-03-02T09:00", site_id=FIRST_SITE))
    county.arrive(STUDY)
    address = f"/{desk}/orders/{order_id}/match"
    page = clinic.get(f"/{desk}/orders").text
    assert address in page
    assert "患者编号一致" in page
    assert clinic.post(address, study_uid=STUDY, act="reject", words="").status == 422
    stale = clinic.post(address, study_uid=STUDY, act="confirm", version="9")
    assert (stale.status, "其他人刚刚修改了这张申请单" in stale.text) == (409, True)
    done = clinic.post(address, study_uid=STUDY, act="confirm", version="1")
    assert done.headers["Location"] == f"/{desk}/orders?done=match_confirmed"
    page = clinic.get(f"/{desk}/orders").text
    assert address not in page
    assert f"/clinic/studies/{FIRST_SITE}/{STUDY}" in clinic.get(f"/clinic/orders/{order_id}").text
    assert clinic.post(f"/{desk}/orders/forged/match", study_uid=STUDY, act="confirm", version="1").status == 404


def test_an_order_is_made_for_a_study_that_came_without_one(browser_of: Of, county: County):
    county.arrive(STUDY)
    clinic = browser_of(TECHNICIAN)
    address = f"/clinic/orders/new?site_id={FIRST_SITE}&study_uid={STUDY}"
    assert address.replace("&", "&amp;") in clinic.get("/clinic/orders").text
    assert address.replace("&", "&amp;") in clinic.get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").text
    assert 'value="P4001"' in clinic.get(address).text
    whose = {"site_id": FIRST_SITE, "study_uid": STUDY}
    order_id = entered(clinic.post("/clinic/orders/new", **FORM, **whose))
    assert f"/clinic/orders/{order_id}" in clinic.get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").text
    asked = clinic.post("/clinic/orders/new", **FORM, **whose)
    assert "此检查已有申请单" in asked.text
    assert 'name="further"' in asked.text
    wrong = clinic.post("/clinic/orders/new", **FORM | {"modality": "MR"}, **whose, further="yes")
    assert "不一致的项目： 检查类型" in wrong.text
    second = entered(clinic.post("/clinic/orders/new", **FORM | {"procedure_name": "腹部平扫"}, **whose, further="yes"))
    assert f"/clinic/orders/{second}" in clinic.get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").text
    assert address.replace("&", "&amp;") not in clinic.get("/clinic/orders").text
    assert clinic.post(f"/clinic/orders/{order_id}/cancel", version="1", reason="重复").status == 409


@pytest.mark.parametrize(
    ("patient", "shown", "stored"),
    [
        ("Wang^XiaoDong=王^小东", ("王小东", "Wang XiaoDong"), ("王^小东", "Wang^XiaoDong")),
        ("Doe^Peter", ("Doe Peter", ""), ("Doe^Peter", "")),
        ("^^^^", ("", ""), ("", "")),
    ],
)
def test_an_order_for_a_study_takes_its_name_and_never_a_word_for_none(
    browser_of: Of, county: County, patient: str, shown: tuple[str, str], stored: tuple[str, str]
):
    county.arrive(STUDY, patient=patient)
    form = form_in(browser_of(TECHNICIAN).get(f"/clinic/orders/new?site_id={FIRST_SITE}&study_uid={STUDY}"))
    assert (form["patient_name"], form["patient_name_latin"]) == shown
    assert (form["patient_name_stored"], form["patient_name_latin_stored"]) == stored


def test_an_order_without_images_is_read_with_a_study_that_has_one(browser_of: Of, program_of: Of, county: County):
    county.arrive(STUDY)
    clinic = browser_of(TECHNICIAN)
    entered(clinic.post("/clinic/orders/new", **FORM, site_id=FIRST_SITE, study_uid=STUDY))
    second = entered(clinic.post("/clinic/orders/new", **FORM | {"procedure_name": "腹部平扫"}, site_id=FIRST_SITE))
    page = clinic.get(f"/clinic/orders/{second}").text
    assert 'id="further"' in page
    assert "排除肺炎" in page.split('id="further"')[1]
    (study,) = program_of(TECHNICIAN).get(f"/api/v1/orders/{second}/further-studies").json()["studies"]
    assert (study["study_uid"], study["orders"][0]["question"]) == (STUDY, "排除肺炎")
    its = f"/clinic/orders/{second}/match"
    assert clinic.post(its, study_uid=STUDY, act="confirm", version="1").status == 409
    assert clinic.post(its, study_uid=STUDY, act="confirm", version="1", further="yes").status == 303
    assert f"/clinic/studies/{FIRST_SITE}/{STUDY}" in clinic.get(f"/clinic/orders/{second}").text


def test_the_clinic_changes_an_order_and_the_reader_confirms_what_changed(browser_of: Of, county: County):
    case_id = county.arrive(STUDY)
    clinic = browser_of(TECHNICIAN)
    order_id = entered(clinic.post("/clinic/orders/new", **FORM, site_id=FIRST_SITE, study_uid=STUDY))
    address = f"/clinic/orders/{order_id}/change"
    assert address in clinic.get(f"/clinic/orders/{order_id}").text
    page = clinic.get(address).text
    assert ("咳嗽2周" in page, 'name="consent_given_by"' in page) == (True, False), "consent is recorded already"
    task, author = county.task(case_id), county.viewer(AUTHOR)
    reading.claim(county.hub, author, task)
    reader = browser_of(AUTHOR)
    (whether,) = re.findall(r'id="changes"[^>]* hx-get="([^"]+)"', reader.get(f"/radiologist/cases/{case_id}").text)
    changed = FORM | {"question": "排除肺栓塞"}
    assert clinic.post(address, version="1", **changed | {"modality": "ZZ"}).status == 422
    assert clinic.post(address, version="1", **changed).headers["Location"].endswith("?done=order_changed")
    stale = clinic.post(address, version="1", **FORM | {"history": "高热", "question": "排除骨折"})
    assert stale.status == 409
    for words in ("其他人刚刚修改了这张申请单", "排除骨折", "高热", '<dd class="prose">排除肺栓塞</dd>'):
        assert words in stale.text
    shown = clinic.get(f"/clinic/orders/{order_id}").text
    assert "<del>排除肺炎</del> → <ins>排除肺栓塞</ins>" in shown
    assert "本页打开后，申请单有改动" in reader.get(html.unescape(whether)).text
    assert "<del>排除肺炎</del> → <ins>排除肺栓塞</ins>" in reader.get(f"/radiologist/cases/{case_id}").text
    its = f"/radiologist/cases/{case_id}/tasks/{task}"
    text = {"findings": TEXT.findings, "impression": TEXT.impression, "recommendation": "", "password": PASSWORD}
    refused = reader.post(f"{its}/submit", version="0", **text)
    assert "请核对并确认后再签名" in refused.text
    assert re.search(r'id="editor".*?(<button.*?>)', refused.text, re.DOTALL)[1] == "<button hidden>", "Enter signs"
    unseen = reader.post(f"{its}/orders", version="0", **text).text
    (news,) = re.findall(r'name="news" value="([^"]+)"', unseen)
    seen = reader.post(f"{its}/orders", version="0", news=news, **text)
    assert TEXT.impression in seen.text, "what was typed stays"
    assert "<del>" not in seen.text
    assert reader.post(f"{its}/submit", version="0", **text).status == 303
    county.run_jobs()
    county.sign(case_id)
    page = clinic.get(f"/clinic/orders/{order_id}").text
    assert address not in page
    assert "申请单的报告已签名" in clinic.post(address, version="2", **FORM).text
    assert clinic.post(f"/clinic/orders/{order_id}/notes", words="").status == 422
    assert clinic.post(f"/clinic/orders/{order_id}/notes", words="患者补述过敏").status == 303
    assert "患者补述过敏" in browser_of(AUTHOR).get(f"/radiologist/cases/{case_id}").text


def test_programs_change_an_order_field_by_field(program_of: Of, county: County):
    program = program_of(TECHNICIAN)
    given = BODY | {"order_id": "f" * 32}
    assert program.call("POST", "/orders", given).status == 201
    order = f"/orders/{'f' * 32}"
    changed = program.call("PATCH", order, {"version": 1, "question": "排除肺栓塞", "lane": "urgent"}).json()
    assert (changed["order"]["version"], changed["order"]["history"], changed["is_changeable"]) == (2, "咳嗽2周", True)
    assert [one["version"] for one in changed["versions"]] == [2, 1]
    assert changed["versions"][0]["changes"][0] == {"name": "lane", "before": "routine", "after": "urgent"}
    stale = program.call("PATCH", order, {"version": 1, "question": "别的"})
    assert (stale.status, stale.json()["code"]) == (409, "stale_order")
    wrong = program.call("PATCH", order, {"version": 2, "sex": "M", "pregnancy": "yes"}).json()
    assert [(one["field"], one["code"]) for one in wrong["faults"]] == [("pregnancy", "pregnant_man")]
    assert program.call("PATCH", order, {"version": 2, "site_id": SECOND_SITE}).status == 422
    assert program.call("POST", f"{order}/notes", {"words": "早"}).json()["code"] == "order_not_open"
    assert program_of(OTHER_TECHNICIAN).call("PATCH", order, {"version": 2, "question": "x"}).status == 404


def test_programs_make_look_at_and_cancel_orders(program_of: Of):
    program = program_of(TECHNICIAN)
    given = BODY | {"order_id": "f" * 32}
    made = [program.call("POST", "/orders", given) for _ in range(2)]
    assert [one.status for one in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert made[0].json()["consent"] == {"given_by": "赵䶮", "at": "2026-03-01T01:00:00Z"}
    listed = program.call("GET", "/orders").json()
    assert [one["order_id"] for one in listed["orders"]] == ["f" * 32]
    assert [one["site_id"] for one in listed["sites"]] == [FIRST_SITE]
    cancel = f"/orders/{'f' * 32}/cancel"
    stale = program.call("POST", cancel, {"version": 3, "reason": "重复"})
    assert (stale.status, stale.json()["code"]) == (409, "stale_order")
    nameless = program.call("POST", cancel, {"version": 1, "reason": ""})
    assert nameless.json()["faults"][0]["field"] == "reason"
    assert program.call("POST", cancel, {"version": 1, "reason": "重复"}).json()["order"]["state"] == "cancelled"
    assert program.call("GET", f"/orders/{'f' * 32}").json()["is_open"] is False
    assert program_of(OTHER_TECHNICIAN).call("GET", f"/orders/{'f' * 32}").status == 404


def test_programs_are_told_every_field_that_is_wrong_and_never_what_was_sent(program_of: Of):
    program = program_of(TECHNICIAN)
    wrong = BODY | {"identity_kind": "resident", "identity_number": "110105194912310021", "lane": "soon"}
    refused = program.call("POST", "/orders", wrong)
    assert (refused.status, refused.json()["code"]) == (422, "order_not_acceptable")
    assert {one["field"]: one["code"] for one in refused.json()["faults"]} == {
        "identity_number": "national_id_checksum",
        "lane": "enum",
    }
    assert "110105194912310021" not in refused.text
    gaps = program.call("POST", "/orders", BODY | {"consent": None})
    assert (gaps.json()["code"], gaps.json()["gaps"]) == ("order_gaps", ["consent"])
    assert program.call("POST", "/orders", BODY | {"site_id": SECOND_SITE}).status == 404
    assert program.call("POST", "/orders", BODY | {"colour": "red"}).status == 422


def test_programs_list_what_waits_and_decide(program_of: Of, county: County):
    program = program_of(COORDINATOR)
    order_id = program.call("POST", "/orders", BODY).json()["order"]["order_id"]
    county.arrive(STUDY)
    found = program.call("GET", "/orders/unmatched").json()["unmatched"]
    (proposal,) = found["proposals"]
    assert (proposal["order"]["order_id"], proposal["study"]["study_uid"]) == (order_id, STUDY)
    assert len(found["studies"]) == 1
    match = f"/orders/{order_id}/match"
    assert program.call("POST", match, {"study_uid": STUDY, "decision": "reject", "reason": "另一次"}).status == 204
    assert program.call("GET", "/orders/unmatched").json()["unmatched"]["proposals"] == []
    assert program.call("POST", match, {"study_uid": STUDY, "decision": "confirm", "version": 1}).status == 204
    assert program.call("GET", "/orders/unmatched").json()["unmatched"]["studies"] == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_pages_of_orders_fit_their_screens(
    chromium: Browser,
    url: str,
    county: County,
    browser_of: Of,
    width: int,
    height: int,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(unmatched, "LISTED_MAX", 1)
    county.arrive(STUDY)
    county.arrive(
        "1.2.3.4002", patient="Muhammadjon^Abdurahmonov-Toshmuhammad", what="胸部平扫 / CT chest without contrast"
    )
    made = entered(browser_of(TECHNICIAN).post("/clinic/orders/new", **FORM, scheduled_at="2026-03-02T08:00"))
    context = chromium.new_context(viewport={"width": width, "height": height}, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{url}/login")
    page.fill("[name=login]", TECHNICIAN)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(lambda address: "/login" not in address)
    for language in ("zh", "en"):
        for name, address in (
            ("lists", "/clinic/orders"),
            ("form", "/clinic/orders/new"),
            ("order", f"/clinic/orders/{made}"),
            ("change", f"/clinic/orders/{made}/change"),
            ("all", "/clinic/orders/all"),
        ):
            page.goto(f"{url}{address}")
            page.screenshot(path=tmp_path / f"{name}-{language}-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, language)
        if language == "zh":
            page.click("[name=language]")
    page.goto(f"{url}/clinic/orders")
    first = page.locator("a[href^='/clinic/studies/'] .name").last.inner_text()
    page.locator("a[href*=studies_after]").click()
    expect(page.locator("a[href*=studies_after]")).to_have_count(0)
    assert page.locator("a[href^='/clinic/studies/'] .name").last.inner_text() != first
    assert "studies_after" in str(page.locator("#order-lists").get_attribute("hx-get"))  # it refreshes where it is
    page.goto(f"{url}/clinic/orders")
    page.locator(".match summary").click()
    page.locator(".match [name=words]").fill("不是同一次检查")
    page.locator(".match [value=reject]").click()
    expect(page.locator(".notice.good")).to_be_visible()
    expect(page.locator(".match")).to_have_count(0)
    context.close()
