"""Correcting a refused HL7 message in a real browser: what is wrong is marked, corrected and sent; how it looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gateway.journal.orders import list_orders
from tests.integration.gateway_console.conftest import NARROW, WIDE, Clinic, enrol
from tests.integration.gateway_console.test_order_corrections import newest, send
from tests.integration.gateway_orders.sending import EXAMPLE, RESIDENT, changed

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("console_screens")]


@pytest.fixture
def refused(clinic: Clinic) -> int:
    enrol(clinic.journal, clinic.clock)
    faulty = changed("|CT|", "|RAD|", *changed(RESIDENT, "110105194912310021", *EXAMPLE))
    send(clinic, *faulty)
    return newest(clinic).message_id


def test_refused_message_is_corrected_and_sent_as_an_order(clinic: Clinic, refused: int, page: Page):
    page.goto(f"{clinic.url}/orders/messages")
    page.get_by_role("link", name="更正并登记申请单").click()
    expect(page.locator("#patient_name")).to_have_value("王秀兰")
    expect(page.locator("#problem-modality")).to_contain_text("OBR-24")
    expect(page.locator("#problem-identity_number")).to_be_visible()
    expect(page.locator("#problem-patient_number")).to_be_hidden()
    page.fill("#identity_number", RESIDENT)
    page.keyboard.press("Tab")
    expect(page.locator("#problem-identity_number")).to_be_hidden()
    page.select_option("#modality", "CT")
    page.check("#consent_recorded")
    page.get_by_role("button", name="提交申请单").click()
    expect(page.locator(".notice.good")).to_contain_text("工作列表")
    (row,) = list_orders(clinic.journal)
    assert (row.order.modality, row.order.identity_number) == ("CT", RESIDENT)
    page.get_by_role("link", name="查看消息").click()
    expect(page.locator("main")).to_contain_text("高原 于")
    expect(page.locator(".hl7-lines")).to_contain_text("110105194912310021")


@pytest.mark.parametrize("language", ["中文", "English"])
def test_nothing_hangs_over_the_edge(clinic: Clinic, refused: int, page: Page, tmp_path: Path, language: str):
    if language == "English":
        page.get_by_role("button", name="English").click()
        page.wait_for_load_state()
    for name, address in (("list", ""), ("message", f"/{refused}"), ("form", f"/{refused}/order")):
        page.goto(f"{clinic.url}/orders/messages{address}")
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            page.screenshot(path=tmp_path / f"{name}-{language}-{size['width']}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, name
