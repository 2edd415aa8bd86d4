"""A reader marks a key image and measures in the viewer; both stand beside the editor, and their words in the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Person
from tests.browser.pictures import chest_phantom
from tests.support.network import RunningNetwork
from tests.support.road import take_offer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN = "tech.shuangqiao"


def draw_length(viewer: Page) -> None:
    """Draw a line on the image with the length tool, and have its series tracked."""
    viewer.locator('[data-cy="MeasurementTools-split-button-primary"]').click()
    box = viewer.locator("canvas.cornerstone-canvas").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    viewer.mouse.move(x - 80, y)
    viewer.mouse.down()
    viewer.mouse.move(x + 60, y + 10, steps=8)
    viewer.mouse.up()
    viewer.locator('[data-cy="prompt-begin-tracking-yes-btn"]').click()


def create_report(viewer: Page) -> None:
    """Save the measurements as the viewer's own panel does it."""
    viewer.locator('[data-cy="trackedMeasurements-btn"]').click()
    viewer.get_by_role("button", name="Create SR").click()
    viewer.locator('[data-cy="input-dialog-save-button"] button').click()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_key_image_and_measurement_reach_the_report(
    network: RunningNetwork,
    person: Callable[[str], Person],
    send: Callable[[list[Path]], str],
    tmp_path: Path,
    language: str,
) -> None:
    study_uid = send(chest_phantom(tmp_path))
    login, task = take_offer(network, study_uid, "interpretation")
    held = network.api(login).call("GET", "/held")["held"]
    reader = person(login)
    reader.page.goto(
        f"{network.url}/radiologist/cases/{next(o['case_id'] for o in held if o['reading_task_id'] == task)}"
    )
    if language == "en":
        reader.page.get_by_role("button", name="English").click()
    evidence = reader.page.locator("#evidence")
    expect(evidence.locator(".evidence-item")).to_have_count(0)

    viewer = reader.context.new_page()
    viewer.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng={language}")
    viewer.locator("canvas.cornerstone-canvas").first.wait_for()
    viewer.locator("#key-image").click()
    expect(viewer.locator("#key-image-said")).to_have_text(re.compile("已标记为关键图像|Marked as key image"))
    expect(evidence.locator(".evidence-item")).to_have_count(1)  # the desk learns of it by itself
    draw_length(viewer)
    create_report(viewer)
    expect(evidence.locator(".evidence-item")).to_have_count(2)
    measured = re.compile(r"(长度|Length) \d+\.\d mm(，序列 1 图像 \d|, series 1 image \d)")
    expect(evidence).to_contain_text(measured)
    reader.look(f"radiologist-evidence-{language}")

    reader.page.fill("textarea[name=findings]", "A\nB")
    reader.page.locator("textarea[name=findings]").evaluate("one => one.setSelectionRange(1, 1)")
    evidence.locator(".evidence-item", has_text=measured).locator("[data-insert]").first.click()
    expect(reader.page.locator("textarea[name=findings]")).to_have_value(re.compile(rf"^A\n{measured.pattern}\nB$"))
    expect(reader.page.locator("#saved")).to_contain_text(re.compile(r"\d\d:\d\d"))
    evidence.locator(".evidence-item", has_text=re.compile("关键图像：|Key image:")).locator("form button").click()
    expect(evidence.locator(".evidence-item")).to_have_count(1)
    expect(reader.page.locator("textarea[name=findings]")).to_have_value(re.compile(measured.pattern))


def test_who_does_not_hold_the_case_is_told_why_nothing_is_marked(
    network: RunningNetwork,
    person: Callable[[str], Person],
    send: Callable[[list[Path]], str],
    offered_to: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> None:
    study_uid = send(chest_phantom(tmp_path))
    reader = person(next(iter(offered_to(study_uid))))
    reader.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng=en")
    reader.page.locator("canvas.cornerstone-canvas").first.wait_for()
    reader.page.keyboard.press("m")
    expect(reader.page.locator("#key-image-said")).to_have_text(
        re.compile("^Not marked: instance .* you do not hold the case now$")
    )
    reader.forgive("409")
