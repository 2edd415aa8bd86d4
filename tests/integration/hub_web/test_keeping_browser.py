"""The coordinator's pages of what is kept, in Chromium: they fit their screens, and hand out a study."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import retention, scrubbing
from reading_queue.services.hub import Hub
from tests.integration.hub_intake.conftest import SITE, gateway, network, server
from tests.integration.hub_intake.studies import STUDY
from tests.integration.hub_keeping.keeping import packs_of
from tests.integration.hub_web.county import CHEAP
from tests.integration.hub_web.serving import serving_hub
from tests.integration.hub_web.test_keeping_pages import PASSWORD, old, set_aside, slices
from tests.support.chromium import running_chromium

__all__ = ["gateway", "network", "old", "server", "slices"]

pytestmark = [pytest.mark.browser, pytest.mark.postgres, pytest.mark.xdist_group("desks in Chromium")]

WIDTHS = (1440, 390)
STUDY_PAGE = f"/coordinator/studies/{SITE}/{STUDY}"
PAGES = ("/coordinator/quarantine", "/coordinator/stored", "/coordinator/retention", STUDY_PAGE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def url(old: Hub) -> Iterator[str]:
    for login in ("zh", "en"):
        new = accounts.NewAccount(login, "王协调", PASSWORD, Role.COORDINATOR, f"{SITE}-01", login)
        accounts.create_account(old, new, hasher=CHEAP)
    viewer = Viewer("zh", "zh", "zh", Role.COORDINATOR, f"{SITE}-01", SITE, None, "zh", old.clock())
    retention.request_deletion(old, viewer, SITE, STUDY, "保存期已过，院方同意删除")
    retention.place_hold(old, viewer, SITE, STUDY, "法院要求保留")
    set_aside(old, 1)
    set_aside(old, 2)
    pack = packs_of(old)[0]
    old.objects.delete(pack.object_key)
    scrubbing.scrub(old, pack.pack_id)
    with serving_hub(old) as address:
        yield address


def log_in(chromium: Browser, url: str, login: str, width: int) -> Page:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{url}/login")
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url("**/coordinator/")
    return page


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_their_screens(chromium: Browser, url: str, tmp_path: Path, width: int, language: str) -> None:
    page = log_in(chromium, url, language, width)
    for number, address in enumerate(PAGES):
        page.goto(f"{url}{address}")
        page.screenshot(path=tmp_path / f"{number}-{width}-{language}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), address
        assert not page.evaluate("document.body.innerText.match(/\\b[a-z_]+\\.[a-z_]+\\.[a-z_]+\\b/)"), address
    page.close()


def test_study_is_reached_from_the_clinics_page_and_downloaded(chromium: Browser, url: str, tmp_path: Path) -> None:
    page = log_in(chromium, url, "en", WIDTHS[0])
    page.goto(f"{url}/clinic/studies/{SITE}/{STUDY}")
    page.get_by_text("Keeping, verifying, exporting").click()
    expect(page.locator("h1")).to_contain_text("王芳")
    page.fill("[name=reason] >> nth=0", "the patient takes it along")
    with page.expect_download() as download:
        page.get_by_text("Download the ZIP").click()
    download.value.save_as(tmp_path / "study.zip")
    page.close()
    with zipfile.ZipFile(tmp_path / "study.zip") as archive:
        assert "DICOMDIR" in archive.namelist()
        assert archive.read("MISSING.TXT").count(b"NOT EXPORTED") == 2
