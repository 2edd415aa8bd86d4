"""Makes an uncompressed instance smaller without loss: HTJ2K frame by frame, JPEG-LS where that is clearly smaller.

HTJ2K decodes three times as fast and is the rule; JPEG-LS takes its place where the line is spared more than
JPEG_LS_SAVES_MIN of the bytes. Which one is tried out on the middle frame. Colours are always JPEG-LS, which every
viewer shows right. Elements are carried over byte for byte
(implicit ones become explicit); pixel data is encapsulated, one fragment for each frame, with a basic offset table; a
recipe in the file meta says how to get the received dataset back. Nothing counts before
`storage.dicom.transcoding.restoring` has given it back to the bit.

Nothing here is durable. A few frames are in memory at once; encoded ones wait in a temporary file without a name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, Protocol

from storage.dicom.elements import (
    EXPLICIT_LITTLE_ENDIAN,
    ITEM,
    SEQUENCE_END,
    DatasetTruncated,
    Element,
    NotDicom,
)
from storage.dicom.structure import PIXEL_DATA
from storage.dicom.transcoding.codecs import (
    HTJ2K_LOSSLESS,
    JPEG_LS_LOSSLESS,
    DirtySamples,
    encode_htj2k,
    encode_jpeg_ls,
)
from storage.dicom.transcoding.description import DatasetLayout, PixelDescription, find_obstacle, read_layout
from storage.dicom.transcoding.recipe import Recipe, compressed_meta, has_private_information
from storage.dicom.transcoding.rewriting import explicit_head, implicit_head, to_explicit

SHRINKS_TO_MAX: Final = 0.98  # of the received size; what saves less stays as it is
JPEG_LS_SAVES_MIN: Final = 0.03  # of HTJ2K's bytes
ENCODED_IN_MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024
COPY_BYTES: Final = 1024 * 1024
OFFSET_TABLE_BYTES_MAX: Final = 4 * 1024**3 - 1

Encoder = Callable[[bytes, PixelDescription], bytes]
_ENCODERS: Final[dict[str, Encoder]] = {HTJ2K_LOSSLESS: encode_htj2k, JPEG_LS_LOSSLESS: encode_jpeg_ls}


class Writer(Protocol):
    """Where the compressed file goes, from its first byte to its last."""

    def write(self, data: bytes) -> object:
        """Append `data`."""


@dataclass(frozen=True, slots=True)
class AsIs:
    """The instance travels as it came; `reason` in words, without patient data."""

    reason: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """The instance was written in a smaller form."""

    transfer_syntax_uid: str
    received_transfer_syntax_uid: str


def compress(
    source: BinaryIO,
    begin: Callable[[], Writer],
    *,
    scratch: Path | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Compressed | AsIs:
    """Write the Part 10 file `source` in a smaller form, if there is one; `begin` is called only then.

    `scratch` is a directory for the temporary file. `on_frame` is called between frames: it may wait, and what it
    raises ends the work.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole.
    """
    layout = read_layout(source)
    obstacle = find_obstacle(layout)
    if obstacle is None and has_private_information(layout.meta):
        obstacle = "its file meta group holds private information already"
    if obstacle is not None or layout.pixels is None:
        return AsIs(obstacle or "has no pixel data")
    with _EncodedFrames(scratch) as frames:
        try:
            syntax = _encode_all(source, layout, layout.pixels, frames, on_frame)
        except DirtySamples as exc:
            return AsIs(str(exc))
        if syntax is None:
            return AsIs("does not get smaller by more than 2 %")
        return _write_smaller(source, layout, layout.pixels, frames, syntax, begin)


def write_encapsulated(
    native_frames: Iterator[bytes],
    image: PixelDescription,
    syntax: str,
    *,
    head: bytes,
    tail: bytes,
    writer: Writer,
    scratch: Path | None = None,
) -> None:
    """Write `head` (file meta and explicit elements), the frames encoded in `syntax`, and `tail`.

    Raises:
        DirtySamples: a frame does not go into this syntax.
    """
    with _EncodedFrames(scratch) as frames:
        for frame in native_frames:
            frames.add(_ENCODERS[syntax](frame, image))
        writer.write(head)
        frames.write_pixel_data(writer)
        writer.write(tail)


class _EncodedFrames:
    """Codestreams in a temporary file without a name, in the order of the frames."""

    def __init__(self, scratch: Path | None) -> None:
        directory = None if scratch is None else str(scratch)
        self._file = SpooledTemporaryFile(ENCODED_IN_MEMORY_BYTES_MAX, dir=directory)  # noqa: SIM115 -- see __exit__
        self._lengths: list[int] = []

    def __enter__(self) -> _EncodedFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size_bytes(self) -> int:
        """The length of the whole pixel data element."""
        return 12 + 8 + 4 * len(self._lengths) + sum(8 + length for length in self._lengths) + 8

    def add(self, codestream: bytes) -> None:
        padded = codestream + b"\0" * (len(codestream) % 2)
        self._file.write(padded)
        self._lengths.append(len(padded))

    def write_pixel_data(self, writer: Writer) -> None:
        """Write the element: head, basic offset table, a fragment for each frame, delimiter (PS3.5 section A.4)."""
        offsets, offset = [], 0
        for length in self._lengths:
            offsets.append(offset)
            offset += 8 + length
        if offset > OFFSET_TABLE_BYTES_MAX:  # cannot be: it is smaller than native pixel data with its 32-bit length
            raise ValueError("the offset table cannot hold the offsets")
        table = struct.pack(f"<{len(offsets)}I", *offsets)
        writer.write(explicit_head(PIXEL_DATA, "OB", None) + implicit_head(ITEM, len(table)) + table)
        self._file.seek(0)
        for length in self._lengths:
            writer.write(implicit_head(ITEM, length))
            rest = length
            while rest:
                piece = self._file.read(min(COPY_BYTES, rest))
                rest -= len(piece)
                writer.write(piece)
        writer.write(implicit_head(SEQUENCE_END, 0))


def _encode_all(
    source: BinaryIO, layout: DatasetLayout, pixels: Element, frames: _EncodedFrames, on_frame: Callable[[], None]
) -> str | None:
    """Encode every frame and return the transfer syntax, None when the middle one shows that it does not pay."""
    image = layout.description
    middle = image.frames // 2
    frame = _read_frame(source, image, pixels, middle)
    syntax, codestream = _smallest(frame, image)
    if len(codestream) > SHRINKS_TO_MAX * len(frame):
        return None
    for number in range(image.frames):
        if number == middle:
            frames.add(codestream)
        else:
            frames.add(_ENCODERS[syntax](_read_frame(source, image, pixels, number), image))
        on_frame()
    return syntax


def _smallest(frame: bytes, image: PixelDescription) -> tuple[str, bytes]:
    jpeg_ls = encode_jpeg_ls(frame, image)
    if image.samples > 1:
        return JPEG_LS_LOSSLESS, jpeg_ls
    htj2k = encode_htj2k(frame, image)
    if len(jpeg_ls) < (1 - JPEG_LS_SAVES_MIN) * len(htj2k):
        return JPEG_LS_LOSSLESS, jpeg_ls
    return HTJ2K_LOSSLESS, htj2k


def _read_frame(source: BinaryIO, image: PixelDescription, pixels: Element, number: int) -> bytes:
    source.seek(pixels.value_offset + number * image.frame_bytes)
    frame = source.read(image.frame_bytes)
    if len(frame) < image.frame_bytes:
        raise DatasetTruncated(f"the dataset ends inside frame {number + 1}")
    return frame


def _write_smaller(
    source: BinaryIO,
    layout: DatasetLayout,
    pixels: Element,
    frames: _EncodedFrames,
    syntax: str,
    begin: Callable[[], Writer],
) -> Compressed | AsIs:
    received = layout.transfer_syntax_uid
    planar = layout.description.planar_configuration
    recipe = Recipe(received, planar, pixels.vr)
    try:
        head = compressed_meta(layout.meta, syntax, recipe) + explicit_header(source, layout)
        tail = explicit_part(source, layout, layout.tail)
    except (NotDicom, DatasetTruncated, struct.error):
        return AsIs("its elements cannot be written in explicit form")
    if len(head) + frames.size_bytes + len(tail) > SHRINKS_TO_MAX * layout.end:
        return AsIs("does not get smaller by more than 2 %")
    writer = begin()
    writer.write(head)
    frames.write_pixel_data(writer)
    writer.write(tail)
    return Compressed(syntax, received)


def explicit_header(source: BinaryIO, layout: DatasetLayout) -> bytes:
    """Return the elements before the pixel data in explicit form, with Planar Configuration 0."""
    start, end = layout.header
    header = bytearray(_read(source, start, end))
    if layout.planar_offset is not None and start <= layout.planar_offset < end:
        at = layout.planar_offset - start
        header[at : at + 2] = b"\0\0"
    return _explicit(bytes(header), layout)


def explicit_part(source: BinaryIO, layout: DatasetLayout, part: tuple[int, int]) -> bytes:
    """Return the elements between two offsets in explicit form."""
    return _explicit(_read(source, *part), layout)


def _explicit(elements: bytes, layout: DatasetLayout) -> bytes:
    if layout.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN or not layout.encoding.implicit:
        return elements
    return to_explicit(elements, signed=layout.description.is_signed)


def _read(source: BinaryIO, start: int, end: int) -> bytes:
    source.seek(start)
    return source.read(end - start)
