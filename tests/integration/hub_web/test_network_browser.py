"""The network's pages in Chromium, on a desktop and on a phone, in Chinese and in English: they fit, and they work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from reading_queue.db.tables import Account, Physician
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views
from tests.integration.hub_web.county import ADMINISTRATOR, AUTHOR, County
from tests.integration.hub_web.test_browser import WIDTHS, chromium, page_of

__all__ = ["chromium", "page_of"]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("the network in Chromium")]

HOSPITAL, CLINIC = "qinghe-renmin", "qinghe-t01"
ROOM = "/coordinator/network"
HEADINGS = {"zh": "网络", "en": "Network"}
OVERHANG = "document.documentElement.scrollWidth - window.innerWidth"
UNTRANSLATED = re.compile(r"\b(?:network|password|late|role|lane|error|presence)\.[a-z_]+")


def author_id(hub: Hub) -> str:
    with hub.transaction() as session:
        own = select(Physician.physician_id).join(Account, Account.account_id == Physician.account_id)
        return session.scalars(own.where(Account.login == AUTHOR)).one()


def speak(hub: Hub, language: str) -> None:
    with hub.transaction() as session:
        session.execute(update(Account).values(language=language))


def leave_gaps(hub: Hub, county: County) -> None:
    """Give the hospital a roster with a night and hours that nobody covers."""
    administrator = county.viewer(ADMINISTRATOR)
    for one in network_views.view_duty(hub, administrator, HOSPITAL).physicians:
        seen = network_views.view_physician(hub, administrator, one.physician_id)
        duty = {"weekly": {"mon": ["08:00-20:00", "20:00-08:00"], "tue": ["08:00-17:00"]}, "days_off": ["2026-03-10"]}
        written = duty if seen.login == AUTHOR else {}
        network_editing.save_duty(hub, administrator, one.physician_id, written, seen.duty_version)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", HEADINGS)
def test_every_page_of_the_network_fits_its_screen_and_speaks_its_language(
    hub: Hub, county: County, page_of: Callable[..., Page], tmp_path: Path, width: str, language: str
) -> None:
    speak(hub, language)
    leave_gaps(hub, county)
    page = page_of(ADMINISTRATOR, width)
    page.wait_for_url(re.compile("/coordinator/"))
    root = page.url.partition("/coordinator")[0]
    pages = {
        "tree": ROOM,
        "organisation": f"{ROOM}/organisations/{HOSPITAL}",
        "clinic": f"{ROOM}/organisations/{CLINIC}",
        "agreement": f"{ROOM}/agreements/renmin-first:{CLINIC}",
        "physician": f"{ROOM}/physicians/{author_id(hub)}",
        "duty": f"{ROOM}/organisations/{HOSPITAL}/duty?from=2026-03-09",
        "password": "/password",
    }
    for name, path in pages.items():
        page.goto(root + path)
        page.evaluate("document.querySelectorAll('main details').forEach(one => one.open = true)")
        page.screenshot(path=tmp_path / f"{name}-{width}-{language}.png", full_page=True)
        assert page.evaluate(OVERHANG) <= 0, f"{name} hangs over the edge"
        assert page.evaluate("document.documentElement.lang").startswith(language)
        assert not UNTRANSLATED.findall(page.inner_text("main")), name
    page.goto(f"{root}{ROOM}/import")
    renamed = f"organisations: [{{id: {CLINIC}, kind: township, name: 甲, parent: {HOSPITAL}, site: {CLINIC}}}]"
    page.set_input_files("[name=files]", {"name": "n.yaml", "mimeType": "", "buffer": renamed.encode()})
    page.locator("form[enctype] button").click()
    expect(page.locator(".plan")).to_contain_text(f"{CLINIC}")
    page.screenshot(path=tmp_path / f"import-{width}-{language}.png", full_page=True)
    assert page.evaluate(OVERHANG) <= 0, "the import hangs over the edge"
    assert not UNTRANSLATED.findall(page.inner_text("main"))
    page.goto(root + ROOM)
    expect(page.locator("h1")).to_have_text(HEADINGS[language])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_physician_is_added_given_duty_and_a_last_day_by_hand(
    hub: Hub, county: County, page_of: Callable[..., Page], tmp_path: Path, width: str
) -> None:
    page = page_of(ADMINISTRATOR, width)
    page.wait_for_url(re.compile("/coordinator/"))
    page.goto(page.url.partition("/coordinator")[0] + f"{ROOM}/organisations/{HOSPITAL}")
    page.get_by_text("新增医师").click()
    form = page.locator("form", has=page.locator("input[name=role][value=physician]"))
    form.locator("[name=name]").fill("欧阳·新来")
    form.locator("[name=login]").fill("ou.yang")
    form.locator("[name=licence_number]").fill("110000000009001")
    form.locator("[name=licence_valid_until]").fill("2020-01-01")
    form.locator("[name=also_at]").fill("linlan-diyi")
    form.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("证书有效期至")
    expect(form.locator("[name=name]")).to_have_value("欧阳·新来")
    form.locator("[name=licence_valid_until]").fill("2031-01-01")
    form.get_by_role("button").click()
    expect(page.locator("code").first).to_have_text("ou.yang")
    page.screenshot(path=tmp_path / f"added-{width}.png", full_page=True)
    assert page.evaluate(OVERHANG) <= 0
    page.get_by_role("link", name="安排值班").click()
    duty = page.locator("form[action$='/duty']")
    duty.locator("xpath=ancestor::details").locator("summary").click()
    duty.locator("[name=mon]").fill("08:00-17:00，20:00-08:00")
    duty.get_by_role("button").click()
    expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_text("周一 08:00-17:00+20:00-08:00").first).to_be_visible()
    end = page.locator("form[action$='/end']")
    end.locator("xpath=ancestor::details").locator("summary").click()
    end.locator("[name=last_day]").fill("2026-12-31")
    end.get_by_role("button").click()
    expect(page.get_by_text("最后工作日 2026-12-31，次日停用账号")).to_be_visible()
    page.screenshot(path=tmp_path / f"ended-{width}.png", full_page=True)
