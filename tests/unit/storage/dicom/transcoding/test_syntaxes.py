"""A peer gets an instance in a syntax that it accepts: the scanner's own bytes, else the same pixels and values."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from storage.dicom.elements import read_file_meta
from storage.dicom.structure import check_structure
from storage.dicom.transcoding import CannotWrite, choose_syntax, compress, digest_pixels, write_in_syntax
from storage.dicom.values import digest_values
from tests.unit.storage.dicom.datasets import TEST_FILES
from tests.unit.storage.dicom.transcoding.images import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    dataset_sha256,
    everything,
    image,
    part10,
    smooth,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"
HTJ2K = "1.2.840.10008.1.2.4.201"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def written(file: io.BytesIO, syntax: str) -> io.BytesIO:
    made = io.BytesIO()
    write_in_syntax(file, syntax, made)
    assert read_file_meta(made).text(0x00020010) == syntax
    made.seek(0)
    return made


def stored(received: io.BytesIO) -> io.BytesIO:
    made = io.BytesIO()
    compress(received, lambda: made)
    assert made.getvalue()
    return made


def ct() -> Dataset:
    return image(smooth((2, 61, 43), -900, 3000), bits=16, signed=True, change=everything)


def colour(planar: int) -> Dataset:
    by_pixel = smooth((2, 41, 33, 3), 0, 255)
    pixels = np.moveaxis(by_pixel, -1, 1) if planar else by_pixel
    return image(pixels, bits=8, photometric="RGB", planar=planar)


@pytest.mark.parametrize("received", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("dataset", [ct(), colour(0), colour(1)], ids=["ct", "rgb by pixel", "rgb by plane"])
def test_the_received_syntax_gives_the_received_bytes(dataset: Dataset, received: str) -> None:
    file = part10(dataset, received)
    assert choose_syntax(stored(file), [JPEG_LS, IMPLICIT, EXPLICIT]) == received
    assert dataset_sha256(written(stored(file), received)) == dataset_sha256(file)


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, JPEG_LS, HTJ2K])
@pytest.mark.parametrize("received", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_every_syntax_holds_the_same_pixels_and_values(received: str, target: str) -> None:
    file = part10(ct(), received)
    source = file if received == BIG_ENDIAN else stored(file)
    made = written(source, target)
    assert digest_pixels(made, check_structure(made)) == digest_pixels(file, check_structure(file))
    assert digest_values(made) == digest_values(file)
    read = pydicom.dcmread(io.BytesIO(made.getvalue()))
    assert (read.pixel_array == smooth((2, 61, 43), -900, 3000)).all()


@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, JPEG_LS])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_by_plane_are_given_by_pixel_where_the_syntax_changes(planar: int, target: str) -> None:
    file = part10(colour(planar), BIG_ENDIAN)
    made = written(file, target)
    read = pydicom.dcmread(io.BytesIO(made.getvalue()))
    assert read.PlanarConfiguration == 0
    assert (read.pixel_array == smooth((2, 41, 33, 3), 0, 255)).all()


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"],
)
def test_what_scanners_compressed_themselves_is_decoded_for_peers_that_need_it(name: str) -> None:
    file = io.BytesIO((TEST_FILES / name).read_bytes())
    native = io.BytesIO((TEST_FILES / "MR_small.dcm").read_bytes())
    made = written(file, IMPLICIT)
    expected = digest_pixels(native, check_structure(native))
    assert digest_pixels(file, check_structure(file)) == expected
    assert digest_pixels(made, check_structure(made)) == expected


@pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "examples_jpeg2k.dcm"])
def test_colours_that_scanners_compressed_keep_their_look(name: str) -> None:
    file = io.BytesIO((TEST_FILES / name).read_bytes())
    read = pydicom.dcmread(written(file, EXPLICIT))
    before = pydicom.dcmread(TEST_FILES / name)
    assert read.PhotometricInterpretation == "RGB"
    assert (read.pixel_array == before.pixel_array).all()


def test_a_deflated_object_is_inflated_for_peers_that_need_it() -> None:
    file = io.BytesIO((TEST_FILES / "image_dfl.dcm").read_bytes())
    made = written(file, IMPLICIT)
    assert digest_pixels(made, check_structure(made)) == digest_pixels(file, check_structure(file))
    assert digest_values(made) == digest_values(file)


def test_a_lossy_image_is_decoded_only_for_peers_that_take_no_lossy_syntax() -> None:
    file = io.BytesIO((TEST_FILES / "SC_rgb_jpeg_dcmtk.dcm").read_bytes())
    assert choose_syntax(file, [EXPLICIT, JPEG_BASELINE]) == JPEG_BASELINE
    assert choose_syntax(file, [IMPLICIT]) == IMPLICIT
    read = pydicom.dcmread(written(file, IMPLICIT))
    assert read.SOPInstanceUID == pydicom.dcmread(TEST_FILES / "SC_rgb_jpeg_dcmtk.dcm").SOPInstanceUID
    assert read.pixel_array.shape == (100, 100, 3)


def test_an_object_without_pixels_changes_its_syntax_too() -> None:
    file = io.BytesIO((TEST_FILES / "test-SR.dcm").read_bytes())
    made = written(file, IMPLICIT)
    assert digest_values(made) == digest_values(file)
    assert choose_syntax(file, [JPEG_LS]) is None


def test_the_peers_order_counts_after_the_received_and_the_stored_form() -> None:
    file = stored(part10(ct(), IMPLICIT))
    assert choose_syntax(file, [JPEG_LS, EXPLICIT]) in (JPEG_LS, EXPLICIT)
    assert choose_syntax(file, [EXPLICIT, IMPLICIT]) == IMPLICIT
    assert choose_syntax(file, ["1.2.840.10008.1.2.4.70"]) is None


def test_what_the_file_says_about_its_compression_stays_here() -> None:
    made = written(stored(part10(ct())), HTJ2K)
    assert 0x00020102 not in read_file_meta(made).values


def test_a_damaged_file_is_refused_in_words() -> None:
    broken = io.BytesIO(stored(part10(ct())).getvalue()[:-40])
    with pytest.raises(CannotWrite):
        written(broken, EXPLICIT)
    with pytest.raises(CannotWrite):
        written(part10(ct()), JPEG_BASELINE)
