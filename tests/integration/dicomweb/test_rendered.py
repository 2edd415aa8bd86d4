"""Studies, series, instances and frames as pictures, over the wire: every form, and every refusal in words."""

from __future__ import annotations

import io
import json
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from tests.integration.dicomweb.conftest import PICTURES
from tests.integration.dicomweb.county import OTHER_SITE, County, bundled, with_header
from tests.integration.dicomweb.documents import PDF_BYTES, encapsulated_pdf, key_object
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, LUNG_SERIES, noise_study
from tests.integration.dicomweb.server import ImageClient, Reply
from tests.integration.dicomweb.test_images import address

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

STUDY = f"/dicomweb/studies/{GB18030_STUDY}"
INSTANCE = f"{STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1"
JPEG_PARTS, PNG_PARTS = 'multipart/related; type="image/jpeg"', "multipart/related; type=image/png"
MR_FORMS = ("MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_jpeg_ls_lossless.dcm")
BARS = ("SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm")
OVERLAY, LOOP = "examples_overlay.dcm", "examples_ybr_color.dcm"


def read(file: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(file))


def picture_in(body: bytes, kind: str = "JPEG") -> Any:
    """Return the pixels of an image file, which must be of this kind."""
    with Image.open(io.BytesIO(body)) as found:
        assert found.format == kind
        return np.asarray(found)


def shown(client: ImageClient, path: str, **headers: str) -> Any:
    reply = client.get(path, **({"Accept": "image/png"} | headers))
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png"), reply.body
    return picture_in(reply.body, "PNG")


def located_parts(reply: Reply) -> list[tuple[str, str, bytes]]:
    """Return media type, address and body of each part."""
    head = f"Content-Type: {reply.headers['Content-Type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + reply.body, policy=HTTP).iter_parts()
    return [(part.get_content_type(), part["Content-Location"], part.get_payload(decode=True)) for part in parts]


@pytest.mark.parametrize("name", PICTURES)
def test_every_image_has_a_picture_of_its_size(coordinator: ImageClient, pictures: dict[str, bytes], name: str) -> None:
    source = read(pictures[name])
    reply = coordinator.get(f"{address(source)}/frames/1/rendered")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/jpeg"), reply.body
    assert picture_in(reply.body).shape[:2] == (source.Rows, source.Columns)


@pytest.mark.parametrize("name", MR_FORMS)
def test_same_image_is_the_same_picture_whatever_its_syntax(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str
) -> None:
    source = read(pictures[name])
    values = apply_voi_lut(apply_modality_lut(source.pixel_array, source), source)
    wanted = (values + 32768) / 65535 * 255
    np.testing.assert_allclose(shown(coordinator, f"{address(source)}/rendered"), wanted, atol=0.51)


@pytest.mark.parametrize("name", BARS)
def test_colours_are_those_that_were_drawn(coordinator: ImageClient, pictures: dict[str, bytes], name: str) -> None:
    found = shown(coordinator, f"{address(read(pictures[name]))}/frames/1/rendered").astype(int)
    for row, colour in ((5, (255, 0, 0)), (25, (0, 255, 0)), (45, (0, 0, 255)), (65, (0, 0, 0)), (95, (255, 255, 255))):
        np.testing.assert_allclose(found[row, 50], colour, atol=6)


def test_window_viewport_and_quality_do_what_they_say(coordinator: ImageClient, county: County) -> None:
    ramp = np.arange(1024).reshape(32, 32)
    found = shown(coordinator, f"{INSTANCE}/rendered?window=500,100,linear-exact")
    np.testing.assert_allclose(found, np.clip((ramp - 450) / 100, 0, 1) * 255, atol=0.51)
    assert shown(coordinator, f"{INSTANCE}/rendered?viewport=16,8").shape == (8, 8)
    mirrored = shown(coordinator, f"{INSTANCE}/rendered?viewport=32,32,,,-32,32&window=511.5,1024,linear-exact")
    np.testing.assert_allclose(mirrored, (ramp[:, ::-1] + 0.5) / 1024 * 255, atol=0.51)
    sizes = [len(coordinator.get(f"{INSTANCE}/rendered?quality={quality}").body) for quality in (5, 95)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    "query",
    [
        *("window=1", "window=a,b", "window=1,0", "window=1,0.5,linear", "window=1,2,curved", "window=nan,2"),
        *(
            "viewport=0,1",
            "viewport=1",
            "viewport=4097,1",
            "viewport=1,1,40,0",
            "viewport=1,1,0,0,0,1",
            "viewport=-1,1",
        ),
        *("quality=0", "quality=101", "quality=best", "annotation=name", "annotation=", "iccprofile=mine"),
    ],
)
def test_query_that_cannot_be_understood_is_refused(coordinator: ImageClient, county: County, query: str) -> None:
    reply = coordinator.get(f"{INSTANCE}/rendered?{query}")
    assert (reply.status, reply.code()) == (400, "bad_query")


