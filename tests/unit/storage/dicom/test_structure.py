"""A whole file is told from a cut one, and every frame can be read by range."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import pydicom
import pytest
from pydicom.encaps import generate_frames

from storage.dicom.digests import digest_instance
from storage.dicom.elements import read_file_meta
from storage.dicom.structure import DatasetTruncated, NotDicom, PixelDataShort, Structure, check_structure
from tests.unit.storage.dicom.datasets import (
    DEFLATED,
    JPEG,
    TEST_FILES,
    element,
    encapsulated,
    image,
    part10,
)

NOT_PART_10 = {"ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "no_meta", "rtstruct", "meta_missing_tsyntax"}
CUT = {"MR_truncated", "rtplan_truncated"}
WHOLE = [path for path in sorted(TEST_FILES.glob("*.dcm")) if path.stem not in NOT_PART_10 | CUT | {"image_dfl"}]


def frames_in(file: BinaryIO, structure: Structure) -> list[bytes]:
    frames = []
    for spans in structure.frames:
        pieces = []
        for span in spans:
            file.seek(span.offset)
            pieces.append(file.read(span.length))
        frames.append(b"".join(pieces))
    return frames


def frames_by_pydicom(path: Path) -> list[bytes]:
    """The file's frames, none when it has no image that its own header describes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset or "Rows" not in dataset:
            return []
        # badVR has "1A" for its one frame.
        count = 1 if path.stem == "badVR" else int(dataset.get("NumberOfFrames") or 1)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return list(generate_frames(dataset.PixelData, number_of_frames=count))
        samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
        step = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
        return [dataset.PixelData[number * step : (number + 1) * step] for number in range(count)]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_every_frame_of_pydicoms_own_files_is_where_the_spans_say(path: Path) -> None:
    with path.open("rb") as file:
        structure = check_structure(file)
        assert frames_in(file, structure) == frames_by_pydicom(path)


def test_a_deflated_file_is_whole_but_its_frames_have_no_place_in_the_file() -> None:
    with (TEST_FILES / "image_dfl.dcm").open("rb") as file:
        structure = check_structure(file)
    assert (structure.frames, structure.pixel_data_offset, structure.native_pixels) == ((), None, None)


@pytest.mark.parametrize("stem", sorted(NOT_PART_10))
def test_a_file_without_file_meta_or_transfer_syntax_is_refused(stem: str) -> None:
    with (TEST_FILES / f"{stem}.dcm").open("rb") as file, pytest.raises(NotDicom):
        check_structure(file)


def test_the_words_for_a_cut_file_name_the_element_and_both_lengths() -> None:
    with (TEST_FILES / "MR_truncated.dcm").open("rb") as file, pytest.raises(DatasetTruncated) as caught:
        check_structure(file)
    assert str(caught.value) == "the dataset ends inside element (7FE0,0010): 8192 bytes declared, 8130 present"


