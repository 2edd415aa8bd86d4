"""The page of jobs in Chromium: every state of a queue, on desktop and phone, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from reading_queue.services.hub import Hub
from reading_queue.services.motion import queue_probes
from reading_queue.services.motion.queue_probes import STANDS_AFTER
from reading_queue.worker.jobs import PROBES
from tests.integration.hub_web.county import ADMINISTRATOR, PASSWORD, County
from tests.support.chromium import running_chromium
from tests.support.clock import SteerableClock

pytestmark = [pytest.mark.browser, pytest.mark.postgres, pytest.mark.xdist_group("jobs in Chromium")]

WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_unserved_a_busy_and_a_standing_queue_fit_the_screen(
    chromium: Browser,
    url: str,
    county: County,
    hub: Hub,
    hub_clock: SteerableClock,
    width: str,
    language: str,
    tmp_path: Path,
) -> None:
    queue_probes.ask(hub, PROBES)
    for queue in set(PROBES) - {"background", "large", "documents"}:
        queue_probes.answer(hub, queue)
    hub_clock.advance(STANDS_AFTER.total_seconds() + 30)
    queue_probes.hear_worker(hub, "worker-machine/4711", set(PROBES) - {"background"})
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    context = chromium.new_context(viewport=size, locale="zh-CN")
    page = context.new_page()
    page.goto(url)
    page.locator("[name=login]").fill(ADMINISTRATOR)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url("**/coordinator/**")
    if language == "en":
        page.get_by_role("button", name="English").click()
    page.goto(f"{url}/coordinator/jobs")
    words = {
        "zh": ("没有工作进程处理此队列", "工作进程忙碌", "无应答"),
        "en": ("no worker serves", "are busy", "no answer for"),
    }
    for word in words[language]:
        expect(page.get_by_text(word)).to_be_visible()
    expect(page.get_by_text("serve worker --queues background")).to_be_visible()
    page.screenshot(path=tmp_path / f"jobs-{language}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()
