"""WADO-URI: one address, everything in its query, which is never written down."""

from __future__ import annotations

import io
import json
from urllib.parse import urlencode

import numpy as np
import pydicom
import pytest
import structlog

from tests.integration.dicomweb.county import OTHER_SITE, County, bundled
from tests.integration.dicomweb.documents import PDF_BYTES, encapsulated_pdf
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, LUNG_SERIES, gb18030_study
from tests.integration.dicomweb.server import ImageClient, Reply
from tests.integration.dicomweb.test_rendered import LOOP, picture_in

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

PHANTOM = {"studyUID": GB18030_STUDY, "seriesUID": BONE_SERIES, "objectUID": f"{BONE_SERIES}.1"}
DICOM, JPEG, PNG = "application/dicom", "image/jpeg", "image/png"
EXPLICIT, JPEG_LS, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"


def ask(client: ImageClient, uids: dict[str, str], accept: str = "", **query: str) -> Reply:
    """Ask for an instance; a part of the query that is empty is left out."""
    asked = {"requestType": "WADO", **uids, **query}
    address = f"/dicomweb/wado?{urlencode({name: value for name, value in asked.items() if value})}"
    return client.get(address, **({"Accept": accept} if accept else {}))


def names(file: bytes) -> dict[str, str]:
    header = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
    return dict(zip(PHANTOM, (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID), strict=True))


@pytest.mark.parametrize(
    ("accept", "content_type", "kind"),
    [
        ("", "", JPEG),
        ("*/*", "", JPEG),
        ("image/*", "", JPEG),
        ("image/png", "", PNG),
        ("image/png", JPEG, JPEG),
        ("*/*", PNG, PNG),
        ("*/*", f"image/gif,{PNG}", PNG),
        ("*/*", DICOM, DICOM),
        (f"{DICOM};q=0.2, image/png;q=0.1", "", DICOM),
    ],
)
def test_content_type_counts_before_accept_and_a_picture_is_the_usual(
    coordinator: ImageClient, county: County, accept: str, content_type: str, kind: str
) -> None:
    reply = ask(coordinator, PHANTOM, accept, contentType=content_type)
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, kind)
    assert reply.headers["Cache-Control"] == "no-store"
    again = coordinator.get(
        f"/dicomweb/wado?{urlencode({'requestType': 'WADO', **PHANTOM, 'contentType': kind})}",
        **{"If-None-Match": reply.headers["ETag"]},
    )
    assert (again.status, again.body) == (304, b"")


def test_file_is_the_one_that_was_sent(coordinator: ImageClient, county: County) -> None:
    assert ask(coordinator, PHANTOM, contentType=DICOM).body == gb18030_study()[0]


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [
        ("MR_small_RLE.dcm", "", EXPLICIT),
        ("MR_small_RLE.dcm", JPEG_LS, JPEG_LS),
        ("MR_small_RLE.dcm", RLE, RLE),
        ("MR_small_RLE.dcm", "*", RLE),
        ("693_J2KI.dcm", "", "1.2.840.10008.1.2.4.91"),
    ],
)
def test_file_comes_in_the_syntax_that_is_named(
    coordinator: ImageClient, pictures: dict[str, bytes], name: str, asked: str, given: str
) -> None:
    reply = ask(coordinator, names(pictures[name]), contentType=DICOM, transferSyntax=asked)
    assert reply.status == 200
    found, source = (pydicom.dcmread(io.BytesIO(file)) for file in (reply.body, pictures[name]))
    assert found.file_meta.TransferSyntaxUID == given
    np.testing.assert_array_equal(found.pixel_array, source.pixel_array)


def test_syntax_that_there_is_not_is_refused(coordinator: ImageClient, county: County) -> None:
    reply = ask(coordinator, PHANTOM, contentType=DICOM, transferSyntax="1.2.840.10008.1.2.4.50")
    assert (reply.status, reply.code()) == (406, "not_acceptable")


def test_picture_is_the_one_of_wado_rs(coordinator: ImageClient, county: County) -> None:
    instance = f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1"
    rendered = coordinator.get(f"{instance}/rendered?window=300,200&viewport=16,16&quality=70")
    reply = ask(
        *(coordinator, PHANTOM), windowCenter="300", windowWidth="200", rows="16", columns="16", imageQuality="70"
    )
    assert reply.body == rendered.body