@pytest.mark.parametrize(
    "name", ["CT_small", "MR_small_bigendian", "MR_small_implicit", "SC_rgb_rle_2frame", "image_dfl", "test-SR"]
)
def test_no_cut_passes_as_whole_but_between_two_elements_before_the_pixel_data(name: str) -> None:
    data = (TEST_FILES / f"{name}.dcm").read_bytes()
    with (TEST_FILES / f"{name}.dcm").open("rb") as file:
        structure = check_structure(file)
    step = max(1, len(data) // 300)
    passed = []
    for length in range(structure.dataset_offset + 1, len(data), step):
        try:
            check_structure(io.BytesIO(data[:length]))
        except (DatasetTruncated, NotDicom):
            continue
        passed.append(length)
    limit = structure.pixel_data_offset or len(data)
    assert all(length <= limit for length in passed)
    assert len(passed) < 100


def test_native_pixel_data_shorter_than_described_is_refused() -> None:
    pixels = element(0x7FE00010, "OW", b"x" * 30)
    with pytest.raises(PixelDataShort, match="30 bytes, 32 are needed for 2 frames"):
        check_structure(part10(image(2, 4, frames=2), tail=pixels))


def test_a_trailing_pad_byte_and_bits_that_do_not_fill_a_byte_are_legal() -> None:
    structure = check_structure(part10(image(3, 3, bits=8), tail=element(0x7FE00010, "OB", b"x" * 9)))
    assert structure.native_pixels is not None
    assert structure.native_pixels.length == 9
    assert [span.length for span in structure.frames[0]] == [9]
    bitmap = check_structure(part10(image(3, 3, frames=2, bits=1), tail=element(0x7FE00010, "OB", b"xyz")))
    assert bitmap.frames == ()


def test_pixel_data_without_a_description_passes_without_frames() -> None:
    assert check_structure(part10(tail=element(0x7FE00010, "OW", b"1234"))).frames == ()


TABLE = struct.pack("<2I", 0, 8 + 4 + 8 + 2)
FRAGMENTS = (b"aaaa", b"bb", b"cccc")


def compressed(
    table: bytes, *fragments: bytes, frames: int = 2, closed: bool = True, before: bytes = b""
) -> io.BytesIO:
    return part10(image(2, 4, frames=frames), tail=before + encapsulated(table, *fragments, closed=closed), syntax=JPEG)


def test_fragments_are_assigned_to_frames_by_the_basic_offset_table() -> None:
    file = compressed(TABLE, *FRAGMENTS)
    assert frames_in(file, check_structure(file)) == [b"aaaabb", b"cccc"]


def test_fragments_are_assigned_to_frames_by_the_extended_offset_table() -> None:
    extended = element(0x7FE00001, "OV", struct.pack("<2Q", 0, 12)) + element(
        0x7FE00002, "OV", struct.pack("<2Q", 4, 6)
    )
    file = compressed(b"", *FRAGMENTS, before=extended)
    assert frames_in(file, check_structure(file)) == [b"aaaa", b"bbcccc"]


@pytest.mark.parametrize(
    "table", [b"", struct.pack("<2I", 0, 5), struct.pack("<2I", 12, 0), struct.pack("<3I", 0, 12, 22), b"abc"]
)
def test_more_fragments_than_frames_without_a_table_that_fits_give_no_spans(table: bytes) -> None:
    assert check_structure(compressed(table, *FRAGMENTS)).frames == ()


def test_one_frame_takes_all_fragments_and_one_fragment_each_needs_no_table() -> None:
    file = compressed(b"", *FRAGMENTS, frames=1)
    assert frames_in(file, check_structure(file)) == [b"aaaabbcccc"]
    file = compressed(b"", *FRAGMENTS, frames=3)
    assert frames_in(file, check_structure(file)) == list(FRAGMENTS)


def test_fewer_fragments_than_frames_are_refused() -> None:
    with pytest.raises(PixelDataShort, match="1 fragments for 2 frames"):
        check_structure(compressed(b"", b"aaaa"))
    with pytest.raises(PixelDataShort, match="no fragments"):
        check_structure(compressed(b""))
    with pytest.raises(PixelDataShort, match="offset table"):
        check_structure(part10(image(2, 4), tail=encapsulated(), syntax=JPEG))


def test_encapsulated_pixel_data_without_its_end_is_truncated() -> None:
    with pytest.raises(DatasetTruncated, match=r"\(7FE0,0010\)"):
        check_structure(compressed(TABLE, *FRAGMENTS, closed=False))


def test_a_fragment_longer_than_the_file_is_truncated() -> None:
    file = compressed(TABLE, *FRAGMENTS, closed=False)
    with pytest.raises(DatasetTruncated, match=r"4 bytes declared in an item, 1 present"):
        check_structure(io.BytesIO(file.getvalue()[:-3]))


def test_a_deflated_stream_that_stops_or_is_none_is_refused() -> None:
    plain = part10(syntax=DEFLATED).getvalue()
    head = plain[: read_file_meta(io.BytesIO(plain)).dataset_offset]
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflater.compress(plain[len(head) :]) + deflater.flush()
    assert check_structure(io.BytesIO(head + stream)).dataset_offset == len(head)
    with pytest.raises(DatasetTruncated, match="deflated"):
        check_structure(io.BytesIO(head + stream[:-5]))
    with pytest.raises(NotDicom, match="deflated"):
        check_structure(io.BytesIO(head + b"\xff" * 64))


def test_digests_say_dataset_file_and_pixels() -> None:
    path = TEST_FILES / "CT_small.dcm"
    data = path.read_bytes()
    with path.open("rb") as file:
        structure = check_structure(file)
        digests = digest_instance(file, structure)
    assert digests.stored_sha256 == hashlib.sha256(data).hexdigest()
    assert digests.received_sha256 == hashlib.sha256(data[structure.dataset_offset :]).hexdigest()
    assert digests.pixel_sha256 == hashlib.sha256(pydicom.dcmread(path).PixelData).hexdigest()
    assert digests.size_bytes == len(data)


def test_the_same_pixels_have_the_same_digest_in_implicit_and_explicit_files() -> None:
    seen = set()
    for name in ("MR_small", "MR_small_implicit", "MR_small_padded"):
        with (TEST_FILES / f"{name}.dcm").open("rb") as file:
            seen.add(digest_instance(file, check_structure(file)).pixel_sha256)
    assert len(seen) == 1


def test_the_same_pixels_have_the_same_digest_in_every_lossless_syntax() -> None:
    seen = set()
    for name in (
        "MR_small",
        "MR_small_bigendian",
        "MR_small_RLE",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
    ):
        with (TEST_FILES / f"{name}.dcm").open("rb") as file:
            seen.add(digest_instance(file, check_structure(file)).pixel_sha256)
    assert len(seen) == 1


def test_lossy_pixels_have_no_digest() -> None:
    with (TEST_FILES / "SC_rgb_jpeg_dcmtk.dcm").open("rb") as file:
        assert digest_instance(file, check_structure(file)).pixel_sha256 is None
