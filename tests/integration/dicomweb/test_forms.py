"""Readers get files and frames in the form that they take, made where it is not stored, with the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pydicom
import pytest

from tests.integration.dicomweb.conftest import PICTURES
from tests.integration.dicomweb.county import County
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, gb18030_study
from tests.integration.dicomweb.server import ImageClient, Reply
from tests.integration.dicomweb.test_images import address, picture_of

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_LS, HTJ2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.201"
LOSSY = {  # how they are stored
    "693_J2KI.dcm": "1.2.840.10008.1.2.4.91",
    "SC_rgb_jpeg_dcmtk.dcm": "1.2.840.10008.1.2.4.50",
    "examples_ybr_color.dcm": "1.2.840.10008.1.2.4.50",
    "JPGExtended.dcm": "1.2.840.10008.1.2.4.51",
}
COMPARED = [name for name in PICTURES if name not in LOSSY and name != "SC_rgb_jpeg_gdcm.dcm"]  # pydicom decodes them
FILES = 'multipart/related; type="application/dicom"'
BYTES = 'multipart/related; type="application/octet-stream"'
PHANTOM = f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1"
DOSE, OVERLAY, SMALL_CT, MR = "rtdose_expb.dcm", "examples_overlay.dcm", "CT_small.dcm", "MR_small_jpeg_ls_lossless.dcm"


def read(file: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(file))


def file_of(reply: Reply) -> tuple[str, pydicom.FileDataset]:
    """Return the syntax that an answer of one file tells, and the file."""
    ((media_type, syntax, body),) = reply.parts()
    assert media_type == "application/dicom"
    found = read(body)
    assert found.file_meta.TransferSyntaxUID == syntax
    return syntax, found


@pytest.mark.parametrize("name", COMPARED)
def test_file_without_a_wish_for_a_syntax_is_explicit_little_endian(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str
) -> None:
    source = read(pictures[name])
    syntax, found = file_of(coordinator.get(address(source), Accept=FILES))
    assert (syntax, found.SOPInstanceUID) == (EXPLICIT, source.SOPInstanceUID)
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_file_is_given_as_it_is_where_no_syntax_is_named(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str
) -> None:
    ((_, syntax, body),) = coordinator.get(address(read(pictures[name])), Accept=FILES).parts()
    assert (syntax, body) == (LOSSY[name], pictures[name])


@pytest.mark.parametrize("syntax", [IMPLICIT, JPEG_LS, HTJ2K])
@pytest.mark.parametrize("name", [SMALL_CT, MR, "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
def test_file_comes_in_the_syntax_that_is_named(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str, syntax: str
) -> None:
    source = read(pictures[name])
    given, found = file_of(coordinator.get(address(source), Accept=f"{FILES}; transfer-syntax={syntax}"))
    assert given == syntax
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("JPGExtended.dcm", EXPLICIT),
        ("SC_rgb_rle_2frame.dcm", HTJ2K),
        (DOSE, JPEG_LS),
        (SMALL_CT, "1.2.840.10008.1.2.4.50"),
        (SMALL_CT, "1.2.3"),
    ],
)
def test_form_that_a_file_has_not_is_refused_with_how_it_is_stored(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str, syntax: str
) -> None:
    source = read(pictures[name])
    reply = coordinator.get(address(source), Accept=f"{FILES}; transfer-syntax={syntax}")
    assert (reply.status, reply.code()) == (406, "not_acceptable")
    assert source.file_meta.TransferSyntaxUID in reply.body.decode()


def test_lossy_file_is_decoded_for_who_asks_for_that(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = read(pictures["693_J2KI.dcm"])
    syntax, found = file_of(coordinator.get(address(source), Accept=f"{FILES}; transfer-syntax={EXPLICIT}"))
    assert syntax == EXPLICIT
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)


@pytest.mark.parametrize(("name", "syntax"), [(MR, EXPLICIT), ("JPGExtended.dcm", "1.2.840.10008.1.2.4.51")])
def test_study_comes_in_the_syntax_that_is_named_but_for_what_has_no_such_form(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str, syntax: str
) -> None:
    source = read(pictures[name])
    path = f"/dicomweb/studies/{source.StudyInstanceUID}"
    reply = coordinator.get(path, Accept=f"{FILES}; transfer-syntax={EXPLICIT}")
    assert [part[1] for part in reply.parts()] == [syntax]


def test_study_that_is_stored_as_asked_is_not_touched(coordinator: ImageClient, county: County) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}", Accept=FILES)
    assert sorted(body for _, _, body in reply.parts()) == sorted(gb18030_study())
    assert "Content-Length" in reply.headers


@pytest.mark.parametrize("accept", [BYTES, "application/octet-stream"])
@pytest.mark.parametrize("name", [name for name in COMPARED if name != "image_dfl.dcm"])
def test_frame_as_bytes_is_native(coordinator: ImageClient, pictures: dict[str, bytes], name: str, accept: str) -> None:
    source = read(pictures[name])
    reply = coordinator.get(f"{address(source)}/frames/1", Accept=accept)
    frame = reply.body if accept != BYTES else reply.parts()[0][2]
    assert f"application/octet-stream; transfer-syntax={EXPLICIT}" in (
        reply.headers["Content-Type"] if accept != BYTES else frame_type(reply)
    )
    (header,) = coordinator.get(f"{address(source)}/metadata").json()
    header.pop("00280008", None)
    frames = int(source.get("NumberOfFrames") or 1)
    first = source.pixel_array[0] if frames > 1 else source.pixel_array
    if source.PhotometricInterpretation == "YBR_RCT":
        header["00280004"]["Value"] = ["RGB"]  # undone by every decoder
    np.testing.assert_array_equal(picture_of(header, EXPLICIT, frame), first)


def frame_type(reply: Reply) -> str:
    media_type, syntax, _ = reply.parts()[0]
    return f"{media_type}; transfer-syntax={syntax}"


@pytest.mark.parametrize(("media_type", "syntax"), [("image/jls", JPEG_LS), ("image/jphc", HTJ2K)])
@pytest.mark.parametrize("name", [SMALL_CT, "MR_small_RLE.dcm"])
def test_frame_is_coded_for_who_takes_it(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str, media_type: str, syntax: str
) -> None:
    source = read(pictures[name])
    reply = coordinator.get(f"{address(source)}/frames/1", Accept=f'multipart/related; type="{media_type}"')
    ((given, given_syntax, frame),) = reply.parts()
    assert (given, given_syntax) == (media_type, syntax)
    (header,) = coordinator.get(f"{address(source)}/metadata").json()
    np.testing.assert_array_equal(picture_of(header, syntax, frame), source.pixel_array)


def test_frame_in_a_form_that_it_has_not_is_refused_with_those_that_there_are(
    coordinator: ImageClient, pictures: dict[str, bytes]
) -> None:
    reply = coordinator.get(f"{address(read(pictures[DOSE]))}/frames/1", Accept="image/jls")
    assert (reply.status, reply.code()) == (406, "not_acceptable")
    assert f"application/octet-stream; transfer-syntax={EXPLICIT}" in reply.body.decode()


@pytest.mark.parametrize("accept", ["application/dicom; transfer-syntax=*", "application/dicom"])
def test_file_alone_is_the_body(coordinator: ImageClient, county: County, accept: str) -> None:
    reply = coordinator.get(PHANTOM, Accept=accept)
    assert reply.headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.body in gb18030_study()


def test_file_alone_is_made_where_it_is_not_stored(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = read(pictures[MR])
    reply = coordinator.get(address(source), Accept="application/dicom")
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    np.testing.assert_array_equal(read(reply.body).pixel_array, source.pixel_array)


@pytest.mark.parametrize(
    ("asked", "first", "last"), [("bytes=0-9", 0, 9), ("bytes=100-199", 100, 199), ("bytes=2000-", 2000, None)]
)
def test_reader_goes_on_where_the_line_broke_off(
    coordinator: ImageClient, county: County, asked: str, first: int, last: int | None
) -> None:
    whole = coordinator.get(PHANTOM, Accept="application/dicom")
    size, last = len(whole.body), len(whole.body) - 1 if last is None else last
    headers = {"Accept": "application/dicom", "Range": asked}
    for condition in ({}, {"If-Range": whole.headers["ETag"]}):
        part = coordinator.get(PHANTOM, **headers, **condition)
        assert (part.status, part.headers["Content-Range"]) == (206, f"bytes {first}-{last}/{size}")
        assert part.body == whole.body[first : last + 1]
    assert coordinator.get(PHANTOM, **headers, **{"If-Range": '"another"'}).body == whole.body


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=x"])
def test_range_that_is_none_asks_for_all(coordinator: ImageClient, county: County, asked: str) -> None:
    assert coordinator.get(PHANTOM, Accept="application/dicom", Range=asked).status == 200


def test_range_behind_the_end_is_refused_with_the_size(coordinator: ImageClient, county: County) -> None:
    size = len(coordinator.get(PHANTOM, Accept="application/dicom").body)
    reply = coordinator.get(PHANTOM, Accept="application/dicom", Range=f"bytes={size}-")
    assert (reply.status, reply.code()) == (416, "range_not_there")
    assert reply.headers["Content-Range"] == f"bytes */{size}"


def test_range_of_a_long_value(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = read(pictures[OVERLAY])
    path = f"{address(source)}/bulkdata/60003000"
    part = coordinator.get(path, Accept="application/octet-stream", Range="bytes=10-19")
    assert (part.status, part.body) == (206, source[0x60003000].value[10:20])


@pytest.mark.parametrize("accept", ["*/*", "application/dicom", FILES])
@pytest.mark.parametrize("path", [PHANTOM, f"/dicomweb/studies/{GB18030_STUDY}"])
def test_reader_who_has_it_is_told_so(
    coordinator: ImageClient, as_person: Callable[[str], ImageClient], county: County, path: str, accept: str
) -> None:
    reply = coordinator.get(path, Accept=accept)
    if reply.status == 406:
        assert (path, accept) != (PHANTOM, accept), "many files are never bare"
        return
    tag = reply.headers["ETag"]
    assert tag.startswith("W/") == reply.headers["Content-Type"].startswith("multipart/")
    again = coordinator.get(path, Accept=accept, **{"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    assert coordinator.get(path, Accept=f"{FILES}; transfer-syntax={HTJ2K}", **{"If-None-Match": tag}).status == 200
    assert as_person("stranger").get(path, Accept=accept, **{"If-None-Match": "*"}).code() == "not_found"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"/dicomweb/studies/{GB18030_STUDY}", "image/jpeg"),
        (f"/dicomweb/studies/{GB18030_STUDY}", "application/dicom"),
        (PHANTOM, "application/dicom+json"),
        (f"{PHANTOM}/bulkdata/60003000", "image/png"),
        ("/dicomweb/studies", 'multipart/related; type="application/dicom+xml"'),
        (f"/dicomweb/studies/{GB18030_STUDY}/series", "application/xml"),
        (f"/dicomweb/studies/{GB18030_STUDY}/instances", "text/csv"),
    ],
)
def test_answer_of_another_kind_is_refused(coordinator: ImageClient, county: County, path: str, accept: str) -> None:
    reply = coordinator.get(path, Accept=accept)
    assert (reply.status, reply.code()) == (406, "not_acceptable")
