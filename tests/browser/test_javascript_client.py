"""The viewer's own DICOMweb client, in a real browser with a person's session, gets and stores what it can ask for."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import Person
from tests.browser.phantoms import FRAMES, ultrasound_loop
from tests.browser.pictures import BUNDLED, Picture, chest_phantom, expected_picture
from tests.integration.stow.made import evidence, uid_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN = "tech.shuangqiao"
CLIENT = Path(__file__).parents[2] / "build" / "for_tests" / "dicomweb-client.js"
IMAGE_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg"}
OVERLAY = BUNDLED / "examples_overlay.dcm"
Send = Callable[[list[Path]], str]

# What is binary goes over the border as {base64: …}; a refusal comes back as {refused: status}.
CALL = """async ([method, options]) => {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  const url = `${location.origin}/dicomweb`;
  const client = new DICOMwebClient.api.DICOMwebClient({url, headers: {'X-CSRF-Token': token}});
  const binary = text => Uint8Array.from(atob(text), character => character.charCodeAt(0)).buffer;
  const plain = value => {
    if (value instanceof ArrayBuffer) {
      return {base64: btoa(Array.from(new Uint8Array(value), byte => String.fromCharCode(byte)).join(''))};
    }
    return Array.isArray(value) ? value.map(plain) : value;
  };
  if (options.datasets) options.datasets = options.datasets.map(binary);
  try {
    return plain(await client[method](options));
  } catch (error) {
    return {refused: error.status ?? String(error)};
  }
}"""


@dataclass(frozen=True)
class Client:
    """The client on a page of the hub."""

    page: Page

    def __call__(self, method: str, **options: Any) -> Any:
        return unpacked(self.page.evaluate(CALL, [method, options]))


def unpacked(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return [unpacked(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def technician(person: Callable[[str], Person]) -> Person:
    return person(TECHNICIAN)


@pytest.fixture
def client(technician: Person) -> Client:
    technician.page.evaluate(CLIENT.read_text(encoding="utf-8"))
    return Client(technician.page)


def names(file: Path) -> dict[str, str]:
    header = pydicom.dcmread(file, stop_before_pixels=True)
    return {
        "studyInstanceUID": str(header.StudyInstanceUID),
        "seriesInstanceUID": str(header.SeriesInstanceUID),
        "sopInstanceUID": str(header.SOPInstanceUID),
    }


def series_of(uids: dict[str, str]) -> dict[str, str]:
    return {name: uid for name, uid in uids.items() if name != "sopInstanceUID"}


def study_of(uids: dict[str, str]) -> dict[str, str]:
    return {"studyInstanceUID": uids["studyInstanceUID"]}


def picture_in(found: list[bytes], kind: str) -> Picture:
    """Return the colours of the one image file that was found."""
    (file,) = found
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.format == kind
        return np.asarray(picture.convert("RGB")).astype(float)


def taking(kind: str) -> list[dict[str, str]]:
    return [{"mediaType": IMAGE_TYPES[kind]}]


def values(found: list[dict[str, Any]], tag: str) -> set[str]:
    return {one[tag]["Value"][0] for one in found}


def test_searches_and_headers(client: Client, send: Send, tmp_path: Path) -> None:
    files = chest_phantom(tmp_path)
    send(files)
    uids, sent = names(files[2]), {names(file)["sopInstanceUID"] for file in files}
    (study,) = client("searchForStudies", queryParams={"StudyInstanceUID": uids["studyInstanceUID"]})
    assert study["00081030"]["Value"] == ["胸部CT平扫"]
    assert values(client("searchForSeries", **study_of(uids)), "0020000E") == {uids["seriesInstanceUID"]}
    assert values(client("searchForInstances", **series_of(uids)), "00080018") == sent
    limited = client("searchForInstances", **series_of(uids), queryParams={"limit": "2", "offset": "1"})
    assert len(limited) == 2
    of_study = client("retrieveStudyMetadata", **study_of(uids))
    assert values(of_study, "00080018") == sent
    assert client("retrieveSeriesMetadata", **series_of(uids)) == of_study
    (own,) = client("retrieveInstanceMetadata", **uids)
    assert own in of_study
    assert own["00100010"]["Value"][0]["Alphabetic"] == "赵䶮"


def test_files_frames_and_long_values(client: Client, send: Send, tmp_path: Path) -> None:
    files = chest_phantom(tmp_path)
    send([*files])
    uids, source = names(files[0]), pydicom.dcmread(files[0])
    found = pydicom.dcmread(io.BytesIO(client("retrieveInstance", **uids)))
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)
    for whole in (client("retrieveSeries", **series_of(uids)), client("retrieveStudy", **study_of(uids))):
        got = {str(pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID) for file in whole}
        assert got == {names(file)["sopInstanceUID"] for file in files}
    (frame,) = client("retrieveInstanceFrames", **uids, frameNumbers=[1])
    assert frame == source.PixelData
    send([OVERLAY])
    overlaid, header = pydicom.dcmread(OVERLAY), client("retrieveInstanceMetadata", **names(OVERLAY))[0]
    place = client.page.url.partition("/clinic")[0] + header["60003000"]["BulkDataURI"]
    assert client("retrieveBulkData", BulkDataURI=place) == [overlaid[0x60003000].value]


def test_pictures_are_what_a_screen_shows(client: Client, send: Send, tmp_path: Path) -> None:
    (first, *others) = chest_phantom(tmp_path)
    send([first, *others])
    uids, wanted = names(first), expected_picture(first)
    picture = picture_in(client("retrieveInstanceRendered", **uids, mediaTypes=taking("PNG")), "PNG")
    np.testing.assert_allclose(picture, wanted, atol=2)
    unsaid = picture_in(client("retrieveInstanceRendered", **uids), "JPEG")
    assert np.abs(unsaid - wanted).mean() < 3
    windowed = client(
        "retrieveInstanceRendered", **uids, mediaTypes=taking("PNG"), queryParams={"window": "-2000,10,linear"}
    )
    assert picture_in(windowed, "PNG").min() == 255
    thumbnail = client(
        "retrieveInstanceThumbnail", **uids, mediaTypes=taking("JPEG"), queryParams={"viewport": "64,32"}
    )
    assert picture_in(thumbnail, "JPEG").shape == (32, 32, 3)


def test_pictures_of_frames(client: Client, send: Send, tmp_path: Path) -> None:
    loop, shown = ultrasound_loop(tmp_path, jpeg=True)
    send([loop])
    uids = names(loop)
    for number in (1, FRAMES):
        one = client("retrieveInstanceFramesRendered", **uids, frameNumbers=[number], mediaTypes=taking("PNG"))
        assert np.abs(picture_in(one, "PNG") - shown[number - 1]).mean() < 6
    small = client("retrieveInstanceFramesThumbnail", **uids, frameNumbers=[2], mediaTypes=taking("JPEG"))
    assert picture_in(small, "JPEG").shape == (96, 128, 3)


def test_what_is_stored_is_there(client: Client, send: Send, tmp_path: Path) -> None:
    files = chest_phantom(tmp_path)
    send(files)
    document = evidence([file.read_bytes() for file in files])
    encoded = base64.b64encode(document).decode()
    client("storeInstances", datasets=[encoded], **study_of(names(files[0])))
    found = client("searchForInstances", **study_of(names(files[0])), queryParams={"SOPInstanceUID": uid_of(document)})
    assert values(found, "00080018") == {uid_of(document)}


def test_refusal_comes_with_its_status(client: Client, technician: Person, send: Send, tmp_path: Path) -> None:
    assert client("retrieveStudyMetadata", studyInstanceUID="1.2.3") == {"refused": 404}
    loop, _ = ultrasound_loop(tmp_path, jpeg=True)
    send([loop])
    assert client("retrieveInstanceRendered", **names(loop), mediaTypes=taking("JPEG")) == {"refused": 406}
    technician.forgive("404", "406", "request failed", "ArrayBuffer")  # as the client and the browser note them