def test_size_is_a_maximum_and_a_region_is_in_shares(coordinator: ImageClient, county: County) -> None:
    for query, shape in (
        ({"rows": "8"}, (8, 8)),
        ({"columns": "16", "rows": "8"}, (8, 8)),
        ({"region": "0.5,0,1,0.25"}, (8, 16)),
        ({"region": "0.5,0,1,0.25", "columns": "4"}, (2, 4)),
    ):
        assert picture_in(ask(coordinator, PHANTOM, contentType=PNG, **query).body, "PNG").shape == shape


def test_frame_is_chosen_and_without_a_choice_it_is_told_that_there_are_more(
    coordinator: ImageClient, pictures: dict[str, bytes]
) -> None:
    uids = names(pictures[LOOP])
    first, second = (ask(coordinator, uids, frameNumber=number) for number in ("1", "2"))
    assert first.body != second.body
    assert "Warning" not in first.headers
    unsaid = ask(coordinator, uids)
    assert unsaid.body == first.body
    assert "frame 1 of 30" in unsaid.headers["Warning"]
    assert "Warning" not in ask(coordinator, PHANTOM).headers


@pytest.mark.parametrize(
    "query",
    [
        {"requestType": "WADA"},
        {"requestType": ""},
        {"studyUID": ""},
        {"seriesUID": ""},
        {"objectUID": ""},
        {"frameNumber": "2"},
        {"frameNumber": "0"},
        {"frameNumber": "one"},
        {"rows": "0"},
        {"columns": "99999"},
        {"region": "0,0,1"},
        {"region": "0.5,0,0.4,1"},
        {"windowCenter": "3"},
        {"windowCenter": "3", "windowWidth": "-1"},
        {"imageQuality": "0"},
        {"annotation": "everything"},
        {"transferSyntax": EXPLICIT},
        {"contentType": DICOM, "rows": "16"},
        {"contentType": DICOM, "frameNumber": "1"},
    ],
)
def test_query_that_cannot_be_understood_is_refused(
    coordinator: ImageClient, county: County, query: dict[str, str]
) -> None:
    reply = ask(coordinator, PHANTOM, **query)
    assert (reply.status, reply.code()) == (400, "bad_query")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"anonymize": "yes"}, "de-identified"),
        ({"anonymize": "yes", "contentType": DICOM}, "de-identified"),
        ({"presentationUID": "1.2.3", "presentationSeriesUID": "1.2"}, "presentation states"),
        ({"contentType": "image/gif"}, "image/jpeg"),
        ({"contentType": "text/html"}, "image/jpeg"),
    ],
)
def test_what_is_not_done_is_refused_in_words(
    coordinator: ImageClient, county: County, query: dict[str, str], words: str
) -> None:
    reply = ask(coordinator, PHANTOM, **query)
    assert (reply.status, reply.code()) == (406, "not_acceptable")
    assert words in json.loads(reply.body)["detail"]


@pytest.mark.parametrize("kind", [DICOM, JPEG])
@pytest.mark.parametrize("uids", [{"seriesUID": LUNG_SERIES}, {"objectUID": "1.2.3"}, {"studyUID": "../secret"}])
def test_what_is_not_there_is_not_found(
    coordinator: ImageClient, county: County, uids: dict[str, str], kind: str
) -> None:
    reply = ask(coordinator, PHANTOM | uids, contentType=kind)
    assert (reply.status, reply.code()) == (404, "not_found")


def test_what_is_no_image_is_told_and_a_pdf_is_given(coordinator: ImageClient, county: County) -> None:
    document = encapsulated_pdf("2.25.88103")
    report = bundled("test-SR.dcm").replace(b"1.2.276.0.7230010.3.1.4", b"1.2.276.0.7230010.3.1.9")
    for file in (document, report):
        county.arrive(OTHER_SITE, [file])
    assert ask(coordinator, names(document), contentType="application/pdf").body == PDF_BYTES
    for file in (document, report):
        reply = ask(coordinator, names(file))
        assert (reply.status, reply.code()) == (406, "not_acceptable")
        assert ask(coordinator, names(file), contentType=DICOM).status == 200


def test_query_is_never_logged_nor_repeated(coordinator: ImageClient, county: County) -> None:
    secret = "Qian^Mei"
    with structlog.testing.capture_logs() as lines:
        for query in ({"patientName": secret}, {"contentType": secret}, {"rows": secret}, {"objectUID": secret}):
            for kind in (DICOM, JPEG):
                reply = ask(coordinator, PHANTOM, **({"contentType": kind} | query))
                assert secret.encode() not in reply.body
                assert secret not in str(reply.headers)
    assert lines, "requests are logged by their route"
    assert not any(word in str(lines) for word in (secret, GB18030_STUDY, "requestType"))
