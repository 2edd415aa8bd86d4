"""What the catalogue knows of an instance: strict about identifiers, lenient about everything else."""

from __future__ import annotations

import io
from datetime import date

import pytest

from storage.contract.identifiers import InvalidIdentifier
from storage.dicom.headers import MissingIdentifier, NotDicom, parse_date, read_header
from storage.dicom.structure import DatasetTruncated
from tests.unit.storage.dicom.datasets import TEST_FILES, element, part10


def test_a_ct_slice_says_who_what_and_when() -> None:
    with (TEST_FILES / "CT_small.dcm").open("rb") as file:
        header = read_header(file)
    assert header.study_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert header.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert (header.patient_number, header.patient_name) == ("1CT1", "CompressedSamples^CT1")
    assert (header.modality, header.study_date, header.study_time) == ("CT", date(2004, 1, 19), "072730")
    assert (header.rows, header.columns, header.frame_count) == (128, 128, 1)
    assert (header.series_number, header.instance_number) == (1, 1)
    assert (header.character_set, header.character_set_repair) == ("ISO_IR 100", None)


@pytest.mark.parametrize(
    ("name", "rows"), [("MR_small_bigendian.dcm", 64), ("MR_small_implicit.dcm", 64), ("image_dfl.dcm", 512)]
)
def test_every_encoding_of_elements_is_read(name: str, rows: int) -> None:
    with (TEST_FILES / name).open("rb") as file:
        header = read_header(file)
    assert (header.rows, header.columns, header.frame_count) == (rows, rows, 1)


def test_a_report_has_no_frames() -> None:
    with (TEST_FILES / "test-SR.dcm").open("rb") as file:
        assert read_header(file).frame_count == 0


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x0020000D, "Study Instance UID"),
        (0x0020000E, "Series Instance UID"),
        (0x00080018, "SOP Instance UID"),
        (0x00080016, "SOP Class UID"),
    ],
)
def test_a_missing_or_empty_identifier_is_named(tag: int, name: str) -> None:
    for change in (None, ("UI", b""), ("UI", b"\0\0")):
        with pytest.raises(MissingIdentifier, match=f"^{name} is missing$"):
            read_header(part10({tag: change}))


@pytest.mark.parametrize("uid", [b"../../x", b"1.2/3", b"1..2", b"1" * 65, "1.２".encode()])
def test_an_identifier_that_may_not_stand_in_a_path_is_refused(uid: bytes) -> None:
    with pytest.raises(InvalidIdentifier, match="Study Instance UID"):
        read_header(part10({0x0020000D: ("UI", uid)}))


def test_odd_dates_and_numbers_are_none_and_never_an_error() -> None:
    header = read_header(
        part10(
            {
                0x00080020: ("DA", b"20260230"),
                0x00100030: ("DA", b"unknown"),
                0x00200011: ("IS", b"1.5"),
                0x00200013: ("IS", b"99999999999"),
                0x00280010: ("US", b""),
            }
        )
    )
    assert (header.study_date, header.birth_date, header.series_number, header.instance_number) == (None,) * 4
    assert header.rows is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260301", date(2026, 3, 1)),
        ("2026.03.01", date(2026, 3, 1)),
        (" 20260301 ", date(2026, 3, 1)),
        ("00000000", None),
        ("2026", None),
        ("", None),
    ],
)
def test_dates_are_read_as_the_standard_and_its_first_edition_write_them(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


def test_a_nul_inside_a_text_never_reaches_the_database() -> None:
    assert read_header(part10({0x00081030: ("LO", b"CH\0EST\0")})).study_description == "CHEST"


def test_a_value_too_long_for_the_catalogue_is_left_out() -> None:
    assert read_header(part10({0x00081030: ("LO", b"x" * 20_000)})).study_description == ""


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"GET / HTTP/1.1\r\n" * 20])
def test_bytes_that_are_no_part_10_file_are_refused(data: bytes) -> None:
    with pytest.raises(NotDicom):
        read_header(io.BytesIO(data))


def test_garbage_after_the_file_meta_is_refused() -> None:
    for garbage in (b"\xff" * 100, b"GET / HTTP/1.1\r\n" * 20):
        with pytest.raises((NotDicom, DatasetTruncated, MissingIdentifier)):
            read_header(io.BytesIO(part10().getvalue()[:300] + garbage))


def test_sequences_nested_without_end_are_refused() -> None:
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(NotDicom, match="nested more than 32 deep"):
        read_header(part10({0x00080016: None, 0x00080018: None}, tail=nested * 5000))


def test_the_header_of_a_file_with_cut_off_pixel_data_is_still_read() -> None:
    pixels = element(0x7FE00010, "OW", b"ab", length=8192)
    assert read_header(part10(tail=pixels)).frame_count == 1
