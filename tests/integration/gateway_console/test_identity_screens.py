"""Settling whose a study is, in a real browser: seen, decided, kept; both languages, a wide and a narrow screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.journal.identity_doubts import due_settlements
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.identity_doubts import SettlementKind
from tests.integration.gateway_console.conftest import NARROW, WIDE, Clinic, enrol
from tests.integration.gateway_console.day import Day
from tests.integration.gateway_console.test_identity_doubts import doubt_it

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("console_screens")]


@pytest.fixture
def study(clinic: Clinic) -> Uid:
    enrol(clinic.journal, clinic.clock)
    day = Day(clinic)
    study_uid = day.study("Zhang^San=张^三")
    day.transfer(study_uid, "confirmed")
    day.at_hub(study_uid, Hop.CATALOGUED, Hop.IDENTITY_DOUBTED)
    doubt_it(clinic, study_uid, mismatches=("name", "sex"))
    return study_uid


def test_an_order_is_corrected_beside_what_the_images_say(clinic: Clinic, study: Uid, page: Page):
    page.goto(f"{clinic.url}/attention")
    page.locator(".matter-identity_doubted").get_by_role("link", name="看检查").click()
    expect(page.locator("section.doubt")).to_contain_text("李四")
    page.locator(".settling summary").click()
    correction = page.locator(".settling details form")
    expect(correction.locator("[name=patient_name]")).to_have_value("李四")
    correction.locator("[name=patient_name]").fill("张三")
    correction.locator("[name=birth_date]").fill("1962-05-04")
    correction.locator("[name=sex]").select_option("M")
    correction.locator("[name=reason]").fill("登记写错")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        pass  # the page refreshes itself around the form
    expect(correction.locator("[name=reason]")).to_have_value("登记写错")
    correction.get_by_role("button", name="更正申请单").click()
    expect(page.locator(".notice.good")).to_contain_text("已保存")
    (act,) = due_settlements(clinic.journal, 9)
    assert (act.kind, act.person.patient_name if act.person else "") == (SettlementKind.CORRECT, "张三")
    expect(page.locator("#study")).to_contain_text("等待送往中心")
    expect(page.locator(".settling form")).to_have_count(0)


def test_it_is_decided_with_the_keyboard_and_not_without_a_reason(clinic: Clinic, study: Uid, page: Page):
    page.goto(f"{clinic.url}/studies/{study}")
    page.locator(".settling form textarea").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert due_settlements(clinic.journal, 9) == [], "the browser asks for the reason"
    page.locator(".settling form textarea").first.fill("已电话核对")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("已保存")
    (act,) = due_settlements(clinic.journal, 9)
    assert act.kind is SettlementKind.UNLINK


@pytest.mark.parametrize("language", ["中文", "English"])
def test_nothing_hangs_over_the_edge(clinic: Clinic, study: Uid, page: Page, tmp_path: Path, language: str):
    if language == "English":
        page.get_by_role("button", name="English").click()
        page.wait_for_load_state()
    page.goto(f"{clinic.url}/studies/{study}")
    page.locator(".settling summary").click()
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        page.screenshot(path=tmp_path / f"doubt-{language}-{size['width']}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    unlabelled = page.locator(".settling input:not([type=hidden]), .settling select, .settling textarea").evaluate_all(
        "all => all.filter((one) => !one.labels || one.labels.length === 0).map((one) => one.name)"
    )
    assert unlabelled == []
