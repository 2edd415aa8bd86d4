"""The desks in Chromium: pages that refresh themselves, the keyboard, the editor that saves by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from reading_queue.db.tables import Case
from reading_queue.services.cases.images_seen import note_news
from reading_queue.services.reading import reading
from reading_queue.services.worklists.desk_events import tell
from storage.contract.hops import Hop
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
from tests.integration.hub_web.serving import ASSETS
from tests.support.chromium import running_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("desks in Chromium")]

WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page_of(chromium: Browser, url: str, county: County) -> Iterator[Callable[..., Page]]:
    """Return a page on which an account has just logged in; scripts may report no error until the test ends."""
    assert (ASSETS / "vendor" / "htmx.min.js").is_file(), "run `make assets` first"
    wrong: list[str] = []
    contexts = []

    def of(login: str, width: str = "desktop") -> Page:
        context = chromium.new_context(
            viewport=dict(zip(("width", "height"), WIDTHS[width], strict=True)), locale="zh-CN"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
        page.goto(f"{url}/login")
        page.fill("[name=login]", login)
        page.fill("[name=password]", PASSWORD)
        page.click("main button")
        return page

    yield of
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("login", "heading"), [(TECHNICIAN, "检查列表"), (AUTHOR, "阅片台"), (COORDINATOR, "今日概况")]
)
def test_every_desk_opens_and_fits_its_screen(
    page_of: Callable[..., Page], county: County, login: str, heading: str, width: str
) -> None:
    county.arrive("1.2.3.1", patient="Muhammadjon Abdurahmonov-Toshmuhammad", what="头颅急诊平扫 " * 6)
    page = page_of(login, width)
    expect(page.locator("h1")).to_have_text(heading)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_study_appears_on_the_clinics_page_by_itself(page_of: Callable[..., Page], county: County) -> None:
    page = page_of(TECHNICIAN)
    expect(page.get_by_text("还没有检查")).to_be_visible()
    case_id = county.arrive("1.2.3.1")
    expect(page.get_by_text("赵䶮")).to_be_visible()
    page.goto(page.url + f"studies/{FIRST_SITE}/1.2.3.1")
    county.submit(case_id)
    expect(page.get_by_text("报告已提交").first).to_be_visible()


def test_search_goes_on_being_live_and_keeps_what_is_typed(page_of: Callable[..., Page], county: County) -> None:
    county.arrive("1.2.3.1", patient="Wang^XiaoDong=王^小东", ago_s=200)
    county.arrive("1.2.3.2", patient="李^四", ago_s=100)
    page = page_of(TECHNICIAN)
    page.fill("[name=text]", "王小东")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.fill("[name=text]", "李")
    county.arrive("1.2.3.3", patient="王^小东")
    expect(page.locator("tbody tr")).to_have_count(2, timeout=60_000)
    expect(page.locator("[name=text]")).to_have_value("李")
    assert page.url.endswith("/clinic/")
    page.get_by_role("link", name="清除条件").click()
    expect(page.locator("tbody tr")).to_have_count(3)


@pytest.mark.parametrize("width", WIDTHS)
def test_filter_that_finds_nothing_says_so_and_fits(page_of: Callable[..., Page], width: str) -> None:
    page = page_of(TECHNICIAN, width)
    page.select_option("[name=progress]", "reported")
    page.get_by_role("button", name="查找").click()
    expect(page.get_by_text("没有符合条件的检查")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_images_stay_on_the_screen_beside_a_long_editor(page_of: Callable[..., Page], county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    reading.claim(county.hub, county.viewer(AUTHOR), county.task(case_id))
    page = page_of(AUTHOR)
    page.goto(f"{page.url.rstrip('/')}/cases/{case_id}")
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")
    expect(page.get_by_role("button", name="签名并提交")).to_be_in_viewport()


def test_list_keeps_focus_and_what_is_unfolded_while_it_refreshes(page_of: Callable[..., Page], county: County) -> None:
    county.arrive("1.2.3.1", patient="第一人", ago_s=200)
    county.arrive("1.2.3.2", patient="第二人", ago_s=100)
    page = page_of(AUTHOR)
    page.locator("summary", has_text="为什么派给我").first.click()
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    county.arrive("1.2.3.3", patient="第三人", ago_s=300)
    expect(page.get_by_text("第三人")).to_be_visible()
    expect(page.locator("[data-row]:focus")).to_contain_text("第二人")
    expect(page.locator("details[open]")).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url("**/radiologist/cases/*")
    expect(page.locator("h1")).to_contain_text("第二人")


def test_text_that_the_hub_does_not_take_stays_on_the_page(page_of: Callable[..., Page], county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    reading.claim(county.hub, county.viewer(AUTHOR), county.task(case_id))
    page = page_of(AUTHOR)
    page.goto(f"{page.url.rstrip('/')}/cases/{case_id}")
    page.route("**/draft", lambda route: route.fulfill(status=502))
    page.fill("[name=findings]", TEXT.findings)
    expect(page.locator("#saved")).to_contain_text("正在重试")
    page.unroute("**/draft")
    expect(page.locator("#saved")).to_contain_text("已保存")
    page.context.clear_cookies()
    page.fill("[name=impression]", TEXT.impression)
    expect(page.locator("#saved")).to_contain_text("登录已失效")
    page.get_by_role("button", name="签名并提交").click()
    expect(page.locator("[name=impression]")).to_have_value(TEXT.impression)


def test_editor_saves_by_itself_and_says_so(page_of: Callable[..., Page], county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    task = county.task(case_id)
    author = county.viewer(AUTHOR)
    reading.claim(county.hub, author, task)
    page = page_of(AUTHOR)
    page.goto(f"{page.url.rstrip('/')}/cases/{case_id}")
    page.fill("[name=findings]", TEXT.findings)
    expect(page.locator("#saved")).to_contain_text("已保存")
    page.fill("[name=impression]", TEXT.impression)
    expect(page.locator("[name=version]")).to_have_value("2")
    with county.hub.transaction() as session:
        case = session.get_one(Case, case_id, with_for_update=True)
        note_news(case)
        tell(session, Hop.CATALOGUED, case.site_id, case_id)
    expect(page.get_by_role("alert")).to_contain_text("影像有新到或更正")
    page.get_by_role("link", name="显示最新内容").click()
    page.get_by_role("button", name="已查看新到影像").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("[name=impression]")).to_have_value(TEXT.impression)
    page.fill("[name=recommendation]", TEXT.recommendation)
    page.get_by_role("button", name="签名并提交").click()
    expect(page.get_by_role("status").filter(has_text="报告已提交")).to_be_visible()


def test_editor_says_when_the_claim_was_lost(page_of: Callable[..., Page], county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    task = county.task(case_id)
    reading.claim(county.hub, county.viewer(AUTHOR), task)
    page = page_of(AUTHOR)
    page.goto(f"{page.url.rstrip('/')}/cases/{case_id}")
    reading.release(county.hub, county.viewer(COORDINATOR), task, "110513")
    page.fill("[name=findings]", "太迟了")
    expect(page.locator("#saved")).to_contain_text("您已不再持有这项任务")


def test_page_that_cannot_refresh_says_so(page_of: Callable[..., Page], county: County) -> None:
    page = page_of(VERIFIER)
    expect(page.locator("#offline")).to_be_hidden()
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden()


def test_verifier_changes_the_text_and_signs_from_a_phone(page_of: Callable[..., Page], county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    county.submit(case_id)
    page = page_of(VERIFIER, "phone")
    page.get_by_role("button", name="接单").click()
    page.fill("[name=recommendation]", "半年后复查。")
    page.get_by_role("button", name="审核签发").click()
    expect(page.get_by_role("status").filter(has_text="报告已签发")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_coordinator_gives_a_case_to_a_physician_who_is_told_so(
    page_of: Callable[..., Page], county: County, width: str
) -> None:
    case_id = county.arrive("1.2.3.1")
    page = page_of(COORDINATOR, width)
    page.goto(f"{page.url.split('/coordinator')[0]}/coordinator/cases/{case_id}/candidates")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    row = page.locator("tr", has_text=county.viewer(AUTHOR).display_name)
    row.locator("summary").click()
    row.locator("[name=reason]").fill("熟悉此病例")
    row.locator("button").click()
    expect(row.locator(".badge")).to_have_text("已派")
    expect(page.locator("tbody .badge")).to_have_count(1)
    desk = page_of(AUTHOR, width)
    desk.locator("details[id^=why-] summary").click()
    expect(desk.locator("ul.why")).to_contain_text("熟悉此病例")
