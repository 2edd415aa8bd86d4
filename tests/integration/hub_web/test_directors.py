"""The duty director's desk and the coordinator's page of rosters, over HTTP, by the API, and in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from reading_queue.db.tables import Account, Agreement
from reading_queue.services.hub import Hub
from reading_queue.web import live
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, PASSWORD, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor
from tests.support.chromium import only_when_told, running_chromium

pytestmark = pytest.mark.postgres

DIRECTOR = "zheng.an"  # of qinghe-renmin, always, by the demonstration's network
HOSPITAL = "/coordinator/network/organisations/qinghe-renmin"
PATIENCE_MS = 30_000  # on a machine that does much else; the desk does not look again by itself meanwhile
BrowserOf = Callable[[str], Visitor]


def nobody_reads(hub: Hub) -> None:
    """Let all agreements be over, so that nobody can be asked."""
    with hub.transaction() as session:
        session.execute(update(Agreement).values(valid_until=date(2025, 1, 1)))


def test_the_director_reads_and_acknowledges_what_escalated_and_the_coordinator_sees_who_has_it(
    county: County, hub: Hub, browser_of: BrowserOf
) -> None:
    director, other, coordinator = browser_of(DIRECTOR), browser_of(AUTHOR), browser_of(COORDINATOR)
    assert "您正在值总值班：清河县人民医院" in director.get("/radiologist/").text
    assert "没有通知您的升级事项" in other.get("/radiologist/escalations").text
    nobody_reads(hub)
    county.arrive("1.2.3.1", lane=Lane.STAT)
    page = director.get("/radiologist/escalations").text
    assert "胸部平扫" in page
    assert "无人可派" in page
    assert "双桥镇中心卫生院" in page
    assert "赵䶮" not in page  # being told opens nothing of the patient
    told = coordinator.get("/coordinator/").text
    assert "已通知总值班 郑安（清河县人民医院）" in told
    address = page.partition('action="/radiologist/escalations/')[2].partition('"')[0]
    assert other.post(f"/radiologist/escalations/{address}").status == 403
    assert director.post(f"/radiologist/escalations/{address}").headers["Location"] == "/radiologist/escalations"
    assert "郑安 已知悉" in director.get("/radiologist/").text
    assert "郑安 已知悉" in coordinator.get("/coordinator/").text


def test_without_a_director_the_coordinator_is_told_that_there_is_none(
    county: County, hub: Hub, browser_of: BrowserOf
) -> None:
    coordinator = browser_of(COORDINATOR)
    coordinator.get(HOSPITAL)
    gone = coordinator.post(f"{HOSPITAL}/directors", None, login=DIRECTOR, version="1", mode="weekly")
    assert gone.status == 303
    assert "当前无总值班" in coordinator.get(HOSPITAL).text
    nobody_reads(hub)
    county.arrive("1.2.3.1", lane=Lane.STAT)
    assert "当前无总值班</b> 升级事项由协调员处理" in coordinator.get("/coordinator/").text


def test_a_coordinator_writes_the_roster_in_the_browser_and_hears_what_is_wrong(
    county: County, browser_of: BrowserOf
) -> None:
    coordinator = browser_of(COORDINATOR)
    assert "当前总值班：郑安" in coordinator.get(HOSPITAL).text
    form = {"login": "lin.shu", "version": "0", "mode": "weekly", "mon": "17:00-08:00", "days_off": "2026-10-01"}
    wrong = coordinator.post(f"{HOSPITAL}/directors", None, **{**form, "mon": "late"})
    assert wrong.status == 422
    assert "late" in wrong.text
    assert coordinator.post(f"{HOSPITAL}/directors", None, **form).status == 303
    shown = coordinator.get(HOSPITAL).text
    assert "周一 17:00-08:00" in shown
    assert "休息日 1" in shown or "2026-10-01" in shown
    stale = coordinator.post(f"{HOSPITAL}/directors", None, **form)
    assert stale.status == 409
    again = coordinator.post(f"{HOSPITAL}/directors", None, **{**form, "version": "1", "mon": "noon"})
    assert (again.status, again.text.count('value="noon"')) == (422, 1)
    clinic = "/coordinator/network/organisations/qinghe-t01"
    assert "上级机构" in coordinator.get(clinic).text


def test_programs_write_rosters_and_read_what_they_were_told(
    county: County, hub: Hub, program_of: Callable[[str], Visitor]
) -> None:
    coordinator, director = program_of(COORDINATOR), program_of(DIRECTOR)
    path = "/network/organisations/qinghe-renmin/directors/lin.shu"
    assert coordinator.call("PUT", path, {"duty": "always", "version": 0}).status == 204
    refused = coordinator.call("PUT", path, {"duty": "sometimes", "version": 1})
    assert (refused.status, refused.json()["code"]) == (422, "fields_invalid")
    listed = coordinator.call("GET", "/network/organisations/qinghe-renmin").json()["organisation"]["directors"]
    assert {one["login"]: one["on_duty"] for one in listed["listed"]} == {"lin.shu": True, DIRECTOR: True}
    nobody_reads(hub)
    county.arrive("1.2.3.1", lane=Lane.STAT)
    told = director.call("GET", "/duty-director").json()
    assert told["director_of"] == ["清河县人民医院"]
    (one,) = told["escalations"]
    assert (one["kind"], one["directors"]) == ("nobody", ["林舒", "郑安"])
    assert director.call("POST", f"/escalations/{one['escalation_id']}/acknowledge").status == 204
    assert program_of(AUTHOR).call("POST", f"/escalations/{one['escalation_id']}/acknowledge").status == 403
    assert program_of(TECHNICIAN).call("GET", "/duty-director").status == 403


@pytest.fixture
def _only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_AGAIN_S", PATIENCE_MS / 100)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def log_in(chromium: Browser, url: str, login: str, width: int, desk: str) -> Page:
    page = only_when_told(chromium.new_context(viewport={"width": width, "height": 900})).new_page()
    page.goto(f"{url}/login")
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"**/{desk}/")
    return page


def look(page: Page, path: Path) -> None:
    """Keep a picture; the page fits its screen and names no text by its key."""
    page.screenshot(path=path, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert not page.evaluate("document.body.innerText.match(/\\bdirector\\.[a-z_]+\\b/)")


@pytest.mark.browser
@pytest.mark.usefixtures("_only_when_told")
@pytest.mark.xdist_group("desks in Chromium")
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_open_desk_shows_an_escalation_as_soon_as_it_is_told(
    chromium: Browser, url: str, county: County, hub: Hub, tmp_path: Path, width: int, language: str
) -> None:
    with hub.transaction() as session:
        session.execute(update(Account).values(language=language))
    page = log_in(chromium, url, DIRECTOR, width, "radiologist")
    listening = page.locator("#told")
    expect(listening).to_contain_text({"zh": "您正在值总值班", "en": "You are duty director"}[language])
    expect(page.locator("body[data-listens]")).to_have_count(1)
    nobody_reads(hub)
    county.arrive("1.2.3.1", lane=Lane.STAT)
    expect(listening.locator(".work-item")).to_have_count(1, timeout=PATIENCE_MS)
    look(page, tmp_path / f"desk-{width}-{language}.png")
    page.locator("#told form button").click()
    page.wait_for_url("**/radiologist/escalations")
    expect(page.locator("#told")).to_contain_text({"zh": "郑安 已知悉", "en": "郑安"}[language])
    look(page, tmp_path / f"list-{width}-{language}.png")
    page.context.close()
    coordinator = log_in(chromium, url, COORDINATOR, width, "coordinator")
    look(coordinator, tmp_path / f"overview-{width}-{language}.png")
    coordinator.goto(f"{url}{HOSPITAL}")
    for details in coordinator.locator("#directors > details, #directors .director > details").all():
        details.locator("summary").first.click()
    look(coordinator, tmp_path / f"rosters-{width}-{language}.png")
    coordinator.context.close()
