"""Gives back the dataset as it was received, from a file that was compressed here, to the bit; and proves that it does.

This is the proof that lets a compressed file stand for the received one, and what a peer gets that takes the received
syntax. Reads; a few frames are in memory at once.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex
from storage.dicom.elements import IMPLICIT_LITTLE_ENDIAN, DatasetTruncated, NotDicom
from storage.dicom.structure import PIXEL_DATA, PixelDataShort, Structure, check_structure
from storage.dicom.transcoding.codecs import LOSSLESS, FrameNotDecoded, planes_to_pixels
from storage.dicom.transcoding.description import HEADER_BYTES_MAX, DatasetLayout, read_layout
from storage.dicom.transcoding.pixels import decoded_frames
from storage.dicom.transcoding.recipe import Recipe, RecipeDamaged, find_recipe
from storage.dicom.transcoding.rewriting import explicit_head, implicit_head, to_implicit

_NATIVE_LENGTH_MAX: Final = 2**32 - 2


class NotRestorable(Exception):
    """The file was not compressed here, or does not give back a dataset; the message says what is in the way."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: its `received_sha256` and `pixel_sha256`, and the syntax in which it came."""

    received_sha256: Sha256Hex
    pixel_sha256: Sha256Hex
    received_transfer_syntax_uid: str


def is_compressed_here(file: BinaryIO) -> bool:
    """Return whether the file carries a recipe.

    Raises:
        NotDicom: it is no Part 10 file.
        NotRestorable: its recipe cannot be read.
    """
    from storage.dicom.elements import read_file_meta

    try:
        return find_recipe(read_file_meta(file)) is not None
    except RecipeDamaged as exc:
        raise NotRestorable(str(exc)) from exc


def restored_dataset(
    file: BinaryIO, structure: Structure | None = None, on_frame: Callable[[bytes], None] = lambda _frame: None
) -> Iterator[bytes]:
    """Yield the dataset as it was received, without file meta; `on_frame` gets each native frame, colour by pixel.

    Raises:
        NotRestorable: see there.
    """
    try:
        yield from _restored(file, structure or check_structure(file), on_frame)
    except (NotDicom, DatasetTruncated, PixelDataShort, FrameNotDecoded, RecipeDamaged, struct.error) as exc:
        raise NotRestorable(str(exc)) from exc


def prove_restorable(
    file: BinaryIO, structure: Structure | None = None, on_frame: Callable[[], None] = lambda: None
) -> Restored:
    """Return the digests of what the file gives back; the caller compares them with the received ones.

    Raises:
        NotRestorable: see there.
    """
    pixels, received = hashlib.sha256(), hashlib.sha256()

    def take(frame: bytes) -> None:
        pixels.update(frame)
        on_frame()

    for piece in restored_dataset(file, structure, take):
        received.update(piece)
    layout = read_layout(file)
    recipe = find_recipe(layout.meta)
    if recipe is None:
        raise NotRestorable("the file was not compressed here")
    return Restored(Sha256Hex(received.hexdigest()), Sha256Hex(pixels.hexdigest()), recipe.received_transfer_syntax_uid)


def _restored(file: BinaryIO, structure: Structure, on_frame: Callable[[bytes], None]) -> Iterator[bytes]:
    layout = read_layout(file)
    recipe = find_recipe(layout.meta)
    if recipe is None:
        raise NotRestorable("the file was not compressed here")
    if layout.transfer_syntax_uid not in LOSSLESS or layout.pixels is None or layout.pixels.length is not None:
        raise NotRestorable("the file is not in a form that is made here")
    image = layout.description
    length = image.frame_bytes * image.frames
    length += length % 2
    if not 0 < length <= _NATIVE_LENGTH_MAX:
        raise NotRestorable("the pixel data would be longer than a native element holds")
    yield _received_part(file, layout, recipe, layout.header)
    if recipe.received_transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN:
        yield implicit_head(PIXEL_DATA, length)
    else:
        yield explicit_head(PIXEL_DATA, recipe.pixel_vr, length)
    is_by_plane = image.samples > 1 and recipe.planar_configuration == 1
    for frame in decoded_frames(file, structure, image, layout.transfer_syntax_uid, planar=is_by_plane):
        on_frame(planes_to_pixels(frame, image) if is_by_plane else frame)
        yield frame
    yield b"\0" * (image.frame_bytes * image.frames % 2)
    yield _received_part(file, layout, recipe, layout.tail)


def _received_part(file: BinaryIO, layout: DatasetLayout, recipe: Recipe, part: tuple[int, int]) -> bytes:
    """Return elements of the file as they stood in the received dataset."""
    start, end = part
    if end - start > 2 * HEADER_BYTES_MAX:
        raise NotRestorable("too many bytes beside the pixels")
    file.seek(start)
    elements = bytearray(file.read(end - start))
    at = layout.planar_offset
    if at is not None and start <= at < end and recipe.planar_configuration is not None:
        elements[at - start : at - start + 2] = struct.pack("<H", recipe.planar_configuration)
    if recipe.received_transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN:
        return to_implicit(bytes(elements))
    return bytes(elements)
