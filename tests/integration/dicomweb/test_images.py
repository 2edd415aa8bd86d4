"""WADO-RS: headers and frames together give back the pixels of the file that was sent, whatever its syntax."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from tests.integration.dicomweb.conftest import PICTURES
from tests.integration.dicomweb.county import County
from tests.integration.dicomweb.phantom import BONE_SERIES, DESCRIPTIONS, GB18030_STUDY, LUNG_SERIES
from tests.integration.dicomweb.server import ImageClient

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

MEDIA_TYPES = {
    "CT_small.dcm": "application/octet-stream",
    "693_J2KI.dcm": "image/jp2",
    "examples_ybr_color.dcm": "image/jpeg",
    "SC_rgb_rle_2frame.dcm": "image/dicom-rle",
    "MR_small_bigendian.dcm": "application/octet-stream",
    "MR_small_jpeg_ls_lossless.dcm": "image/jls",
    "image_dfl.dcm": "application/octet-stream",
}


NOT_DECODED = ("JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm")  # no decoder for these among the locked dependencies


def address(source: Dataset) -> str:
    return (
        f"/dicomweb/studies/{source.StudyInstanceUID}/series/{source.SeriesInstanceUID}"
        f"/instances/{source.SOPInstanceUID}"
    )


def picture_of(header: dict[str, Any], syntax: str, frame: bytes) -> np.ndarray[Any, Any]:
    """Decode one frame as a viewer does: by the header and the part that came over HTTP, nothing else."""
    image_pixel_module = {tag: element for tag, element in header.items() if tag.startswith("0028")}
    dataset = Dataset.from_json(json.dumps(image_pixel_module))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.NumberOfFrames = 1
    dataset.PixelData = encapsulate([frame]) if UID(syntax).is_encapsulated else frame
    dataset["PixelData"].VR = "OB" if UID(syntax).is_encapsulated or dataset.BitsAllocated <= 8 else "OW"
    return dataset.pixel_array


@pytest.mark.parametrize("name", [name for name in PICTURES if name not in NOT_DECODED])
def test_every_frame_shows_the_pixels_that_were_sent(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str
) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures[name]))
    count = int(source.get("NumberOfFrames") or 1)
    (header,) = coordinator.get(f"{address(source)}/metadata").json()
    wanted = ",".join(str(number) for number in range(1, count + 1))
    parts = coordinator.get(f"{address(source)}/frames/{wanted}").parts()
    assert len(parts) == count
    sent = source.pixel_array.reshape(count, *source.pixel_array.shape[-2 - (source.SamplesPerPixel > 1) :])
    for (media_type, syntax, frame), picture in zip(parts, sent, strict=True):
        assert media_type == MEDIA_TYPES.get(name, media_type)
        np.testing.assert_array_equal(picture_of(header, syntax, frame), picture)


@pytest.mark.parametrize("name", NOT_DECODED)
def test_frame_that_python_cannot_decode_is_given_byte_for_byte(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str
) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures[name]))
    ((_, syntax, frame),) = coordinator.get(f"{address(source)}/frames/1").parts()
    assert syntax == source.file_meta.TransferSyntaxUID
    assert frame == get_frame(source.PixelData, 0, number_of_frames=1)


def test_frames_come_in_the_order_asked(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["examples_ybr_color.dcm"]))
    parts = coordinator.get(f"{address(source)}/frames/3,1").parts()
    single = [coordinator.get(f"{address(source)}/frames/{number}").parts()[0] for number in (3, 1)]
    assert parts == single


@pytest.mark.parametrize(("frames", "status"), [("0", 404), ("31", 404), ("1,31", 404), ("one", 400), ("1,,2", 400)])
def test_frame_that_is_not_there_is_not_found(
    coordinator: ImageClient, pictures: dict[str, bytes], frames: str, status: int
) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["examples_ybr_color.dcm"]))
    reply = coordinator.get(f"{address(source)}/frames/{frames}")
    assert (reply.status, reply.code()) == (status, "frame_not_found" if status == 404 else "bad_query")


def test_frames_as_a_picture_of_another_kind_are_refused(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["CT_small.dcm"]))
    reply = coordinator.get(f"{address(source)}/frames/1", Accept="image/png")
    assert (reply.status, reply.code()) == (406, "not_acceptable")


def test_instance_is_the_file_that_was_sent(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["examples_ybr_color.dcm"]))
    ((media_type, _, body),) = coordinator.get(address(source)).parts()
    assert media_type == "application/dicom"
    assert body == pictures["examples_ybr_color.dcm"]


def test_long_binary_value_is_left_out_of_the_headers_and_given_at_its_address(
    coordinator: ImageClient, pictures: dict[str, bytes]
) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["examples_overlay.dcm"]))
    (header,) = coordinator.get(f"{address(source)}/metadata").json()
    overlay = header["60003000"]
    assert overlay == {"vr": "OW", "BulkDataURI": f"{address(source)}/bulkdata/60003000"}
    ((media_type, _, body),) = coordinator.get(overlay["BulkDataURI"]).parts()
    assert media_type == "application/octet-stream"
    assert body == source[0x60003000].value


@pytest.mark.parametrize("path", ["7FE00010", "60013000", "00080018", "60003000/0/60003000", "6000", "../metadata"])
def test_path_that_leads_to_no_long_binary_value_is_not_found(
    coordinator: ImageClient, pictures: dict[str, bytes], path: str
) -> None:
    source = pydicom.dcmread(io.BytesIO(pictures["examples_overlay.dcm"]))
    reply = coordinator.get(f"{address(source)}/bulkdata/{path.replace('..', '%2e%2e')}")
    assert (reply.status, reply.code()) == (404, "bulk_data_not_found")


def test_headers_carry_gb18030_text_series_by_series(coordinator: ImageClient, county: County) -> None:
    headers = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/metadata").json()
    assert len(headers) == 3
    for header in headers:
        assert header["00100010"]["Value"] == [{"Alphabetic": "赵䶮^阿", "Ideographic": "Zhao^Yan"}]
        assert header["00080005"]["Value"] == ["ISO_IR 192"], "DICOM JSON is UTF-8 whatever the file was (PS3.18 F.2)"
    for series_uid, description in DESCRIPTIONS.items():
        of_series = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/series/{series_uid}/metadata").json()
        assert of_series == [header for header in headers if header["0020000E"]["Value"] == [series_uid]]
        assert {header["0008103E"]["Value"][0] for header in of_series} == {description}


def test_headers_of_one_instance_are_its_own(coordinator: ImageClient, county: County) -> None:
    uid = f"{LUNG_SERIES}.3"
    path = f"/dicomweb/studies/{GB18030_STUDY}/series/{LUNG_SERIES}/instances/{uid}/metadata"
    (header,) = coordinator.get(path).json()
    assert header["00080018"]["Value"] == [uid]
    assert "7FE00010" not in header or "InlineBinary" not in header["7FE00010"]


def test_instance_under_another_series_is_not_found(coordinator: ImageClient, county: County) -> None:
    path = f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{LUNG_SERIES}.3"
    for address_of in (path, f"{path}/metadata", f"{path}/frames/1"):
        assert coordinator.get(address_of).code() == "not_found"


def test_headers_are_compressed_for_readers_that_take_it(coordinator: ImageClient, county: County) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}/metadata", **{"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.headers["Cache-Control"] == "no-store"
