"""What a dataset says about its pixels, and whether they may be compressed without loss. Reads headers only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from storage.dicom.elements import (
    DEFLATED,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    TRANSFER_SYNTAX_UID,
    Element,
    Encoding,
    FileMeta,
    detect_encoding,
    encoding_of,
    end_of,
    read_elements,
    read_file_meta,
    read_value,
    size_of,
)
from storage.dicom.structure import (
    BITS_ALLOCATED,
    COLUMNS,
    EXTENDED_OFFSET_LENGTHS,
    EXTENDED_OFFSET_TABLE,
    FRAMES_MAX,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_DATA,
    PIXEL_DATA_TAGS,
    ROWS,
    SAMPLES_PER_PIXEL,
)

PLANAR_CONFIGURATION: Final = 0x00280006
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
PIXEL_REPRESENTATION: Final = 0x00280103

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024  # a few frames are in memory at once
HEADER_BYTES_MAX: Final = 32 * 1024 * 1024  # what stands before or behind the pixels, in memory while it is rewritten

_NATIVE_LITTLE: Final = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN})
_MONOCHROME: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOUR: Final = frozenset({"RGB", "YBR_FULL"})
_DESCRIBING: Final = frozenset(
    {SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES, ROWS, COLUMNS}
    | {BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION}
)
_VALUE_BYTES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The image pixel module (PS3.3 section C.7.6.3) as numbers; 0 or "" where an element is absent or odd.

    `planar_configuration` is None without the element.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric_interpretation: str
    planar_configuration: int | None

    @property
    def sample_bytes(self) -> int:
        """The bytes of one sample, 0 when it has not 8, 16 or 32 bits."""
        return self.bits_allocated // 8 if self.bits_allocated in (8, 16, 32) else 0

    @property
    def frame_bytes(self) -> int:
        """The bytes of one native frame."""
        return self.rows * self.columns * self.samples * self.sample_bytes


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """Where a file's dataset, its pixel data and its planar configuration lie; offsets in the file.

    `pixels_end` is behind the pixel data element; both are None without one. `tables_offset` is where an extended
    offset table begins. `repeated` names a describing element that stands there twice.
    """

    meta: FileMeta
    transfer_syntax_uid: str
    encoding: Encoding
    start: int
    end: int
    description: PixelDescription
    planar_offset: int | None
    pixels: Element | None
    pixels_end: int | None
    tables_offset: int | None
    repeated: int | None

    @property
    def header(self) -> tuple[int, int]:
        """Where the elements before the pixel data and its extended offset table lie, or all of them."""
        if self.pixels is None:
            return self.start, self.end
        return self.start, self.pixels.offset if self.tables_offset is None else self.tables_offset

    @property
    def tail(self) -> tuple[int, int]:
        """Where the elements behind the pixel data lie."""
        return (self.end, self.end) if self.pixels_end is None else (self.pixels_end, self.end)


def read_layout(file: BinaryIO) -> DatasetLayout:
    """Return the layout of a Part 10 file; of a deflated one without anything that lies inside.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole.
    """
    meta = read_file_meta(file)
    end = size_of(file)
    is_deflated = meta.text(TRANSFER_SYNTAX_UID) in DEFLATED
    return read_dataset_layout(file, meta, end if is_deflated else meta.dataset_offset, end)


def read_dataset_layout(file: BinaryIO, meta: FileMeta, start: int, end: int) -> DatasetLayout:
    """Return the layout of a dataset that lies between two offsets of `file`.

    Raises:
        NotDicom, DatasetTruncated: the dataset is not whole.
    """
    syntax = meta.text(TRANSFER_SYNTAX_UID)
    encoding = detect_encoding(file, syntax, start)
    values: dict[int, bytes] = {}
    pixels: Element | None = None
    planar_offset = pixels_end = tables_offset = repeated = None
    for element in read_elements(file, encoding, start, end):
        if element.tag in PIXEL_DATA_TAGS:
            repeated = element.tag if pixels is not None else repeated
            pixels, pixels_end = element, end_of(file, encoding, element, end)
        elif element.tag in _DESCRIBING:
            repeated = element.tag if element.tag in values else repeated
            values[element.tag] = read_value(file, element, limit_bytes=_VALUE_BYTES_MAX)
            planar_offset = element.value_offset if element.tag == PLANAR_CONFIGURATION else planar_offset
        elif element.tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_LENGTHS):
            tables_offset = element.offset if tables_offset is None else tables_offset
    return DatasetLayout(
        meta=meta,
        transfer_syntax_uid=syntax,
        encoding=encoding,
        start=start,
        end=end,
        description=_describe(values, encoding.order),
        planar_offset=planar_offset,
        pixels=pixels,
        pixels_end=pixels_end,
        tables_offset=tables_offset,
        repeated=repeated,
    )


def find_obstacle(layout: DatasetLayout) -> str | None:
    """Return in words why this instance travels as it came; None when its pixels may be compressed without loss.

    What only the samples themselves show (bits above Bits Stored) is found while they are encoded.
    """
    return _obstacle_in_file(layout) or obstacle_in_image(layout.description) or _obstacle_in_length(layout)


def _obstacle_in_file(layout: DatasetLayout) -> str | None:
    if layout.transfer_syntax_uid not in _NATIVE_LITTLE:
        from pydicom.uid import UID  # many who describe images need no name, and pydicom is large

        return f"arrived in transfer syntax {UID(layout.transfer_syntax_uid).name}, which is left alone"
    if layout.encoding != encoding_of(layout.transfer_syntax_uid):
        return "its elements are not written as its transfer syntax says"
    if layout.pixels is None:
        return "has no pixel data"
    if layout.pixels.tag != PIXEL_DATA:
        return "its samples are floating-point numbers"
    if layout.pixels.length is None or layout.tables_offset is not None:
        return "its pixel data is encapsulated although its transfer syntax is not"
    if layout.repeated is not None:
        return "describes its pixels twice"
    if layout.header[1] - layout.header[0] > HEADER_BYTES_MAX or layout.tail[1] - layout.tail[0] > HEADER_BYTES_MAX:
        return f"has more than {HEADER_BYTES_MAX} bytes beside its pixels"
    return None


def obstacle_in_image(image: PixelDescription) -> str | None:
    """Return in words why an image of this description has no lossless codestream here; None when it has."""
    if image.bits_allocated not in (8, 16):
        return f"has {image.bits_allocated} bits for each sample, neither 8 nor 16"
    if not 1 <= image.bits_stored <= image.bits_allocated or image.high_bit != image.bits_stored - 1:
        return "its samples are not in the lowest bits of their words"
    if image.samples == 1:
        if image.photometric_interpretation not in _MONOCHROME:
            return f"its photometric interpretation {image.photometric_interpretation!r} is not one of one sample"
    elif image.samples != 3 or image.photometric_interpretation not in _COLOUR:
        return f"its {image.samples} samples are {image.photometric_interpretation!r}, neither RGB nor YBR_FULL"
    elif image.planar_configuration not in (0, 1):
        return "does not say how its colours are interleaved"
    if not 0 < image.frame_bytes <= FRAME_BYTES_MAX:
        return f"a frame has {image.frame_bytes} bytes, not 1 to {FRAME_BYTES_MAX}"
    if image.frames > FRAMES_MAX:
        return f"has more than {FRAMES_MAX} frames"
    return None


def _obstacle_in_length(layout: DatasetLayout) -> str | None:
    expected = layout.description.frame_bytes * layout.description.frames
    length = 0 if layout.pixels is None else layout.pixels.length
    if length not in (expected, expected + expected % 2):
        return f"its pixel data has {length} bytes, {expected} are described"
    return None


def _describe(values: dict[int, bytes], order: str) -> PixelDescription:
    def number(tag: int, default: int = 0) -> int:
        value = values.get(tag, b"")
        return int(struct.unpack(order + "H", value)[0]) if len(value) == 2 else default

    def text(tag: int) -> str:
        return values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    frames = text(NUMBER_OF_FRAMES)
    planar = number(PLANAR_CONFIGURATION, 2) if PLANAR_CONFIGURATION in values else None
    return PixelDescription(
        rows=number(ROWS),
        columns=number(COLUMNS),
        samples=number(SAMPLES_PER_PIXEL, 1),
        frames=max(int(frames), 1) if frames.isdecimal() and len(frames) <= 10 else 1,
        bits_allocated=number(BITS_ALLOCATED),
        bits_stored=number(BITS_STORED),
        high_bit=number(HIGH_BIT),
        is_signed=number(PIXEL_REPRESENTATION) == 1,
        photometric_interpretation=text(PHOTOMETRIC_INTERPRETATION),
        planar_configuration=planar,
    )
