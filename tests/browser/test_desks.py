"""People at their desks: a study is followed, read, verified and comes home, all in the browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Page, expect

from storage.contract.hops import Hop
from tests.browser.conftest import Person, canvas_png
from tests.browser.pictures import (
    PATIENT,
    SERIES_DESCRIPTION,
    STUDY_DESCRIPTION,
    chest_phantom,
    difference,
    expected_picture,
    picture_on,
)
from tests.support.network import RunningNetwork
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN, COORDINATOR = "tech.shuangqiao", "coordinator"
FINDINGS, IMPRESSION = "双肺纹理清晰，未见实变影。", "胸部CT平扫未见明显异常。"

PersonOf = Callable[[str], Person]


def open_offer(page: Page, offer_id: str) -> None:
    """Take the offer from the keyboard, as one does who reads all day, whatever else stands above it."""
    offer = page.locator(f"#offer-{offer_id}")
    expect(offer).to_contain_text(PATIENT)
    expect(offer).to_contain_text(STUDY_DESCRIPTION)
    while offer.evaluate("one => one !== document.activeElement"):
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/radiologist/cases/"))


def assert_images_are_drawn(page: Page, file: Path) -> None:
    """Wait until the viewer inside the case's page shows the file."""
    expected = expected_picture(file)
    frame = page.frame_locator("section.images iframe")
    frame.locator("canvas.cornerstone-canvas").first.wait_for()
    frame.get_by_text(SERIES_DESCRIPTION).first.wait_for()
    viewer = next(one for one in page.frames if "/viewer/" in one.url)

    def is_drawn() -> None:
        shown = picture_on(canvas_png(viewer), expected.shape[:2])
        assert difference(shown, expected) < 8

    eventually(is_drawn, every_s=0.2)


def test_study_is_read_verified_and_comes_home(
    network: RunningNetwork,
    person: PersonOf,
    send: Callable[[list[Path]], str],
    offered_to: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> None:
    files = chest_phantom(tmp_path)
    study_uid = send(files)

    technician = person(TECHNICIAN)
    technician.look("clinic-studies")
    technician.page.locator(f"a[href$='/{study_uid}']", has_text=PATIENT).click()
    ledger = technician.page.locator(".ledger-hop")
    expect(technician.page.locator("h1")).to_contain_text(PATIENT)
    expect(ledger).to_contain_text(["网关已收妥", "已派单"])
    technician.look("clinic-study-on-its-way")

    author_login, offer_id = next(iter(offered_to(study_uid).items()))
    author = person(author_login)
    expect(author.page.locator(f"#offer-{offer_id}")).to_be_visible()
    author.look("radiologist-desk")
    open_offer(author.page, offer_id)
    assert_images_are_drawn(author.page, files[0])
    author.look("radiologist-case")
    author.page.fill("textarea[name=findings]", FINDINGS)
    author.page.fill("textarea[name=impression]", IMPRESSION)
    author.page.keyboard.press("Control+s")
    expect(author.page.locator("#saved")).to_contain_text(re.compile(r"\d\d:\d\d"))
    author.page.keyboard.press("Control+Enter")
    expect(author.page.get_by_role("status").filter(visible=True)).to_be_visible()

    verifier_login, offer_id = next(one for one in offered_to(study_uid).items() if one[0] != author_login)
    verifier = person(verifier_login)
    open_offer(verifier.page, offer_id)
    expect(verifier.page.locator("textarea[name=findings]")).to_have_value(FINDINGS)
    verifier.look("radiologist-verification")
    verifier.page.locator("#editor .buttons button.primary").click()
    expect(verifier.page.get_by_role("status").filter(visible=True)).to_be_visible()

    expect(technician.page.locator(".prose").first).to_have_text(FINDINGS)  # the page refreshes by itself
    network.wait_for(study_uid, Hop.ACKNOWLEDGED)
    expect(ledger.last).to_be_visible()
    technician.look("clinic-study-signed")
    pdf = technician.context.request.get(
        network.url + str(technician.page.locator("a.button[href$=pdf]").get_attribute("href"))
    )
    assert pdf.body().startswith(b"%PDF-")
    kept = [pydicom.dcmread(file, force=True).StudyInstanceUID for file in network.pacs.received()]
    assert kept.count(study_uid) == 2, "the structured report and the PDF lie in the clinic's PACS"


def test_coordinator_sees_what_arrived_and_which_centres_were_never_seen(person: PersonOf) -> None:
    coordinator = person(COORDINATOR)
    figures = coordinator.page.locator(".figure b")
    expect(figures.nth(2)).to_have_text("1 / 23")
    expect(coordinator.page.locator(".sites li:not(.site-connected)")).to_have_count(22)
    coordinator.look("coordinator")
    coordinator.page.get_by_role("button", name="English").click()
    expect(coordinator.page.locator("html")).to_have_attribute("lang", "en")
    coordinator.look("coordinator-english")


def test_wrong_password_is_answered_in_words_of_either_language(newcomer: Callable[[], Person]) -> None:
    someone = newcomer()
    someone.page.goto(f"{someone.url}/login")
    someone.look("login")
    for language, button in (("zh-CN", "English"), ("en", "中文")):
        expect(someone.page.locator("html")).to_have_attribute("lang", language)
        someone.page.fill("input[name=login]", "nobody")
        someone.page.fill("input[name=password]", "wrong password")
        someone.page.click("form[action='/login'] button")
        expect(someone.page.get_by_role("alert")).to_be_visible()
        someone.look(f"login-refused-{language}")
        someone.forgive("401")
        someone.page.get_by_role("button", name=button).click()
