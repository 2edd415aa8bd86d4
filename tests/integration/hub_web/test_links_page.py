"""The coordinator decides who is one person, in Chromium and over HTTP; a reader sees what follows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from reading_queue.domain.links import LinkAct
from reading_queue.services.patients import link_desk
from reading_queue.services.reading import reading
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, PASSWORD, SECOND_SITE, County
from tests.integration.hub_web.linked import born, come_twice, look, only_link, order, resident_id
from tests.integration.hub_web.serving import Visitor
from tests.support.chromium import running_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("links in Chromium")]

WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
WHY = "已与两家机构核实"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page_of(chromium: Browser, url: str, county: County) -> Iterator[Callable[..., Page]]:
    """Return a page on which the coordinator has just logged in; scripts may report no error until the test ends."""
    wrong: list[str] = []
    contexts = []

    def of(login: str = COORDINATOR, width: str = "desktop") -> Page:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        context = chromium.new_context(viewport=size, locale="zh-CN")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
        page.goto(f"{url}/login")
        page.fill("[name=login]", login)
        page.fill("[name=password]", PASSWORD)
        page.click("main button")
        page.wait_for_url(lambda address: "/login" not in address)
        return page

    yield of
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def every_kind(county: County) -> County:
    """Suggestions of several kinds, one link that the facts made, one that was refused."""
    come_twice(county, patient="Zhao^Yan")
    come_twice(county, "1.2.3.3001", "1.2.3.3002", name="欧阳^建国")
    for uid, site in (("1.2.3.3001", FIRST_SITE), ("1.2.3.3002", SECOND_SITE)):
        order(county, site, uid, resident_id(31))
    county.arrive("1.2.3.4001", patient="Muhammadjon Abdurahmonov-Toshmuhammad")
    county.arrive("1.2.3.4002", patient="Muhammadjon^Abdurahmonov^Toshmuhammad=赵^六", site=SECOND_SITE)
    for uid, site in (("1.2.3.4001", FIRST_SITE), ("1.2.3.4002", SECOND_SITE)):
        order(county, site, uid, resident_id(41))
    born(county, "1.2.3.4002", date(1958, 4, 21))
    come_twice(county, "1.2.3.5001", "1.2.3.5002", name="陈^静")
    for uid, site in (("1.2.3.5001", FIRST_SITE), ("1.2.3.5002", SECOND_SITE)):
        order(county, site, uid, resident_id(51))
    look(county)
    return county


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_state_of_the_page_fits_its_screen_in_both_languages(
    page_of: Callable[..., Page], every_kind: County, width: str, language: str, tmp_path: Path
) -> None:
    viewer = every_kind.viewer(COORDINATOR)
    first = link_desk.list_links(every_kind.hub, viewer).links[0]
    link_desk.decide(every_kind.hub, viewer, first.link_id, LinkAct.REFUSE, WHY * 9)
    page = page_of(width=width)
    page.screenshot(path=tmp_path / f"overview-{language}-{width}.png", full_page=True)
    if language == "en":
        page.get_by_role("button", name="English").click()
    page.locator("a[href='/coordinator/links']").click()
    for state in ("suggested", "linked", "refused"):
        page.locator(f"a[href='/coordinator/links?state={state}']").click()
        expect(page.locator("[aria-current=page]").last).to_be_visible()
        expect(page.locator("article").first).to_be_visible()
        page.screenshot(path=tmp_path / f"links-{state}-{language}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), state


def test_empty_page_says_so(page_of: Callable[..., Page]) -> None:
    page = page_of()
    page.locator("a[href='/coordinator/links']").click()
    expect(page.get_by_text("没有待核对的患者")).to_be_visible()


def test_suggestion_is_decided_with_the_keyboard_alone_and_undone(page_of: Callable[..., Page], county: County) -> None:
    come_twice(county)
    page = page_of()
    page.locator("a[href='/coordinator/links']").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/coordinator/links*")  # loaded, with the script that knows the keys
    expect(page.locator("article")).to_have_count(1)
    page.keyboard.press("j")
    expect(page.locator("article:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    page.keyboard.type(WHY)
    page.keyboard.press("Enter")  # in the field it decides nothing
    expect(page.locator("[name=reason]")).to_have_value(WHY)
    assert only_link(county).state == "suggested"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="已关联")).to_be_visible()
    assert only_link(county).state == "linked"
    page.get_by_role("link", name="已关联").click()
    expect(page.locator("article")).to_contain_text(WHY)
    page.fill("[name=reason]", "其中一位是她的姐姐")
    page.get_by_role("button", name="撤销关联").click()
    expect(page.get_by_role("status").filter(has_text="已撤销")).to_be_visible()
    assert only_link(county).state == "suggested"


def test_decision_on_an_old_page_is_refused_in_words_and_what_was_typed_stays(
    page_of: Callable[..., Page], county: County
) -> None:
    come_twice(county)
    page = page_of()
    page.locator("a[href='/coordinator/links']").click()
    page.fill("[name=reason]", WHY)
    look_again = only_link(county)
    link_desk.decide(county.hub, county.viewer(COORDINATOR), look_again.link_id, LinkAct.ACCEPT, "asked both sites")
    link_desk.decide(county.hub, county.viewer(COORDINATOR), look_again.link_id, LinkAct.UNDO, "a mistake")
    page.get_by_role("button", name="是同一人，关联").click()
    expect(page.get_by_role("alert")).to_contain_text("刚被更改")
    expect(page.locator("[name=reason]")).to_have_value(WHY)
    assert only_link(county).state == "suggested"


def test_patient_is_found_by_number_or_name_in_whatever_state(page_of: Callable[..., Page], every_kind: County) -> None:
    page = page_of()
    page.locator("a[href='/coordinator/links']").click()
    for text, count in (("P3002", 1), ("ouyang", 1), ("赵", 2), ("nobody", 0)):
        page.fill("[name=text]", text)
        page.get_by_role("button", name="查找").click()
        expect(page.locator("article")).to_have_count(count)
        assert page.url.endswith("/coordinator/links"), "a patient stands in no address"


def test_reader_sees_where_a_linked_prior_comes_from_and_nothing_of_it_after_the_undo(
    page_of: Callable[..., Page], county: County
) -> None:
    case_id, _ = come_twice(county, what="上腹部平扫")
    coordinator, link = county.viewer(COORDINATOR), only_link(county)
    reading.claim(county.hub, county.viewer(AUTHOR), county.task(case_id))
    page = page_of(AUTHOR)
    page.goto(f"{page.url.rstrip('/')}/cases/{case_id}")
    expect(page.locator(".report-side")).not_to_contain_text("上腹部平扫")
    link_desk.decide(county.hub, coordinator, link.link_id, LinkAct.ACCEPT, WHY)
    page.reload()
    prior = page.locator(".priors p").filter(has_text="上腹部平扫")
    expect(prior).to_contain_text("在白滩镇中心卫生院")
    assert "1.2.3.2002" in (prior.locator("a").get_attribute("href") or "")
    link_desk.decide(county.hub, coordinator, link.link_id, LinkAct.UNDO, "其中一位是她的姐姐")
    page.reload()
    expect(page.locator(".report-side")).not_to_contain_text("上腹部平扫")


def test_forged_and_foolish_decisions_are_refused(county: County, browser_of: Callable[[str], Visitor]) -> None:
    come_twice(county)
    link, visitor = only_link(county), browser_of(COORDINATOR)
    visitor.get("/coordinator/links")
    address, said = f"/coordinator/links/{link.link_id}", {"version": "1", "state": "suggested", "page": "1"}
    assert visitor.post(address, act="accept", reason=WHY, **said, csrf_token="forged").status == 403
    assert visitor.post(address, act="marry", reason=WHY, **said).status == 422
    assert visitor.post(address, act="accept", reason=" ", **said).status == 422
    assert visitor.post(address, act="accept", reason=WHY, **said | {"version": "x"}).status == 422
    assert visitor.post(f"{address}0", act="accept", reason=WHY, **said).status == 404
    assert visitor.get("/coordinator/links?state=married").status == 422
    assert visitor.get("/coordinator/links?after=-1").status == 422
    assert only_link(county).state == "suggested"


def test_programs_list_and_decide_over_the_same_service(county: County, program_of: Callable[[str], Visitor]) -> None:
    come_twice(county)
    program = program_of(COORDINATOR)
    listed = program.call("GET", "/links").json()
    (link,) = listed["links"]
    assert (listed["counts"], listed["next_after"]) == ({"suggested": 1, "linked": 0, "refused": 0}, None)
    assert [side["site_id"] for side in link["sides"]] == [FIRST_SITE, SECOND_SITE]
    assert link["traits"]["national_id"] == "unknown"
    address, said = f"/links/{link['link_id']}", {"act": "accept", "reason": WHY, "version": link["version"]}
    assert program.call("POST", address, said).json() == {"state": "linked"}
    refused = program.call("POST", address, said)
    assert (refused.status, refused.json()["code"]) == (409, "link_changed")
    for odd in ({"act": "marry"}, {"reason": ""}, {"version": 0}, {"patient": "x"}):
        assert program.call("POST", address, said | odd).status == 422
    assert program.call("GET", "/links?state=married").status == 422
    assert program.call("GET", "/links?state=linked").json()["links"][0]["is_by_person"]
