"""What was compressed gives back the received dataset to the bit, or it is not compressed."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from storage.dicom.structure import check_structure
from storage.dicom.transcoding import (
    NO_PIXELS,
    AsIs,
    Compressed,
    NotRestorable,
    compress,
    digest_pixels,
    is_compressed_here,
    prove_restorable,
    restored_dataset,
)
from storage.dicom.transcoding.codecs import HTJ2K_LOSSLESS, JPEG_LS_LOSSLESS
from storage.dicom.values import digest_values
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

PADDING = 0xFFFCFFFC


def compressed(file: io.BytesIO) -> tuple[Compressed | AsIs, io.BytesIO]:
    made = io.BytesIO()
    return compress(file, lambda: made), made


def assert_comes_back(file: io.BytesIO) -> tuple[Compressed, io.BytesIO]:
    """The file gets smaller, gives back its dataset, and means the same to every reader."""
    outcome, made = compressed(file)
    assert isinstance(outcome, Compressed), outcome
    assert len(made.getvalue()) < 0.98 * len(file.getvalue())
    proof = prove_restorable(made)
    assert proof.received_sha256 == dataset_sha256(file)
    assert (
        proof.pixel_sha256 == digest_pixels(file, check_structure(file)) == digest_pixels(made, check_structure(made))
    )
    assert digest_values(made) == digest_values(file)
    return outcome, made


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "stored"), [(8, 8), (8, 7), (16, 8), (16, 10), (16, 12), (16, 15), (16, 16)])
def test_every_depth_and_sign_comes_back(bits: int, stored: int, signed: bool, syntax: str) -> None:
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    dataset = image(smooth((1, 67, 93), low, high), bits=bits, stored=stored, signed=signed)
    _, made = assert_comes_back(part10(dataset, syntax))
    decoded = pydicom.dcmread(io.BytesIO(made.getvalue())).pixel_array
    assert (decoded == smooth((1, 67, 93), low, high)[0]).all(), "another reader sees other values"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_come_back_as_they_were_interleaved(photometric: str, planar: int, syntax: str) -> None:
    shape = (2, 3, 41, 33) if planar else (2, 41, 33, 3)
    dataset = image(smooth(shape, 0, 255), bits=8, photometric=photometric, planar=planar)
    outcome, made = assert_comes_back(part10(dataset, syntax))
    read = pydicom.dcmread(io.BytesIO(made.getvalue()))
    assert outcome.transfer_syntax_uid == JPEG_LS_LOSSLESS
    assert (read.PhotometricInterpretation, read.PlanarConfiguration) == (photometric, 0)


def test_the_same_colours_have_one_digest_however_they_are_interleaved() -> None:
    by_pixel = smooth((2, 41, 33, 3), 0, 255)
    files = [
        part10(image(by_pixel, bits=8, photometric="RGB", planar=0)),
        part10(image(np.moveaxis(by_pixel, -1, 1), bits=8, photometric="RGB", planar=1)),
        part10(image(by_pixel, bits=8, photometric="RGB", planar=0), BIG_ENDIAN),
    ]
    assert len({digest_pixels(file, check_structure(file)) for file in files}) == 1
    assert len({digest_values(file) for file in files}) == 1


@pytest.mark.parametrize("shape", [(1, 1, 700), (1, 700, 1), (1, 31, 21), (5, 15, 33), (300, 9, 11)])
def test_odd_sizes_and_many_frames_come_back(shape: tuple[int, ...]) -> None:
    _, made = assert_comes_back(part10(image(smooth(shape, 0, 90), bits=8)))
    frames = check_structure(made).frames
    assert len(frames) == shape[0]
    assert all(len(spans) == 1 for spans in frames), "a frame is one range"
    basic_table = pydicom.dcmread(io.BytesIO(made.getvalue())).PixelData[4:8]
    assert struct.unpack("<I", basic_table)[0] == 4 * shape[0]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("signed", [False, True])
def test_private_nested_and_following_elements_come_back(signed: bool, syntax: str) -> None:
    low = -2000 if signed else 0
    dataset = image(smooth((1, 256, 256), low, 4000), bits=16, signed=signed, change=everything)
    _, made = assert_comes_back(part10(dataset, syntax))
    read = pydicom.dcmread(io.BytesIO(made.getvalue()))
    assert read.PixelPaddingValue == 7
    assert read.ReferencedStudySequence[0].ReferencedSeriesSequence[0].ReferencedSOPInstanceUID == "1.2.11"
    assert read[0x7FE1, 0x1001].value.rstrip(b"\0") == b"behind the pixels "


def test_padding_value_keeps_its_sign_when_implicit_elements_become_explicit() -> None:
    def pad(dataset: Dataset) -> None:
        dataset.add_new(0x00280120, "SS", -2000)

    dataset = image(smooth((1, 64, 64), -2000, 3000), bits=16, signed=True, change=pad)
    _, made = assert_comes_back(part10(dataset, IMPLICIT))
    assert pydicom.dcmread(io.BytesIO(made.getvalue())).PixelPaddingValue == -2000


def test_a_text_too_long_for_the_short_form_comes_back() -> None:
    def comment(dataset: Dataset) -> None:
        dataset.add(DataElement(0x00204000, "LT", "a long comment " * 5000, validation_mode=IGNORE))

    assert_comes_back(part10(image(smooth((1, 256, 256), 0, 4000), bits=16, change=comment), IMPLICIT))


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (smooth((1, 40, 40), 0, 5000), {"bits": 16, "stored": 12}, "12 bits that are stored"),
        (smooth((1, 40, 40), -3000, 5000), {"bits": 16, "stored": 12, "signed": True}, "12 bits that are stored"),
        (smooth((1, 40, 40), 0, 5000), {"bits": 32}, "32 bits"),
        (np.random.default_rng(1).integers(0, 65536, (1, 64, 64)), {"bits": 16}, "2 %"),
        (smooth((1, 40, 40, 3), 0, 255), {"bits": 8, "photometric": "YBR_FULL_422", "planar": 0}, "YBR_FULL_422"),
        (smooth((1, 40, 40, 3), 0, 255), {"bits": 8, "photometric": "RGB"}, "interleaved"),
        (smooth((1, 40, 40), 0, 200), {"bits": 8, "photometric": "RGB"}, "one sample"),
    ],
)
def test_what_readers_would_misunderstand_or_does_not_shrink_travels_as_it_is(
    pixels: np.ndarray, options: dict, reason: str
) -> None:
    outcome, made = compressed(part10(image(pixels, **options)))
    assert isinstance(outcome, AsIs)
    assert reason in outcome.reason
    assert made.getvalue() == b""


def test_samples_that_are_not_in_the_low_bits_travel_as_they_are() -> None:
    def shift(dataset: Dataset) -> None:
        dataset.HighBit = 15

    dataset = image(smooth((1, 40, 40), 0, 4000), bits=16, stored=12, change=shift)
    assert "lowest bits" in str(compressed(part10(dataset))[0])


@pytest.mark.parametrize("extra", [-2, 2, 100])
def test_pixel_data_of_another_length_than_described_travels_as_it_is(extra: int) -> None:
    def cut(dataset: Dataset) -> None:
        raw = dataset.PixelData
        dataset.PixelData = raw[:extra] if extra < 0 else raw + b"\0" * extra

    dataset = image(smooth((1, 40, 40), 0, 4000), bits=16, change=cut)
    assert "are described" in str(compressed(part10(dataset))[0])


def test_other_syntaxes_travel_as_they_are() -> None:
    file = part10(image(smooth((1, 40, 40), 0, 4000), bits=16), BIG_ENDIAN)
    assert "left alone" in str(compressed(file)[0])


def test_implicit_elements_under_an_explicit_label_travel_as_they_are() -> None:
    file = part10(image(smooth((1, 40, 40), 0, 4000), bits=16), IMPLICIT)
    lying = file.getvalue().replace(struct.pack("<HH2sH", 2, 0x10, b"UI", 18) + b"1.2.840.10008.1.2\0", b"")
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    at = lying.index(struct.pack("<HH2sH", 2, 0x12, b"UI", 28)[:6])
    assert "as its transfer syntax says" in str(compressed(io.BytesIO(lying[:at] + meta + lying[at:]))[0])


def test_a_compressed_file_is_not_compressed_again() -> None:
    _, made = assert_comes_back(part10(image(smooth((1, 64, 64), 0, 4000), bits=16)))
    assert is_compressed_here(made)
    assert isinstance(compressed(made)[0], AsIs)


def test_jpeg_ls_is_taken_only_where_it_saves_much() -> None:
    few_colours = smooth((1, 128, 128), 0, 8) * 30
    outcome, _ = assert_comes_back(part10(image(few_colours, bits=8)))
    assert outcome.transfer_syntax_uid == JPEG_LS_LOSSLESS
    noisy = smooth((1, 128, 128), 0, 60000) // 256 * 256 + np.random.default_rng(2).integers(0, 256, (1, 128, 128))
    outcome, _ = assert_comes_back(part10(image(noisy, bits=16)))
    assert outcome.transfer_syntax_uid == HTJ2K_LOSSLESS


@pytest.mark.parametrize("at", [0.5, 0.8, 0.95])
def test_a_damaged_compressed_file_never_proves(at: float) -> None:
    file = part10(image(smooth((3, 64, 64), 0, 4000), bits=16))
    _, made = assert_comes_back(file)
    damaged = bytearray(made.getvalue())
    for place in range(int(len(damaged) * at), int(len(damaged) * at) + 20):
        damaged[place] ^= 0xA5
    try:
        proof = prove_restorable(io.BytesIO(bytes(damaged)))
    except NotRestorable:
        return
    assert proof.received_sha256 != dataset_sha256(file)


@pytest.mark.parametrize("stored", [12, 16])
@pytest.mark.parametrize("side", [1, 2, 64, 768])
def test_images_that_a_codec_would_make_larger_travel_as_they_are(side: int, stored: int) -> None:
    noise = np.random.default_rng(3).integers(0, 1 << stored, (1, side, side))
    noise.flat[0] = (1 << stored) - 1
    file = part10(image(noise, bits=16, stored=stored))
    outcome, made = compressed(file)
    assert isinstance(outcome, AsIs) or prove_restorable(made).received_sha256 == dataset_sha256(file)


def test_what_was_not_compressed_here_is_not_restored() -> None:
    with pytest.raises(NotRestorable):
        list(restored_dataset(part10(image(smooth((1, 8, 8), 0, 9), bits=8))))


def test_an_instance_without_pixels_has_the_digest_of_no_bytes() -> None:
    def strip(dataset: Dataset) -> None:
        del dataset.PixelData

    file = part10(image(smooth((1, 8, 8), 0, 9), bits=8, change=strip))
    assert digest_pixels(file, check_structure(file)) == NO_PIXELS == hashlib.sha256(b"").hexdigest()
    assert "no pixel data" in str(compressed(file)[0])


def test_memory_holds_a_few_frames_of_a_long_one() -> None:
    """Frames are read, encoded and proved one at a time: the source is asked for no more than one frame at once."""
    file = part10(image(smooth((200, 64, 64), 0, 4000), bits=16))
    largest = 0

    class Watching(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal largest
            largest = max(largest, len(self.getvalue()) if size is None or size < 0 else size)
            return super().read(size)

    made = Watching()
    outcome = compress(Watching(file.getvalue()), lambda: made)
    assert isinstance(outcome, Compressed)
    assert prove_restorable(made).received_sha256 == dataset_sha256(file)
    assert largest <= 64 * 64 * 2


@settings(max_examples=60)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    frames=st.integers(1, 4),
    bits=st.sampled_from([8, 16]),
    signed=st.booleans(),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT]),
    data=st.data(),
)
def test_any_image_either_comes_back_or_travels_as_it_is(
    rows: int, columns: int, frames: int, bits: int, signed: bool, syntax: str, data: st.DataObject
) -> None:
    raw = data.draw(st.binary(min_size=1, max_size=64))
    size = rows * columns * frames * bits // 8
    pixels = np.frombuffer((raw * (size // len(raw) + 1))[:size], f"<{'i' if signed else 'u'}{bits // 8}")
    stored = data.draw(st.integers(1, bits))
    change = everything if data.draw(st.booleans()) else (lambda _: None)
    dataset = image(pixels.reshape(frames, rows, columns), bits=bits, stored=stored, signed=signed, change=change)
    file = part10(dataset, syntax)
    outcome, made = compressed(file)
    if isinstance(outcome, Compressed):
        assert prove_restorable(made).received_sha256 == dataset_sha256(file)
        assert digest_values(made) == digest_values(file)
