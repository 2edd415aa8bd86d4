"""A frame that says it is larger than its header does is refused before anything is decoded."""

from __future__ import annotations

import struct
import tracemalloc

import imagecodecs
import numpy as np
import pytest

from storage.dicom.transcoding.codecs import (
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    FrameNotDecoded,
    decode,
)
from storage.dicom.transcoding.codestreams import find_size
from storage.dicom.transcoding.description import PixelDescription

SIDE, HOSTILE = 32, 60_000
SAMPLES = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
IMAGE = PixelDescription(
    SIDE, SIDE, 1, 1, 8, 8, 7, is_signed=False, photometric_interpretation="MONOCHROME2", planar_configuration=None
)


def codestream(syntax: str) -> bytes:
    if syntax == JPEG_LS_LOSSLESS:
        return bytes(imagecodecs.jpegls_encode(SAMPLES))
    if syntax == HTJ2K_LOSSLESS:
        return bytes(imagecodecs.htj2k_encode(SAMPLES, reversible=True))
    if syntax == JPEG_LOSSLESS_SV1:
        return bytes(imagecodecs.ljpeg_encode(SAMPLES))
    return bytes(imagecodecs.jpeg2k_encode(SAMPLES, codecformat="J2K", reversible=True))


def forged(syntax: str) -> bytes:
    """Return the codestream with another size written into it."""
    wide = ">I" if syntax in (HTJ2K_LOSSLESS, JPEG_2000_LOSSLESS) else ">H"
    size, lie = struct.pack(wide, SIDE) * 2, struct.pack(wide, HOSTILE) * 2
    found = codestream(syntax)
    assert size in found
    return found.replace(size, lie, 1)


SYNTAXES = [JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_size_is_found(syntax: str) -> None:
    assert find_size(codestream(syntax)) == (SIDE, SIDE, 1)
    assert find_size(forged(syntax)) == (HOSTILE, HOSTILE, 1)
    assert decode(codestream(syntax), syntax, IMAGE) == SAMPLES.tobytes()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frame_that_says_it_is_larger_costs_nothing(syntax: str) -> None:
    hostile = forged(syntax)
    tracemalloc.start()
    try:
        with pytest.raises(FrameNotDecoded, match=f"{HOSTILE} × {HOSTILE}"):
            decode(hostile, syntax, IMAGE)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"\xff\xd8\xff\xc0\0\x03\x08", b"\xff\x4f\xff\x51"],
)
def test_what_is_no_codestream_has_no_size(rubbish: bytes) -> None:
    assert find_size(rubbish) is None
