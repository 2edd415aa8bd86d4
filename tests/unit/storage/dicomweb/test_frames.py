"""Frame lists, media types and the words of big-endian pixel data."""

from __future__ import annotations

import pytest
from pydicom.uid import UID, ExplicitVRBigEndian, HTJ2KLossless, ImplicitVRLittleEndian, JPEGBaseline8Bit

from storage.catalogue.tables import Instance
from storage.dicomweb.errors import BadQuery
from storage.dicomweb.frames import FRAMES_PER_REQUEST_MAX, little_endian_words, parse_frame_numbers, stored_offer


def test_frame_list_keeps_its_order() -> None:
    assert parse_frame_numbers("3,1,2") == [3, 1, 2]


@pytest.mark.parametrize("text", ["", "1,", "one", "-1", "1.5", "１", "9" * 10, "1;2"])
def test_text_that_is_no_frame_list_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_frame_numbers(text)


def test_more_frames_than_one_request_may_ask_are_refused() -> None:
    with pytest.raises(BadQuery, match="at most"):
        parse_frame_numbers(",".join(["1"] * (FRAMES_PER_REQUEST_MAX + 1)))


@pytest.mark.parametrize(
    ("stored_as", "given_as"),
    [
        (JPEGBaseline8Bit, "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"),
        (HTJ2KLossless, "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201"),
        (ImplicitVRLittleEndian, "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"),
        (ExplicitVRBigEndian, "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"),
        (UID("1.2.3"), "application/octet-stream; transfer-syntax=1.2.3"),
    ],
)
def test_frames_name_the_syntax_in_which_they_are_given(stored_as: UID, given_as: str) -> None:
    assert stored_offer(Instance(transfer_syntax_uid=stored_as)).content_type == given_as


def test_big_endian_words_are_swapped_as_wide_as_they_are() -> None:
    assert little_endian_words(b"\x01\x02\x03\x04", "OW", 16) == b"\x02\x01\x04\x03"
    assert little_endian_words(b"\x01\x02\x03\x04", "OW", 32) == b"\x04\x03\x02\x01"


def test_big_endian_bytes_written_as_words_are_swapped_in_pairs() -> None:
    assert little_endian_words(b"\x01\x02\x03\x04", "OW", 8) == b"\x02\x01\x04\x03"


def test_big_endian_bytes_written_as_bytes_stay() -> None:
    assert little_endian_words(b"\x01\x02\x03", "OB", 8) == b"\x01\x02\x03"
