"""What real readers ask for, and what they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicomweb.errors import NotAcceptable
from storage.dicomweb.negotiation import (
    ACCEPT_CHARACTERS_MAX,
    ANY,
    Offer,
    choose_bytes,
    choose_files,
    choose_frames,
    choose_json,
    parse_accept,
    takes_gzip,
)

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
HTJ2K, JPEG_LS, JPEG, JPEG_2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (201, 80, 50, 90))
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
DICOM_PARTS = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    ("reader", "accept", "is_multipart", "stored_as", "given_as"),
    [
        ("nothing said", "", True, HTJ2K, HTJ2K),
        ("curl, requests", "*/*", True, HTJ2K, HTJ2K),
        ("a browser's address bar", BROWSER, True, HTJ2K, HTJ2K),
        ("Orthanc", DICOM_PARTS, True, HTJ2K, EXPLICIT),
        ("Orthanc, told a syntax", f"{DICOM_PARTS}; transfer-syntax={JPEG_LS}", True, HTJ2K, JPEG_LS),
        ("dicomweb-client, Python", f"{DICOM_PARTS}; transfer-syntax=*", True, HTJ2K, HTJ2K),
        ("dicomweb-client, JavaScript", 'multipart/related; type="application/dicom"', True, JPEG_LS, EXPLICIT),
        ("dcm4che", "multipart/related;type=application/dicom", True, EXPLICIT, EXPLICIT),
        ("dcm4che, any", "multipart/related;type=application/dicom;transfer-syntax=*", True, JPEG, JPEG),
        (
            "Weasis",
            f"{DICOM_PARTS};transfer-syntax={JPEG_LS};q=0.9,{DICOM_PARTS};transfer-syntax={EXPLICIT};q=1",
            True,
            JPEG_LS,
            EXPLICIT,
        ),
        (
            "what lies there is as dear",
            f"{DICOM_PARTS};transfer-syntax={EXPLICIT},{DICOM_PARTS};transfer-syntax=*",
            True,
            JPEG_LS,
            JPEG_LS,
        ),
        ("a file alone", "application/dicom", False, JPEG_LS, EXPLICIT),
        ("a file alone as it is", "application/dicom; transfer-syntax=*", False, JPEG_LS, JPEG_LS),
        ("capital letters", 'Multipart/Related; TYPE="Application/DICOM"; Transfer-Syntax=*', True, JPEG_LS, JPEG_LS),
    ],
)
def test_files(reader: str, accept: str, is_multipart: bool, stored_as: str, given_as: str) -> None:
    form = choose_files(parse_accept([accept] if accept else []), one=True)
    assert (form.is_multipart, form.in_order(stored_as, None)[0]) == (is_multipart, given_as), reader


def test_file_that_came_in_an_accepted_syntax_is_given_as_it_came_before_others() -> None:
    accept = f"{DICOM_PARTS};transfer-syntax={EXPLICIT},{DICOM_PARTS};transfer-syntax={IMPLICIT}"
    form = choose_files(parse_accept([accept]), one=False)
    assert form.in_order(HTJ2K, IMPLICIT) == [IMPLICIT, EXPLICIT]
    assert form.in_order(EXPLICIT, IMPLICIT) == [EXPLICIT, IMPLICIT]


def test_only_what_is_not_said_is_a_default() -> None:
    assert choose_files(parse_accept([DICOM_PARTS]), one=True).by_default
    assert not choose_files(parse_accept([f"{DICOM_PARTS}; transfer-syntax={EXPLICIT}"]), one=True).by_default


@pytest.mark.parametrize(
    "accept",
    [
        "image/jpeg",
        "application/dicom+json",
        'multipart/related; type="image/jpeg"',
        "text/html",
        "nonsense",
        ";;",
        "*/*;q=0",
        f"{DICOM_PARTS};q=0",
        f"{DICOM_PARTS};q=nonsense",
        "multipart/related; type=",
    ],
)
def test_files_that_are_not_taken(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"multipart/related; type=\"application/dicom\""):
        choose_files(parse_accept([accept]), one=True)


def test_many_files_are_never_bare() -> None:
    with pytest.raises(NotAcceptable):
        choose_files(parse_accept(["application/dicom"]), one=False)


OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
STORED = {
    HTJ2K: Offer("image/jphc", HTJ2K),
    JPEG: Offer("image/jpeg", JPEG),
    JPEG_2000: Offer("image/jp2", JPEG_2000),
    EXPLICIT: Offer("application/octet-stream", EXPLICIT),
}
NATIVE, AS_JPEG_LS = STORED[EXPLICIT], Offer("image/jls", JPEG_LS)


@pytest.mark.parametrize(
    ("reader", "accept", "is_multipart", "stored_as", "given_as"),
    [
        ("nothing said", "", True, HTJ2K, HTJ2K),
        ("OHIF", OHIF, True, HTJ2K, HTJ2K),
        ("OHIF, lossy", OHIF, True, JPEG, JPEG),
        ("OHIF before, JPEG-LS", f"multipart/related; type=image/jls; q=1, {OHIF}; q=0.1", True, HTJ2K, JPEG_LS),
        ("OHIF before, JPEG", 'multipart/related; type="image/jpeg"; transfer-syntax=*, ' + OHIF, True, HTJ2K, HTJ2K),
        ("dicomweb-client", 'multipart/related; type="application/octet-stream"', True, HTJ2K, EXPLICIT),
        ("dicomweb-client, lossy", 'multipart/related; type="application/octet-stream"', True, JPEG, JPEG),
        (
            "its own example",
            f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}',
            True,
            JPEG_2000,
            JPEG_2000,
        ),
        (
            "implicit",
            f'multipart/related; type="application/octet-stream"; transfer-syntax={IMPLICIT}',
            True,
            HTJ2K,
            EXPLICIT,
        ),
        ("one alone", "application/octet-stream", False, HTJ2K, EXPLICIT),
        ("one alone, coded", "image/jphc", False, HTJ2K, HTJ2K),
        ("any picture", "image/*", False, JPEG, JPEG),
        ("a browser", BROWSER, True, JPEG, JPEG),
    ],
)
def test_frames(reader: str, accept: str, is_multipart: bool, stored_as: str, given_as: str) -> None:
    made = [] if stored_as == JPEG else [NATIVE, AS_JPEG_LS]
    found = choose_frames(parse_accept([accept] if accept else []), [STORED[stored_as], *made], one=True)
    assert (found[0], found[1].syntax) == (is_multipart, given_as), reader


@pytest.mark.parametrize(
    "accept",
    ["image/png", f'multipart/related; type="image/jls"; transfer-syntax={HTJ2K}', "application/dicom", "text/*"],
)
def test_frames_that_are_not_taken_are_refused_with_the_forms_that_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"image/jphc; transfer-syntax=\S+; application/octet-stream"):
        choose_frames(parse_accept([accept]), [STORED[HTJ2K], NATIVE], one=True)


def test_many_frames_are_never_bare() -> None:
    with pytest.raises(NotAcceptable):
        choose_frames(parse_accept(["image/jphc"]), [STORED[HTJ2K]], one=False)


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/dicom+json", "application/json", "application/dicom json", "application/*"]
)
def test_json_is_taken(accept: str) -> None:
    choose_json(parse_accept([accept]))


@pytest.mark.parametrize(
    "accept", ['multipart/related; type="application/dicom+xml"', "text/html", "image/*", "application/json;q=0"]
)
def test_json_is_not_taken(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"application/dicom\+json"):
        choose_json(parse_accept([accept]))


@pytest.mark.parametrize(
    ("accept", "is_multipart"),
    [
        ("", True),
        ("*/*", True),
        ('multipart/related; type="application/octet-stream"', True),
        ("multipart/related", True),
        ("application/octet-stream", False),
    ],
)
def test_long_values(accept: str, is_multipart: bool) -> None:
    assert choose_bytes(parse_accept([accept])) == is_multipart


def test_long_values_are_no_pictures() -> None:
    with pytest.raises(NotAcceptable):
        choose_bytes(parse_accept(["image/jpeg"]))


@pytest.mark.parametrize(
    ("accept_encoding", "taken"),
    [
        ("gzip, deflate, br", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0, *", False),
        ("*;q=0.5", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0.000", False),
    ],
)
def test_gzip(accept_encoding: str, taken: bool) -> None:
    assert takes_gzip(accept_encoding) == taken


def test_wish_is_found_over_many_headers() -> None:
    assert [one.media_type for one in parse_accept(["text/html;q=0.1", "image/jls"])] == ["image/jls", "text/html"]


def test_any_syntax_is_not_the_default_one() -> None:
    (wish,) = parse_accept([f"{DICOM_PARTS}; transfer-syntax=*"])
    assert wish.syntax == ANY


def test_endless_accept_is_refused() -> None:
    with pytest.raises(NotAcceptable, match="characters"):
        parse_accept(["a" * (ACCEPT_CHARACTERS_MAX + 1)])


@given(st.text(alphabet='ab/*;,="\\ q1.0-', max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    for one in parse_accept([text]):
        assert 0 < one.quality <= 1.999
    takes_gzip(text)
