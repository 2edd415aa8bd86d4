"""The pages of second opinions, conferences and lateness with real content, in Chromium: both languages, two widths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from reading_queue.db.tables import Account
from reading_queue.domain.information import Wanted
from reading_queue.services.cases import holds
from reading_queue.services.hub import Hub
from reading_queue.services.reading import consults, mdt, reading
from reading_queue.services.routing import escalating
from storage.contract.lanes import Lane
from tests.integration.hub_web import consulting
from tests.integration.hub_web.consulting import QUESTION
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
from tests.support.chromium import running_chromium
from tests.support.clock import SteerableClock

pytestmark = [pytest.mark.browser, pytest.mark.postgres, pytest.mark.xdist_group("desks in Chromium")]

WIDTHS = (1440, 390)
LONG = (
    "患者三年前行左肺下叶切除，术后规律复查；本次复查右肺上叶新见磨玻璃结节，"
    "是否手术、如何随访，请胸外科、肿瘤科、影像科共同讨论。"
)
OUTCOME = "三个月后复查增强 CT；如结节增大或出现实性成分，行胸腔镜下楔形切除。"
WORDS = r"\b[a-z_]+\.[a-z_]+(\.[a-z_]+)?\b(?!\.)"  # a key of the catalogue that has no words


@dataclass(frozen=True)
class Scene:
    """What has happened in the county today."""

    asked: str  # the case whose holder waits for an opinion
    advised: str  # signed, with an opinion
    refused: str  # the hospital said no
    late: str  # overdue, and somebody knows why


@pytest.fixture
def scene(hub: Hub, county: County, hub_clock: SteerableClock) -> Scene:
    author, verifier = county.viewer(AUTHOR), county.viewer(VERIFIER)
    advised = county.arrive("1.2.3.1", patient="欧阳^明珠", what="胸部CT平扫加增强（肺结节随访）")
    consulting.answer(county, consulting.ask(county, advised))
    reading.submit(hub, author, county.task(advised), TEXT)
    county.run_jobs()
    county.sign(advised)
    refused = county.arrive("1.2.3.2", patient="赵䶮")
    consult_id = consulting.ask(county, refused, LONG)
    consults.decline(hub, county.viewer(consulting.CONSULTANT), consult_id, "今日无神经影像医师")
    late = county.arrive("1.2.3.4", lane=Lane.STAT)
    task_id = county.task(late)
    reading.decline(hub, author, task_id, "110526")
    reading.claim(hub, verifier, task_id)
    holds.ask_site(hub, verifier, task_id, (Wanted.HISTORY,), "发病时间？")
    hub_clock.advance(600)
    reading.resume(hub, verifier, task_id)
    reading.release(hub, verifier, task_id, "110526")
    hub_clock.advance(3 * 3600)
    asked = county.arrive("1.2.3.3", lane=Lane.URGENT, patient="阿卜杜热西提^买买提江")
    county.complete("1.2.3.3", {"because": "instances_missing", "instances": 118, "expected": 240})
    consulting.ask(county, asked, LONG)
    hub_clock.advance(45 * 60)
    assert consults.hurry_consults(hub) == 1
    escalating.escalate_due(hub)
    today = hub.clock().date()
    over = mdt.put_on_list(hub, author, advised, LONG, today)
    mdt.note_outcome(hub, author, over, "胸外科王主任、肿瘤科李主任、影像科周蔚", OUTCOME)
    mdt.put_on_list(hub, author, refused, "是否需要活检？", today + timedelta(days=3))
    mdt.put_on_list(hub, author, asked, QUESTION, today)
    return Scene(asked, advised, refused, late)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def log_in(hub: Hub, chromium: Browser, url: str, login: str, language: str = "zh") -> Page:
    with hub.transaction() as session:
        session.execute(update(Account).where(Account.login == login).values(language=language))
    page = chromium.new_page(locale="zh-CN" if language == "zh" else "en-GB")
    page.goto(f"{url}/login")
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(lambda address: "/login" not in address)
    return page


@pytest.mark.parametrize("language", ["zh", "en"])
def test_pages_with_content_fit_their_screens_and_have_words(
    hub: Hub, chromium: Browser, url: str, scene: Scene, tmp_path: Path, language: str
) -> None:
    views = {
        AUTHOR: (
            "/radiologist/",
            "/radiologist/mdt",
            f"/radiologist/cases/{scene.asked}",
            f"/radiologist/cases/{scene.refused}",
            f"/radiologist/cases/{scene.advised}",
        ),
        consulting.CONSULTANT: ("/radiologist/", f"/radiologist/cases/{scene.asked}"),
        COORDINATOR: (
            "/coordinator/",
            f"/coordinator/cases/{scene.late}/lateness",
            f"/coordinator/cases/{scene.advised}/lateness",
            f"/coordinator/cases/{scene.advised}/decisions",
        ),
        TECHNICIAN: (f"/clinic/studies/{FIRST_SITE}/1.2.3.1",),
    }
    for login, addresses in views.items():
        page = log_in(hub, chromium, url, login, language)
        for number, address in enumerate(addresses):
            page.goto(f"{url}{address}")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.screenshot(path=tmp_path / f"{login}-{number}-{width}-{language}.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), address
            shown = page.locator("main").inner_text()
            wordless = page.evaluate(f"document.querySelector('main').innerText.match(/{WORDS}/)")
            assert not wordless, (address, wordless, shown[:200])
        page.close()


def test_what_one_has_to_know_is_on_the_page_with_its_link(hub: Hub, chromium: Browser, url: str, scene: Scene) -> None:
    page = log_in(hub, chromium, url, consulting.CONSULTANT)
    asked = page.locator(".work-item", has_text=LONG)
    expect(asked).to_contain_text("阿卜杜热西提")
    expect(asked).to_contain_text("双桥镇中心卫生院")
    asked.get_by_role("link", name="打开病例").click()
    page.wait_for_url(f"**/radiologist/cases/{scene.asked}")
    page.goto(f"{url}/radiologist/mdt")
    expect(page.locator("main")).to_contain_text("还没有待讨论的病例")
    page.close()
    page = log_in(hub, chromium, url, AUTHOR)
    refused = page.locator(".work-item", has_text="今日无神经影像医师")
    expect(refused).to_contain_text("未能会诊")
    page.goto(f"{url}/radiologist/cases/{scene.asked}")
    place = "one => one.getBoundingClientRect().top"
    assert page.locator("#consults").evaluate(place) < page.locator("#editor").evaluate(place), "seen before one writes"
    asking = page.locator("form[action$='/hold']")
    asking.locator("xpath=..").locator("summary").click()
    asking.locator("textarea").fill(LONG)
    asking.get_by_role("button").click()  # without saying what is wanted
    expect(page.get_by_role("alert").first).to_be_visible()
    expect(asking.locator("textarea")).to_be_visible()
    expect(asking.locator("textarea")).to_have_value(LONG)
    page.goto(f"{url}/radiologist/mdt")
    waiting = page.locator("section.card", has_text=QUESTION)
    expect(waiting).to_contain_text("阿卜杜热西提")
    expect(waiting).to_contain_text("今天")
    waiting.locator("summary").click()
    waiting.locator("[name=participants]").fill(" ")
    waiting.locator("[name=outcome]").fill(OUTCOME)
    waiting.get_by_role("button", name="记录结论").click()
    expect(waiting.locator("label + [role=alert]")).to_have_text("请填写参加者。")
    expect(waiting.locator("[name=participants]")).to_be_focused()
    expect(waiting.locator("[name=outcome]")).to_have_value(OUTCOME)
    waiting.locator("[name=participants]").fill("影像科")
    waiting.locator("[name=outcome]").fill(OUTCOME)
    waiting.get_by_role("button", name="记录结论").click()
    expect(page.locator("h2", has_text="已讨论")).to_contain_text("2")
    expect(page.locator("section.card", has_text=QUESTION)).to_contain_text("参加：影像科")
    page.close()


def test_lateness_says_for_what_a_case_that_was_given_back_waits(
    hub: Hub, chromium: Browser, url: str, scene: Scene
) -> None:
    page = log_in(hub, chromium, url, COORDINATOR)
    expect(page.locator("#escalations")).to_contain_text("会诊尚未答复")
    page.goto(f"{url}/coordinator/cases/{scene.late}/lateness")
    expect(page.locator("main")).to_contain_text("用时最长：等待接单")
    expect(page.locator("main")).to_contain_text("接单后交回 1 次")
    expect(page.locator("tbody").last).not_to_contain_text("书写报告")
    page.get_by_role("link", name="打开检查").click()
    page.wait_for_url("**/clinic/studies/**")
    page.close()
