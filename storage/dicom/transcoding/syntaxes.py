"""An instance in a transfer syntax that a peer accepts (PS3.4 section B.3, PS3.5 section 10).

The received bytes come first: they are what the scanner made. Then the stored ones, then whatever the peer names first
and can be made from them without loss. Native samples are written little endian, colour by pixel. Only a lossy image
for a peer that takes no lossy syntax is decoded by pydicom, as a whole and into RGB; all other ways hold a few frames.
Reads `file`, writes to `writer`; nothing is durable.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from storage.dicom.elements import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    DatasetTruncated,
    NotDicom,
    open_dataset,
    read_file_meta,
    size_of,
)
from storage.dicom.structure import PHOTOMETRIC_INTERPRETATION, PixelDataShort, check_structure
from storage.dicom.transcoding.codecs import HTJ2K_LOSSLESS, JPEG_LS_LOSSLESS, LOSSLESS, DirtySamples, FrameNotDecoded
from storage.dicom.transcoding.compressing import COPY_BYTES, Writer, write_encapsulated
from storage.dicom.transcoding.description import (
    HEADER_BYTES_MAX,
    PLANAR_CONFIGURATION,
    DatasetLayout,
    PixelDescription,
    obstacle_in_image,
    read_dataset_layout,
    read_layout,
)
from storage.dicom.transcoding.pixels import native_length, native_pieces
from storage.dicom.transcoding.recipe import Recipe, RecipeDamaged, find_recipe, plain_meta
from storage.dicom.transcoding.restoring import NotRestorable, restored_dataset
from storage.dicom.transcoding.rewriting import (
    explicit_head,
    implicit_head,
    replace_values,
    to_explicit,
    to_implicit,
    to_little_endian,
)

DECODED_AS_A_WHOLE_BYTES_MAX: Final = 256 * 1024 * 1024
LOSSY: Final = frozenset(  # those that the installed decoders read
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"}
    | {"1.2.840.10008.1.2.4.203"}
)
_NATIVE_TARGETS: Final = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
_CODEC_TARGETS: Final = (JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS)
_UNREADABLE: Final = (NotDicom, DatasetTruncated, PixelDataShort, FrameNotDecoded, DirtySamples, RecipeDamaged)


class CannotWrite(Exception):
    """The instance cannot be written in the asked syntax; the message says why."""


def choose_syntax(file: BinaryIO, accepted: Sequence[str]) -> str | None:
    """Return in which of the `accepted` transfer syntaxes to give the instance; None when it can be given in none.

    `accepted` is in the peer's order of preference.

    Raises:
        CannotWrite: the file is not a whole Part 10 file.
    """
    try:
        possible = _possible_syntaxes(file)
    except _UNREADABLE as exc:
        raise CannotWrite(str(exc)) from exc
    as_it_is = [syntax for syntax in possible[:2] if syntax in accepted]
    made = [syntax for syntax in accepted if syntax in possible]
    return next(iter(as_it_is + made), None)


def write_in_syntax(file: BinaryIO, syntax: str, writer: Writer, *, scratch: Path | None = None) -> None:
    """Write the Part 10 file in this transfer syntax: the received dataset to the bit where it is the received one.

    `scratch` is a directory for a temporary file. What was written before an error is worthless.

    Raises:
        CannotWrite: the file is damaged, or has no such form.
    """
    try:
        layout = read_layout(file)
        recipe = find_recipe(layout.meta)
        if recipe is not None and syntax == recipe.received_transfer_syntax_uid:
            writer.write(plain_meta(layout.meta, syntax))
            for piece in restored_dataset(file):
                writer.write(piece)
        elif syntax == layout.transfer_syntax_uid:
            _copy(file, layout, writer, syntax)
        elif layout.transfer_syntax_uid in LOSSY:
            _decompress_lossy(file, syntax, writer)
        else:
            _convert(file, syntax, writer, recipe, scratch)
    except NotRestorable as exc:
        raise CannotWrite(str(exc)) from exc
    except (*_UNREADABLE, struct.error) as exc:
        raise CannotWrite(str(exc)) from exc


def _possible_syntaxes(file: BinaryIO) -> list[str]:
    """Return the syntaxes that the instance has, received and stored first (twice the same when they are one)."""
    layout = read_layout(file)
    recipe = find_recipe(layout.meta)
    stored = layout.transfer_syntax_uid
    received = stored if recipe is None else recipe.received_transfer_syntax_uid
    if stored in LOSSY:
        small = size_of(file) <= DECODED_AS_A_WHOLE_BYTES_MAX
        return [received, stored, *(_NATIVE_TARGETS if small and layout.pixels is not None else ())]
    if layout.pixels is not None and layout.pixels.length is None and stored not in LOSSLESS:
        return [received, stored]
    image = layout.description
    has_codestreams = layout.pixels is not None and obstacle_in_image(image) is None
    codecs = _codecs_of(image)
    return [received, stored, *_NATIVE_TARGETS, *(codecs if has_codestreams else ())]


def _codecs_of(image: PixelDescription) -> tuple[str, ...]:
    """Return the syntaxes with a codec here; colours in HTJ2K are shown wrong by some viewers."""
    return _CODEC_TARGETS if image.samples == 1 else (JPEG_LS_LOSSLESS,)


def _copy(file: BinaryIO, layout: DatasetLayout, writer: Writer, syntax: str) -> None:
    """Write the dataset as it is stored; what the file says about its compression is nobody else's business."""
    writer.write(plain_meta(layout.meta, syntax))
    file.seek(layout.meta.dataset_offset)
    while piece := file.read(COPY_BYTES):
        writer.write(piece)


