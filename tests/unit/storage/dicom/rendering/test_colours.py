"""Colours reach the screen whatever they are stored as; what is damaged or lies about its size is refused."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from storage.dicom.rendering import PIXELS_MAX, PNG, CannotRender, Wishes, render
from tests.unit.storage.dicom.rendering.images import Picture, encapsulated, header_of, image, shown

JPEG_BASELINE, JPEG_2000, JPEG_LS_NEAR = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 91, 81))
COLOURS = np.kron(
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [250, 240, 20]]], np.uint8), np.ones((16, 16, 1), np.uint8)
)


def near(found: Picture, wanted: Picture, steps: int) -> None:
    """Compare inside of the fields: at their edges chroma is shared."""
    for row in (4, 24):
        for column in (4, 24):
            np.testing.assert_allclose(found[row, column].astype(int), wanted[row, column].astype(int), atol=steps)


def test_rgb_by_pixel_and_by_plane() -> None:
    np.testing.assert_array_equal(shown(image(COLOURS)), COLOURS)
    planes = np.moveaxis(COLOURS, -1, 0).tobytes()
    np.testing.assert_array_equal(shown(image(COLOURS, PlanarConfiguration=1, PixelData=planes)), COLOURS)


def test_rgb_of_more_than_8_bits_shows_its_highest() -> None:
    wide = COLOURS.astype("<u2") * 16
    np.testing.assert_array_equal(shown(image(wide, BitsStored=12, HighBit=11)), COLOURS)


def test_ybr_full() -> None:
    ybr = convert_color_space(COLOURS, "RGB", "YBR_FULL")
    np.testing.assert_allclose(shown(image(ybr, PhotometricInterpretation="YBR_FULL")).astype(int), COLOURS, atol=2)


def test_ybr_of_which_two_pixels_share_their_chroma() -> None:
    ybr = convert_color_space(COLOURS, "RGB", "YBR_FULL")
    pairs = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]], axis=-1)
    file = image(COLOURS, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())
    np.testing.assert_allclose(shown(file).astype(int), COLOURS, atol=2)


@pytest.mark.parametrize("first", [0, 3])
def test_palette(first: int) -> None:
    numbers = np.arange(16, dtype=np.uint8).reshape(4, 4)
    tables = np.random.default_rng(3).integers(0, 65536, (3, 10), dtype="<u2")
    described = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True)
        for part, value in (("Descriptor", [10, first, 16]), ("Data", table.tobytes()))
    }
    file = image(numbers, PhotometricInterpretation="PALETTE COLOR", **described)
    wanted = apply_color_lut(numbers, pydicom.dcmread(io.BytesIO(file))) >> 8
    np.testing.assert_array_equal(shown(file), wanted)


def test_palette_that_is_not_there_is_told() -> None:
    with pytest.raises(CannotRender, match="palette"):
        shown(image(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR"))


def jpeg(colours: Picture, *, as_rgb: bool = False) -> bytes:
    if as_rgb:
        return bytes(imagecodecs.jpeg8_encode(colours, level=95, colorspace="RGB", outcolorspace="RGB"))
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=95, subsampling="4:2:2")
    return stream.getvalue()


def without_markers(codestream: bytes) -> bytes:
    """Take out of a JPEG what says in which colours it is coded."""
    at, kept = 2, codestream[:2]
    while codestream[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", codestream[at + 2 : at + 4])[0]
        kept += b"" if codestream[at + 1] in (0xE0, 0xEE) else codestream[at:end]
        at = end
    return kept + codestream[at:]


def test_jpeg_in_ybr_is_shown_in_its_colours() -> None:
    for codestream in (jpeg(COLOURS), without_markers(jpeg(COLOURS))):
        file = encapsulated(codestream, COLOURS, JPEG_BASELINE, PhotometricInterpretation="YBR_FULL_422")
        near(shown(file), COLOURS, 6)


def test_jpeg_in_rgb_is_not_turned_into_other_colours() -> None:
    for codestream in (jpeg(COLOURS, as_rgb=True), without_markers(jpeg(COLOURS, as_rgb=True))):
        near(shown(encapsulated(codestream, COLOURS, JPEG_BASELINE)), COLOURS, 6)


def test_jpeg_2000_is_shown_bare_and_in_a_file_of_its_own() -> None:
    bare = bytes(imagecodecs.jpeg2k_encode(COLOURS, codecformat="J2K", reversible=True))
    wrapped = bytes(imagecodecs.jpeg2k_encode(COLOURS, codecformat="JP2", reversible=True))
    assert wrapped[4:8] == b"jP  "
    for codestream in (bare, wrapped):
        file = encapsulated(codestream, COLOURS, JPEG_2000, PhotometricInterpretation="YBR_RCT")
        np.testing.assert_array_equal(shown(file), COLOURS)


def test_near_lossless_samples_have_their_sign() -> None:
    samples = np.array([[-2, -1, 0, 1, 2]] * 4, "<i2")
    codestream = bytes(imagecodecs.jpegls_encode(samples.view("<u2")))
    file = encapsulated(codestream, samples, JPEG_LS_NEAR)
    assert shown(file)[0].tolist() == [0, 64, 128, 191, 255]


@pytest.mark.parametrize(
    "syntax", [JPEG_BASELINE, JPEG_2000, JPEG_LS_NEAR, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"]
)
def test_codestream_that_is_larger_than_its_header_says_is_never_decoded(syntax: str) -> None:
    large = np.zeros((64, 64), np.uint8)
    if syntax == JPEG_BASELINE:
        codestream = imagecodecs.jpeg8_encode(large)
    elif syntax.endswith(("80", "81")):
        codestream = imagecodecs.jpegls_encode(large)
    else:
        codestream = imagecodecs.jpeg2k_encode(large, codecformat="J2K")
    with pytest.raises(CannotRender, match="not as large"):
        shown(encapsulated(bytes(codestream), np.zeros((8, 8), np.uint8), syntax))


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_2000, "1.2.840.10008.1.2.5"])
def test_damaged_codestream_is_told(syntax: str) -> None:
    with pytest.raises(CannotRender):
        shown(encapsulated(b"no codestream at all", COLOURS, syntax))


def test_codestream_cut_short_is_told() -> None:
    codestream = bytes(imagecodecs.jpeg2k_encode(COLOURS, codecformat="J2K"))
    with pytest.raises(CannotRender, match="damaged"):
        shown(encapsulated(codestream[:60], COLOURS, JPEG_2000))


def test_video_is_told() -> None:
    with pytest.raises(CannotRender, match=r"1\.2\.840\.10008\.1\.2\.4\.102"):
        shown(encapsulated(b"\0" * 64, COLOURS, "1.2.840.10008.1.2.4.102"))


@pytest.mark.parametrize(
    "lie",
    [
        {"Rows": 60000, "Columns": 60000},
        {"Rows": 0},
        {"SamplesPerPixel": 4},
        {"SamplesPerPixel": 2},
    ],
)
def test_what_is_too_large_or_of_no_size_is_refused_by_its_header(lie: dict[str, int]) -> None:
    with pytest.raises(CannotRender):
        header_of(image(np.zeros((4, 4), np.uint8), **lie))
    assert PIXELS_MAX < 60000 * 60000


@pytest.mark.parametrize("samples", [COLOURS, COLOURS[:, :, 0]])
def test_unknown_photometric_interpretation_is_told(samples: Picture) -> None:
    with pytest.raises(CannotRender, match="CMYK"):
        shown(image(samples, PhotometricInterpretation="CMYK"))


def test_samples_of_odd_width_are_told() -> None:
    header = header_of(image(np.zeros((4, 4), np.uint8), BitsAllocated=12))
    with pytest.raises(CannotRender, match="12 bits"):
        render(b"\0" * 24, header, 1, Wishes(), PNG)


def test_frame_that_is_shorter_than_its_header_says_is_told() -> None:
    header = header_of(image(np.zeros((4, 4), np.uint8)))
    with pytest.raises(CannotRender):
        render(b"\0" * 15, header, 1, Wishes(), PNG)