def test_what_is_not_done_is_told(coordinator: ImageClient, county: County, pictures: dict[str, bytes]) -> None:
    plain = coordinator.get(f"{INSTANCE}/rendered")
    assert "Warning" not in plain.headers
    asked = coordinator.get(f"{INSTANCE}/rendered?annotation=patient,technique&iccprofile=srgb")
    assert "annotation values are not supported: patient, technique" in asked.headers["Warning"]
    assert "Colour profiles" in asked.headers["Warning"]
    assert asked.body == plain.body
    overlaid = coordinator.get(f"{address(read(pictures[OVERLAY]))}/rendered")
    assert overlaid.headers["Warning"] == '299 counterpart: "Overlays are left out of the picture"'


def test_study_and_series_are_all_their_pictures_each_with_its_address(
    coordinator: ImageClient, county: County
) -> None:
    reply = coordinator.get(f"{STUDY}/rendered")
    assert reply.headers["Content-Type"].startswith('multipart/related; type="image/jpeg"')
    order = [(BONE_SERIES, 1), (BONE_SERIES, 2), (LUNG_SERIES, 3)]
    wanted = [f"{STUDY}/series/{uid}/instances/{uid}.{number}/frames/1/rendered" for uid, number in order]
    parts = located_parts(reply)
    assert [place for _, place, _ in parts] == wanted
    for media_type, place, body in parts:
        assert (media_type, body) == ("image/jpeg", coordinator.get(place).body)
    of_series = located_parts(coordinator.get(f"{STUDY}/series/{BONE_SERIES}/rendered", Accept=PNG_PARTS))
    assert [(kind, place) for kind, place, _ in of_series] == [("image/png", place) for place in wanted[:2]]


def test_every_frame_of_a_loop_comes_in_parts_and_each_alone(
    coordinator: ImageClient, pictures: dict[str, bytes]
) -> None:
    source = read(pictures[LOOP])
    parts = located_parts(coordinator.get(f"{address(source)}/rendered"))
    assert len(parts) == source.NumberOfFrames == 30
    chosen = located_parts(coordinator.get(f"{address(source)}/frames/3,1/rendered", Accept=JPEG_PARTS))
    assert chosen == [parts[2], parts[0]]
    for accept in ("image/jpeg", "image/gif"):
        reply = coordinator.get(f"{address(source)}/rendered", Accept=accept)
        assert (reply.status, reply.code()) == (406, "not_acceptable")


@pytest.mark.parametrize(("frames", "status"), [("31", 404), ("0", 404), ("1,31", 404), ("x", 400)])
@pytest.mark.parametrize("resource", ["rendered", "thumbnail"])
def test_frame_that_is_not_there_is_not_found(
    coordinator: ImageClient, pictures: dict[str, bytes], frames: str, status: int, resource: str
) -> None:
    if (frames, resource) == ("1,31", "thumbnail"):
        status = 400  # a thumbnail is of one frame
    reply = coordinator.get(f"{address(read(pictures[LOOP]))}/frames/{frames}/{resource}")
    assert (reply.status, reply.code()) == (status, "frame_not_found" if status == 404 else "bad_query")


@pytest.mark.parametrize("accept", ["image/webp", "application/dicom", "text/html", "image/gif"])
@pytest.mark.parametrize("path", [f"{INSTANCE}/rendered", f"{STUDY}/rendered", f"{STUDY}/thumbnail"])
def test_picture_of_another_kind_is_refused_with_what_there_is(
    coordinator: ImageClient, county: County, path: str, accept: str
) -> None:
    reply = coordinator.get(path, Accept=accept)
    assert (reply.status, reply.code()) == (406, "not_acceptable")
    assert "image/jpeg" in reply.body.decode()


def test_kind_may_stand_in_the_query_and_wishes_have_an_order(coordinator: ImageClient, county: County) -> None:
    assert coordinator.get(f"{INSTANCE}/rendered?accept=image/png").headers["Content-Type"] == "image/png"
    for accept, kind in (("image/gif, image/png;q=0.5, image/jpeg;q=0.1", "image/png"), ("image/*", "image/jpeg")):
        assert coordinator.get(f"{INSTANCE}/rendered", Accept=accept).headers["Content-Type"] == kind
    (part,) = located_parts(coordinator.get(f"{INSTANCE}/rendered", Accept=JPEG_PARTS))
    assert part[1] == f"{INSTANCE}/frames/1/rendered"


