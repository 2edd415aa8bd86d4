"""The image viewer really draws what was sent, and shows nothing that it should not."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Person, canvas_png
from tests.browser.pictures import BUNDLED, chest_phantom, difference, expected_picture, picture_on
from tests.integration.stow.made import evidence, uid_of
from tests.support.network import RunningNetwork
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN, OTHER_TECHNICIAN = "tech.shuangqiao", "tech.liuwan"
COLOURS, ULTRASOUND = BUNDLED / "SC_rgb_rle.dcm", BUNDLED / "examples_jpeg2k.dcm"
# Uncompressed ones that the gateway makes smaller: JPEG-LS in colour, HTJ2K in grey.
LYMPH_NODE, SLICE = BUNDLED / "examples_rgb_color.dcm", BUNDLED / "MR_small.dcm"

PersonOf = Callable[[str], Person]


@pytest.mark.parametrize(
    ("file", "language", "word"),
    [
        (COLOURS, "zh", "检查"),
        (ULTRASOUND, "en", "Studies"),
        (LYMPH_NODE, "zh", "检查"),
        (SLICE, "en", "Studies"),
    ],
)
def test_compressed_image_is_drawn_as_it_is(
    network: RunningNetwork,
    person: PersonOf,
    send: Callable[[list[Path]], str],
    file: Path,
    language: str,
    word: str,
) -> None:
    study_uid, expected = send([file]), expected_picture(file)
    viewer = person(TECHNICIAN)
    viewer.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng={language}")
    viewer.page.locator("canvas.cornerstone-canvas").first.wait_for()

    def is_drawn() -> None:
        assert difference(picture_on(canvas_png(viewer.page), expected.shape[:2]), expected) < 8

    eventually(is_drawn, every_s=0.2)
    expect(viewer.page.get_by_text(word, exact=True).first).to_be_visible()
    viewer.look(f"viewer-{file.stem}", may_scroll_sideways=True)


def test_viewer_has_no_list_of_studies(person: PersonOf) -> None:
    someone = person(TECHNICIAN)
    someone.page.goto(f"{someone.url}/viewer/")
    expect(someone.page.get_by_text("404")).to_be_visible()
    expect(someone.page.locator("canvas")).to_have_count(0)


def test_study_of_another_clinic_is_not_shown(
    network: RunningNetwork, person: PersonOf, send: Callable[[list[Path]], str]
) -> None:
    study_uid = send([BUNDLED / "MR_small.dcm"])
    stranger = person(OTHER_TECHNICIAN)
    stranger.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng=en")
    expect(stranger.page.get_by_text("not available")).to_be_visible()
    expect(stranger.page.locator("canvas")).to_have_count(0)
    stranger.forgive("404", "request failed", "StudyNotFound", "XMLHttpRequest")


def test_address_of_a_study_leads_through_the_login(network: RunningNetwork, newcomer: Callable[[], Person]) -> None:
    someone = newcomer()
    someone.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs=1.2.3&lng=zh")
    someone.page.wait_for_url(re.compile(r"/login\?next="))
    expect(someone.page.locator("input[name=password]")).to_be_visible()


def test_what_the_viewer_stores_bears_the_token_of_its_page(
    network: RunningNetwork, person: PersonOf, send: Callable[[list[Path]], str], tmp_path: Path
) -> None:
    files = chest_phantom(tmp_path)
    study_uid = send(files)
    document = evidence([file.read_bytes() for file in files])
    viewer = person(TECHNICIAN)
    viewer.page.goto(f"{network.url}/viewer/viewer?StudyInstanceUIDs={study_uid}&lng=zh")
    viewer.page.locator("canvas.cornerstone-canvas").first.wait_for()
    encoded = base64.b64encode(document).decode()
    assert viewer.page.evaluate(WITHOUT_TOKEN) == 403
    viewer.forgive("403")
    status, answer = viewer.page.evaluate(STORE, encoded)
    assert (status, json.loads(answer)["00081199"]["Value"][0]["00081155"]["Value"]) == (200, [uid_of(document)])


# As the viewer's own DICOMweb client does it; what it writes behind the closing delimiter included.
STORE = """encoded => new Promise((resolve, reject) => {
  const file = Uint8Array.from(atob(encoded), character => character.charCodeAt(0));
  const head = '\\r\\n--guid\\r\\nContent-Type: application/dicom\\r\\n\\r\\n';
  const request = new XMLHttpRequest();
  request.open('POST', '/dicomweb/studies', true);
  request.setRequestHeader('Content-Type', 'multipart/related; type="application/dicom"; boundary="guid"');
  request.onload = () => resolve([request.status, request.responseText]);
  request.onerror = reject;
  request.send(new Blob([head, file, '\\r\\n--guid--', new Uint8Array(10)]));
})"""
WITHOUT_TOKEN = """async () => (await fetch('/dicomweb/studies', {
  method: 'POST', body: '--guid--', headers: {'Content-Type': 'multipart/related; boundary=guid'},
})).status"""
