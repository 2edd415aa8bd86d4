"""Proves that a Part 10 file is whole, and finds its pixel data and frames without loading them. Never writes.

A frame is a list of spans, each an offset in the file and a length, so that it can be read by range. A fragment's
length includes its pad byte (PS3.5 section A.4). No spans are given where they would need decoding to find: deflated
files, native frames that do not begin on a byte, and fragments that no offset table assigns to frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

from storage.dicom.elements import (
    DEFLATED,
    SEQUENCE_END,
    TRANSFER_SYNTAX_UID,
    DatasetTruncated,
    Element,
    Encoding,
    FileMeta,
    NotDicom,
    detect_encoding,
    open_dataset,
    read_elements,
    read_file_meta,
    read_items,
    read_value,
)

__all__ = ["DatasetTruncated", "NotDicom", "PixelDataShort", "Span", "Structure", "check_structure"]

TABLE_BYTES_MAX: Final = 64 * 1024 * 1024
FRAMES_MAX: Final = 1_000_000

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_LENGTHS: Final = 0x7FE00002
PIXEL_DATA: Final = 0x7FE00010
PIXEL_DATA_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})

_DESCRIBING: Final = frozenset(
    {SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED}
)
_NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", *DEFLATED})
# Bits of one pixel in samples, where chroma is shared between pixels (PS3.3 section C.7.6.3.1.2).
_SUBSAMPLED: Final = {"YBR_FULL_422": (2, 1), "YBR_PARTIAL_422": (2, 1), "YBR_PARTIAL_420": (3, 2)}


class PixelDataShort(Exception):
    """Pixel data holds less than rows, columns and frames say; the message gives both lengths."""


class Span(NamedTuple):
    """Bytes of the file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Structure:
    """Where the parts of a whole Part 10 file lie.

    `pixel_data_offset` is where the pixel data element begins, None without one or in a deflated file. `native_pixels`
    are the pixel bytes without padding, None unless they are uncompressed and little endian. `frames` is empty where
    the spans are unknown, otherwise it has one entry for each frame.
    """

    dataset_offset: int
    pixel_data_offset: int | None
    native_pixels: Span | None
    frames: tuple[tuple[Span, ...], ...]

    def frame_spans(self) -> list[dict[str, Any]]:
        """Return the frames as the catalogue keeps them: `[{"spans": [[offset, length], …]}, …]`."""
        return [{"spans": [list(span) for span in frame]} for frame in self.frames]


@dataclass(slots=True)
class _Found:
    """What one walk over the top level collected."""

    values: dict[int, bytes]
    encoding: Encoding
    pixel_data: Element | None = None


Observer = Callable[[BinaryIO, Encoding, Element], None]


def check_structure(
    file: BinaryIO, transfer_syntax: str | None = None, *, meta: FileMeta | None = None, observe: Observer | None = None
) -> Structure:
    """Return where everything lies once the whole file is known to be there.

    `transfer_syntax` overrides the one that the file meta names, `meta` saves reading it again. `observe` is called
    with each element of the top level, before it is known to be whole.

    Raises:
        NotDicom: the bytes are no Part 10 file, or no elements.
        DatasetTruncated: the dataset ends inside an element.
        PixelDataShort: pixel data is shorter than its description, or has fewer fragments than frames.
    """
    meta = meta or read_file_meta(file)
    syntax = transfer_syntax or meta.text(TRANSFER_SYNTAX_UID)
    dataset, start, end = open_dataset(file, meta)
    try:
        found = _walk(dataset, syntax, start, end, observe)
        return _describe(dataset, meta, syntax, found, end)
    finally:
        if dataset is not file:
            dataset.close()


def _walk(dataset: BinaryIO, syntax: str, start: int, end: int, observe: Observer | None) -> _Found:
    found = _Found({}, detect_encoding(dataset, syntax, start))
    for element in read_elements(dataset, found.encoding, start, end):
        if observe is not None:
            observe(dataset, found.encoding, element)
        if element.tag in PIXEL_DATA_TAGS:
            found.pixel_data = element
        elif element.tag in _DESCRIBING or element.tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_LENGTHS):
            found.values[element.tag] = read_value(dataset, element, limit_bytes=TABLE_BYTES_MAX)
    return found


def _describe(dataset: BinaryIO, meta: FileMeta, syntax: str, found: _Found, end: int) -> Structure:
    pixels = found.pixel_data
    if pixels is None:
        return Structure(meta.dataset_offset, None, None, ())
    if pixels.length is None:
        frames = _encapsulated_frames(dataset, found, pixels, end, syntax)
        return Structure(meta.dataset_offset, pixels.offset, None, frames)
    if syntax not in _NATIVE:  # an encapsulated syntax with native bytes: nothing can be said of them
        return Structure(meta.dataset_offset, pixels.offset, None, ())
    payload, frames = _native_frames(found, pixels)
    if syntax in DEFLATED:
        return Structure(meta.dataset_offset, None, None, ())
    is_little = not found.encoding.big_endian
    return Structure(meta.dataset_offset, pixels.offset, payload if is_little else None, frames)