def test_thumbnail_is_small_and_of_the_middle(coordinator: ImageClient, pictures: dict[str, bytes]) -> None:
    source = read(pictures[LOOP])
    levels = (
        f"/dicomweb/studies/{source.StudyInstanceUID}",
        f"/dicomweb/studies/{source.StudyInstanceUID}/series/{source.SeriesInstanceUID}",
        address(source),
        f"{address(source)}/frames/15",
    )
    answers = [coordinator.get(f"{level}/thumbnail") for level in levels]
    assert {answer.body for answer in answers} == {answers[0].body}
    assert picture_in(answers[0].body).shape == (96, 128, 3)
    assert coordinator.get(f"{address(source)}/frames/1/thumbnail").body != answers[0].body
    small = coordinator.get(f"{levels[0]}/thumbnail?viewport=40,40")
    assert picture_in(small.body).shape == (30, 40, 3)


def test_thumbnail_of_a_study_is_of_its_first_series_and_never_grows(coordinator: ImageClient, county: County) -> None:
    of_study = coordinator.get(f"{STUDY}/thumbnail")
    assert picture_in(of_study.body).shape == (32, 32)
    assert of_study.body == coordinator.get(f"{STUDY}/series/{BONE_SERIES}/thumbnail").body


def test_picture_that_is_held_already_is_not_sent_again(coordinator: ImageClient, county: County) -> None:
    first = coordinator.get(f"{INSTANCE}/rendered")
    assert first.headers["Cache-Control"] == "no-store"
    again = coordinator.get(f"{INSTANCE}/rendered", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    for other in ("rendered?window=1,2", "rendered?viewport=8,8", "thumbnail", "frames/1/thumbnail?viewport=9,9"):
        assert coordinator.get(f"{INSTANCE}/{other}", **{"If-None-Match": first.headers["ETag"]}).status == 200
    study = coordinator.get(f"{STUDY}/rendered")
    assert study.headers["ETag"].startswith("W/")
    assert coordinator.get(f"{STUDY}/rendered", **{"If-None-Match": study.headers["ETag"]}).status == 304
    half = coordinator.get(f"{INSTANCE}/rendered", Range="bytes=0-9")
    assert (half.status, half.body) == (206, first.body[:10])


def test_what_is_no_image_is_told_and_a_pdf_is_given(coordinator: ImageClient, county: County) -> None:
    for file, kind in ((encapsulated_pdf(), "pdf"), (key_object(), "key"), (bundled("test-SR.dcm"), "report")):
        county.arrive(OTHER_SITE, [file])
        place = address(read(file))
        for thumbnail in (f"{place}/thumbnail", f"{place.partition('/series')[0]}/thumbnail"):
            assert coordinator.get(thumbnail).code() == "thumbnail_not_found"
        assert coordinator.get(f"{place}/frames/1/rendered").code() == "frame_not_found"
        study = coordinator.get(f"{place.partition('/series')[0]}/rendered")
        assert (study.status, study.code()) == (406, "not_acceptable")
        reply = coordinator.get(f"{place}/rendered")
        if kind == "pdf":
            assert (reply.headers["Content-Type"], reply.body) == ("application/pdf", PDF_BYTES)
            assert coordinator.get(f"{place}/rendered", Accept="image/jpeg").code() == "not_acceptable"
        else:
            assert (reply.status, reply.code()) == (406, "not_acceptable")
            assert "no image" in reply.body.decode()


def test_image_that_cannot_be_shown_is_told_in_its_place(coordinator: ImageClient, county: County) -> None:
    good, bad = noise_study("2.25.88001", 1, 2, 16)
    county.arrive(OTHER_SITE, [good, with_header(bad, PhotometricInterpretation="HSV")])
    first, second = (f"{address(read(file))}/frames/1/rendered" for file in (good, bad))
    alone = coordinator.get(second)
    assert (alone.status, alone.code()) == (406, "not_acceptable")
    assert "'HSV'" in alone.body.decode()
    parts = located_parts(coordinator.get("/dicomweb/studies/2.25.88001/rendered"))
    assert [(kind, place) for kind, place, _ in parts] == [("image/jpeg", first), ("application/problem+json", second)]
    assert json.loads(parts[1][2])["code"] == "not_acceptable"


def test_hostile_size_is_refused_and_not_decoded(coordinator: ImageClient, county: County) -> None:
    """Nine lines of RLE say that they are 3.6 thousand million pixels."""
    from pydicom.encaps import encapsulate

    (file,) = noise_study("2.25.88002", 1, 1, 16)
    dataset = read(file)
    dataset.Rows = dataset.Columns = 60_000
    dataset.PixelData = encapsulate([b"\x01" + b"\0" * 100])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
    stream = io.BytesIO()
    dataset.save_as(stream)
    county.arrive(OTHER_SITE, [stream.getvalue()])
    for resource in ("rendered", "thumbnail"):
        reply = coordinator.get(f"{address(dataset)}/{resource}")
        assert (reply.status, reply.code()) == (406, "not_acceptable")
        assert "60000 × 60000" in json.loads(reply.body)["detail"]
