"""Signing alone on the desk and by the API: the button only where it is allowed, and every face says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from reading_queue.db.tables import Account
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views
from reading_queue.services.network.network_facts import document_of, load_facts
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import COORDINATOR, FIRST_SITE, PASSWORD, TECHNICIAN, TEXT, County
from tests.integration.hub_web.serving import Visitor
from tests.integration.hub_web.test_network_pages import CLINIC, FIRST, terms_of
from tests.support.chromium import running_chromium

pytestmark = pytest.mark.postgres

STUDY = "1.2.3.1"
ATTENDING = "lin.shu"


def allow(hub: Hub, county: County) -> None:
    """Let the coordinator allow it from today on."""
    coordinator = county.viewer(COORDINATOR)
    seen = network_views.view_agreement(hub, coordinator, FIRST)
    today = hub.clock().astimezone(ZoneInfo("Asia/Shanghai")).date()
    network_editing.save_agreement(hub, coordinator, FIRST, terms_of(seen, single_physician=True), seen.version, today)


def film(county: County, **changes: object) -> tuple[str, str]:
    """Let a plain film arrive; return its case's page and its task's address."""
    case_id = county.arrive(STUDY, **{"modality": "DX", "what": "胸部正位", **changes})  # type: ignore[arg-type]
    return f"/radiologist/cases/{case_id}", f"/radiologist/cases/{case_id}/tasks/{county.task(case_id)}"


def test_the_button_is_there_where_it_is_allowed_and_the_clinic_sees_how_it_was_signed(
    browser_of: Callable[[str], Visitor], county: County, hub: Hub
) -> None:
    allow(hub, county)
    page, task = film(county)
    author = browser_of(ATTENDING)
    author.post(f"{task}/claim")
    assert f"{task}/sign-alone" in author.get(page).text
    undeclared = author.post(f"{task}/sign-alone", **TEXT.model_dump())
    assert undeclared.status == 422
    assert "请先勾选声明" in undeclared.text
    assert TEXT.impression in undeclared.text
    done = author.post(f"{task}/sign-alone", **TEXT.model_dump(), declared="yes")
    assert done.headers["Location"] == "/radiologist/?done=signed"
    study = browser_of(TECHNICIAN).get(f"/clinic/studies/{FIRST_SITE}/{STUDY}").text
    for shown in (study, author.get(page).text):
        assert "单医师报告" in shown
        assert "审核医师" not in shown


@pytest.mark.parametrize(
    ("allowed", "changes", "why"),
    [
        (False, {}, "所依据的结对协议今日不允许单医师报告"),
        (True, {"modality": "CT"}, "仅限普通X线片（CR、DX）"),
        (True, {"lane": Lane.STAT}, "急诊须由两位医师签发"),
    ],
    ids=["not agreed", "no film", "emergency"],
)
def test_otherwise_there_is_no_button_and_whoever_tries_is_told_why_in_words(
    browser_of: Callable[[str], Visitor], county: County, hub: Hub, allowed: bool, changes: dict[str, object], why: str
) -> None:
    if allowed:
        allow(hub, county)
    page, task = film(county, **changes)
    author = browser_of(ATTENDING)
    author.post(f"{task}/claim")
    assert "sign-alone" not in author.get(page).text
    refused = author.post(f"{task}/sign-alone", **TEXT.model_dump(), declared="yes")
    assert refused.status == 403
    assert f"不能单独签发：{why}" in refused.text
    assert TEXT.impression in refused.text


def test_programs_sign_alone_too_and_read_every_obstacle(
    program_of: Callable[[str], Visitor], county: County, hub: Hub
) -> None:
    page, _ = film(county)
    case_id = page.rsplit("/", 1)[-1]
    program, task = program_of(ATTENDING), f"/reading-tasks/{county.task(case_id)}"
    program.call("POST", f"{task}/claim")
    text = TEXT.model_dump() | program.seen(case_id)
    refused = program.call("POST", f"{task}/sign-alone", text | {"declared": True})
    assert (refused.status, refused.json()["code"]) == (403, "second_physician_needed")
    assert refused.json()["obstacles"] == ["not_agreed"]
    allow(hub, county)
    undeclared = program.call("POST", f"{task}/sign-alone", text)
    assert (undeclared.status, undeclared.json()["code"]) == (422, "not_declared")
    assert "sign_alone" in program.call("GET", f"/cases/{case_id}").json()["case"]["events"]
    signed = program.call("POST", f"{task}/sign-alone", text | {"declared": True})
    assert signed.status == 200
    report = program.call("GET", f"/cases/{case_id}").json()["case"]["report"]["content"]
    assert report["single_physician"]["agreement_id"] == FIRST


def test_the_permission_is_a_box_of_the_agreement_and_a_key_of_the_network_file(
    browser_of: Callable[[str], Visitor], county: County, hub: Hub
) -> None:
    browser, page = browser_of(COORDINATOR), f"/coordinator/network/agreements/{FIRST}"
    seen = network_views.view_agreement(hub, county.viewer(COORDINATOR), FIRST)
    form = {
        "assisting": seen.assisting_id,
        "stage": str(seen.stage),
        "services": "interpretation",
        "modalities": ", ".join(seen.modalities),
        "valid_from": seen.valid_from.isoformat(),
        "valid_until": seen.valid_until.isoformat(),
        "from_day": hub.clock().date().isoformat(),
        "version": str(seen.version),
    }
    browser.get(page)
    assert browser.post(page, None, **form, single_physician="yes").status == 303
    shown = browser.get(page).text
    assert "允许单医师报告" in shown
    assert 'name="single_physician" value="yes" checked' in shown
    with hub.transaction() as session:
        exported = document_of(load_facts(session))["agreements"]
    assert [one["requesting"] for one in exported if one.get("single_physician")] == [[CLINIC]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def log_in(chromium: Browser, url: str, width: int) -> Page:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{url}/login")
    page.fill("[name=login]", ATTENDING)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/radiologist/")
    return page


@pytest.mark.browser
@pytest.mark.xdist_group("desks in Chromium")
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_physician_declares_and_signs_alone(
    chromium: Browser, url: str, county: County, hub: Hub, tmp_path: Path, width: int, language: str
) -> None:
    allow(hub, county)
    speak(hub, language)
    address, task = film(county)
    page = log_in(chromium, url, width)
    page.goto(f"{url}{address}")
    page.locator(f"form[action$='{task}/claim'] button").click()
    for name, words in TEXT.model_dump().items():
        page.fill(f"[name={name}]", words)
    page.check("[name=declared]")
    page.screenshot(path=tmp_path / f"editor-{width}-{language}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("fieldset.alone button").click()
    page.wait_for_url("**/radiologist/?done=signed")
    page.goto(f"{url}{address}")
    expect(page.locator("main")).to_contain_text({"zh": "单医师报告", "en": "Single-physician report"}[language])
    page.screenshot(path=tmp_path / f"report-{width}-{language}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def speak(hub: Hub, language: str) -> None:
    """Let everybody's pages speak the language."""
    with hub.transaction() as session:
        session.execute(update(Account).values(language=language))