def _native_frames(found: _Found, pixels: Element) -> tuple[Span, tuple[tuple[Span, ...], ...]]:
    length = pixels.length or 0
    frame_bits = _bits_of_frame(found)
    frame_count = _frame_count(found)
    if not frame_bits:
        return Span(pixels.value_offset, length), ()
    expected = (frame_bits * frame_count + 7) // 8
    if length < expected:
        raise PixelDataShort(f"pixel data has {length} bytes, {expected} are needed for {frame_count} frames")
    payload = Span(pixels.value_offset, expected)
    if frame_count == 1:
        return payload, ((payload,),)
    if frame_bits % 8 or frame_count > FRAMES_MAX:
        return payload, ()
    step = frame_bits // 8
    return payload, tuple((Span(pixels.value_offset + number * step, step),) for number in range(frame_count))


def _encapsulated_frames(
    dataset: BinaryIO, found: _Found, pixels: Element, end: int, syntax: str
) -> tuple[tuple[Span, ...], ...]:
    items = [
        Span(item.value_offset, item.length or 0)
        for item, _ in read_items(dataset, found.encoding, pixels, end)
        if item.tag != SEQUENCE_END
    ]
    if not items:
        raise PixelDataShort("encapsulated pixel data has not even an offset table")
    table, fragments = items[0], items[1:]
    frame_count = _frame_count(found)
    if not fragments:
        raise PixelDataShort("encapsulated pixel data has no fragments")
    if frame_count == 1:
        return (tuple(fragments),)
    if len(fragments) == frame_count:
        return tuple((fragment,) for fragment in fragments)
    if len(fragments) < frame_count:
        if syntax.startswith("1.2.840.10008.1.2.4.10"):  # MPEG and its successors: one stream holds all frames
            return ()
        raise PixelDataShort(f"pixel data has {len(fragments)} fragments for {frame_count} frames")
    return _by_offsets(fragments, _offsets(dataset, found, table), frame_count)


def _offsets(dataset: BinaryIO, found: _Found, table: Span) -> list[int]:
    """Return where each frame begins, counted from the first fragment's item; the extended table wins."""
    extended = found.values.get(EXTENDED_OFFSET_TABLE, b"")
    order = found.encoding.order
    if extended:
        return [offset for (offset,) in struct.iter_unpack(order + "Q", extended[: len(extended) // 8 * 8])]
    if table.length > TABLE_BYTES_MAX:
        raise NotDicom(f"the offset table is longer than {TABLE_BYTES_MAX} bytes")
    dataset.seek(table.offset)
    basic = dataset.read(table.length // 4 * 4)
    return [offset for (offset,) in struct.iter_unpack(order + "I", basic)]


def _by_offsets(fragments: list[Span], offsets: list[int], frame_count: int) -> tuple[tuple[Span, ...], ...]:
    """Return the fragments of each frame, nothing when the table does not fit them."""
    base = fragments[0].offset - 8
    number_at = {fragment.offset - 8 - base: number for number, fragment in enumerate(fragments)}
    starts = [number_at[offset] for offset in offsets if offset in number_at]
    if len(offsets) != frame_count or len(starts) != frame_count or starts != sorted(set(starts)) or starts[0] != 0:
        return ()
    ends = [*starts[1:], len(fragments)]
    return tuple(tuple(fragments[first:last]) for first, last in zip(starts, ends, strict=True))


def _bits_of_frame(found: _Found) -> int:
    """Return the length of a native frame in bits, 0 when the dataset does not describe it."""
    photometric = found.values.get(PHOTOMETRIC_INTERPRETATION, b"").decode("ascii", "replace").strip(" \0")
    samples, shared_by = _SUBSAMPLED.get(photometric, (_unsigned(found, SAMPLES_PER_PIXEL, 1), 1))
    pixels = _unsigned(found, ROWS, 0) * _unsigned(found, COLUMNS, 0)
    return pixels * samples * _unsigned(found, BITS_ALLOCATED, 0) // shared_by


def _unsigned(found: _Found, tag: int, default: int) -> int:
    value = found.values.get(tag, b"")[:2]
    return int.from_bytes(value, "big" if found.encoding.big_endian else "little") if len(value) == 2 else default


def _frame_count(found: _Found) -> int:
    text = found.values.get(NUMBER_OF_FRAMES, b"").decode("ascii", "replace").strip(" \0")
    return max(int(text), 1) if text.isdecimal() and len(text) <= 10 else 1