def _convert(file: BinaryIO, syntax: str, writer: Writer, recipe: Recipe | None, scratch: Path | None) -> None:
    meta = read_file_meta(file)
    structure = check_structure(file)
    dataset, start, end = open_dataset(file, meta)
    try:
        layout = read_dataset_layout(dataset, meta, start, end)
        header, tail = (_explicit_part(dataset, layout, part) for part in (layout.header, layout.tail))
        head = plain_meta(meta, syntax)
        if layout.pixels is None:
            if syntax not in _NATIVE_TARGETS:
                raise CannotWrite(f"an instance without pixels is not written in {syntax}")
            writer.write(head + _in_target(header, syntax))
            return
        pieces = native_pieces(dataset, layout, layout.pixels, structure)
        if syntax in _NATIVE_TARGETS:
            writer.write(head + _in_target(header, syntax) + _pixel_head(layout, syntax, recipe))
            length = 0
            for piece in pieces:
                length += len(piece)
                writer.write(piece)
            writer.write(b"\0" * (length % 2) + _in_target(tail, syntax))
        elif syntax in _codecs_of(layout.description) and obstacle_in_image(layout.description) is None:
            frames = _frames(pieces, layout.description.frame_bytes)
            image = _by_pixel(layout)
            write_encapsulated(frames, image, syntax, head=head + header, tail=tail, writer=writer, scratch=scratch)
        else:
            raise CannotWrite(f"{layout.transfer_syntax_uid} is not converted to {syntax}")
    finally:
        if dataset is not file:
            dataset.close()


def _explicit_part(dataset: BinaryIO, layout: DatasetLayout, part: tuple[int, int]) -> bytes:
    """Return elements as explicit little-endian ones that describe native or losslessly coded pixels."""
    start, end = part
    if end - start > HEADER_BYTES_MAX:
        raise CannotWrite(f"there are more than {HEADER_BYTES_MAX} bytes beside the pixels")
    dataset.seek(start)
    elements = dataset.read(end - start)
    if layout.encoding.big_endian:
        elements = to_little_endian(elements)
    elif layout.encoding.implicit:
        elements = to_explicit(elements, signed=layout.description.is_signed)
    values = {PLANAR_CONFIGURATION: b"\0\0"}
    if layout.description.photometric_interpretation == "YBR_RCT":  # the decoder has undone it
        values[PHOTOMETRIC_INTERPRETATION] = b"RGB"
    return replace_values(elements, values)


def _in_target(elements: bytes, syntax: str) -> bytes:
    return to_implicit(elements) if syntax == IMPLICIT_LITTLE_ENDIAN else elements


def _pixel_head(layout: DatasetLayout, syntax: str, recipe: Recipe | None) -> bytes:
    pixels, image = layout.pixels, layout.description
    if pixels is None:
        return b""
    if pixels.length is None:
        length = image.frame_bytes * image.frames
        vr = recipe.pixel_vr if recipe is not None else "OB" if image.bits_allocated <= 8 else "OW"
    else:
        length, vr = native_length(layout, pixels), pixels.vr
    length += length % 2
    if syntax == IMPLICIT_LITTLE_ENDIAN:
        return implicit_head(pixels.tag, length)
    return explicit_head(pixels.tag, vr, length)


def _by_pixel(layout: DatasetLayout) -> PixelDescription:
    return replace(layout.description, planar_configuration=0) if layout.description.samples > 1 else layout.description


def _frames(pieces: Iterator[bytes], frame_bytes: int) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        rest += piece
        while len(rest) >= frame_bytes:
            yield rest[:frame_bytes]
            rest = rest[frame_bytes:]


def _decompress_lossy(file: BinaryIO, syntax: str, writer: Writer) -> None:
    """Decode a lossy image into RGB or grey; that it was compressed with loss stays written in it."""
    import pydicom
    from pydicom.uid import UID

    if syntax not in _NATIVE_TARGETS or size_of(file) > DECODED_AS_A_WHOLE_BYTES_MAX:
        raise CannotWrite(f"a lossy image of this size is not written in {syntax}")
    file.seek(0)
    try:
        dataset = pydicom.dcmread(file)
        dataset.decompress(as_rgb=True, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        made = io.BytesIO()
        dataset.save_as(made, implicit_vr=syntax == IMPLICIT_LITTLE_ENDIAN, little_endian=True)
    except Exception as exc:  # pydicom and its plugins raise whatever they like on damaged images
        raise CannotWrite(f"the lossy image cannot be decoded ({type(exc).__name__})") from exc
    writer.write(made.getvalue())
