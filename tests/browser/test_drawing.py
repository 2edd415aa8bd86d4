"""The viewer draws what clinics send: radiographs, loops in colours, lossy images; and every slice of a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Person, canvas_png
from tests.browser.phantoms import radiograph, stack, ultrasound_loop
from tests.browser.pictures import BUNDLED, Picture, difference, expected_picture, picture_on
from tests.support.network import RunningNetwork
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN = "tech.shuangqiao"
TOLERANCE = 8  # of 255, of the mean colours of fields

Open = Callable[[list[Path]], Person]


@pytest.fixture
def open_viewer(network: RunningNetwork, person: Callable[[str], Person], send: Callable[[list[Path]], str]) -> Open:
    """`open_viewer(files)` sends a study and opens it; the first canvas is there."""

    def opened(files: list[Path]) -> Person:
        study_uid = send(files)
        viewer = person(TECHNICIAN)
        viewer.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng=zh")
        viewer.page.locator("canvas.cornerstone-canvas").first.wait_for()
        return viewer

    return opened


def shows(page: Page, expected: Picture) -> None:
    """Return when the first canvas shows this picture."""

    def is_drawn() -> None:
        assert difference(picture_on(canvas_png(page), expected.shape[:2]), expected) < TOLERANCE

    eventually(is_drawn, every_s=0.1)


def scrolls_through(page: Page, pictures: Sequence[Picture]) -> None:
    """Return when turning the wheel has shown every picture in its order."""
    page.locator("canvas.cornerstone-canvas").first.hover()
    for number, expected in enumerate(pictures):
        if number:
            page.mouse.wheel(0, 100)
        shows(page, expected)


def test_no_two_pictures_pass_for_each_other(tmp_path: Path) -> None:
    """What the tests below compare would fail with any other slice or frame."""
    for pictures in (stack(tmp_path)[1], ultrasound_loop(tmp_path, jpeg=False)[1]):
        for number, one in enumerate(pictures):
            others = [*pictures[:number], *pictures[number + 1 :]]
            assert min(difference(one, other) for other in others) > 2 * TOLERANCE


def test_digital_radiograph_is_drawn_white_where_its_values_are_least(open_viewer: Open, tmp_path: Path) -> None:
    file, shown = radiograph(tmp_path)
    viewer = open_viewer([file])
    shows(viewer.page, shown)
    viewer.look("viewer-radiograph", may_scroll_sideways=True)


@pytest.mark.parametrize("jpeg", [False, True], ids=["uncompressed", "JPEG baseline"])
def test_every_frame_of_an_ultrasound_loop_is_drawn_in_its_colours(
    open_viewer: Open, tmp_path: Path, *, jpeg: bool
) -> None:
    file, frames = ultrasound_loop(tmp_path, jpeg=jpeg)
    viewer = open_viewer([file])
    scrolls_through(viewer.page, frames)
    viewer.look(f"viewer-loop-{'jpeg' if jpeg else 'native'}", may_scroll_sideways=True)


def test_every_slice_of_a_stack_is_drawn_in_its_place(open_viewer: Open, tmp_path: Path) -> None:
    files, pictures = stack(tmp_path)
    viewer = open_viewer(files)
    scrolls_through(viewer.page, pictures)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        # All three of the same picture.
        pytest.param("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", id="JPEG baseline of DCMTK"),
        pytest.param("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", id="JPEG lossless"),
        pytest.param("examples_palette.dcm", "examples_palette.dcm", id="palette"),
    ],
)
def test_other_kinds_are_drawn_in_their_colours(open_viewer: Open, name: str, like: str) -> None:
    viewer = open_viewer([BUNDLED / name])
    shows(viewer.page, expected_picture(BUNDLED / like))
