"""The digest of an instance's pixels, whatever syntax they lie in: `pixel_sha256`.

It is SHA-256 over the native pixel bytes: frame after frame, whole allocated words (bits above Bits Stored too), little
endian, colour by pixel, without the padding at the end. It is kept in catalogues, so its meaning never changes. An
instance without pixel data has the digest of no bytes. There is none (None) for what is not decoded here: lossy
syntaxes, whose decoders differ in the last bits, video, and frames that their offset tables do not tell apart.
Reads; holds one frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex
from storage.dicom.elements import EXPLICIT_BIG_ENDIAN, Element, open_dataset, read_file_meta
from storage.dicom.structure import Structure
from storage.dicom.transcoding.codecs import LOSSLESS, FrameNotDecoded, decode, planes_to_pixels
from storage.dicom.transcoding.description import FRAME_BYTES_MAX, DatasetLayout, PixelDescription, read_dataset_layout
from storage.dicom.values import turn_words

CHUNK_BYTES: Final = 1024 * 1024  # a multiple of every word
NO_PIXELS: Final = Sha256Hex(hashlib.sha256(b"").hexdigest())
_SUBSAMPLED: Final = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})


def digest_pixels(file: BinaryIO, structure: Structure) -> Sha256Hex | None:
    """Return `pixel_sha256` of a Part 10 file whose structure `check_structure` found.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole.
    """
    meta = read_file_meta(file)
    dataset, start, end = open_dataset(file, meta)
    try:
        layout = read_dataset_layout(dataset, meta, start, end)
        if layout.pixels is None:
            return NO_PIXELS
        digest = hashlib.sha256()
        try:
            for piece in native_pieces(dataset, layout, layout.pixels, structure):
                digest.update(piece)
        except FrameNotDecoded:
            return None
        return Sha256Hex(digest.hexdigest())
    finally:
        if dataset is not file:
            dataset.close()


def decoded_frames(
    file: BinaryIO, structure: Structure, image: PixelDescription, transfer_syntax_uid: str, *, planar: bool = False
) -> Iterator[bytes]:
    """Yield the native little-endian frames of encapsulated pixel data, one at a time.

    Raises:
        FrameNotDecoded: a frame cannot be decoded, or where it lies is not known.
    """
    if len(structure.frames) != image.frames or not 0 < image.frame_bytes <= FRAME_BYTES_MAX:
        raise FrameNotDecoded("the frames are not told apart, or too large")
    for spans in structure.frames:
        yield decode(_read_spans(file, spans), transfer_syntax_uid, image, planar=planar)


def read_pieces(file: BinaryIO, offset: int, length: int, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield these bytes of the file in pieces of `size`."""
    while length > 0:
        file.seek(offset)
        piece = file.read(min(size, length))
        if not piece:
            raise FrameNotDecoded("the pixel data ends before its description does")
        offset += len(piece)
        length -= len(piece)
        yield piece


def native_pieces(file: BinaryIO, layout: DatasetLayout, pixels: Element, structure: Structure) -> Iterator[bytes]:
    """Yield the bytes over which `pixel_sha256` goes; encapsulated ones frame by frame.

    Raises:
        FrameNotDecoded: nothing here decodes them.
    """
    image, syntax = layout.description, layout.transfer_syntax_uid
    if pixels.length is None:
        if syntax not in LOSSLESS:
            raise FrameNotDecoded(f"transfer syntax {syntax} is not decoded")
        yield from decoded_frames(file, structure, image, syntax)
        return
    length = native_length(layout, pixels)
    is_by_plane = (
        image.samples > 1 and image.planar_configuration == 1 and image.photometric_interpretation not in _SUBSAMPLED
    )
    word_bytes = word_bytes_of(layout, pixels)
    size = CHUNK_BYTES
    if is_by_plane:
        size = image.frame_bytes
        if not 0 < size <= FRAME_BYTES_MAX:
            raise FrameNotDecoded("the frames are too large")
    rest = length
    # Where words are turned round the last one is needed whole, with the padding in it.
    whole = min(length + -length % word_bytes, pixels.length)
    for piece in read_pieces(file, pixels.value_offset, whole, size):
        words = turn_words(piece, word_bytes)[:rest] if word_bytes > 1 else piece
        rest -= len(words)
        yield planes_to_pixels(words, image) if is_by_plane else words


def native_length(layout: DatasetLayout, pixels: Element) -> int:
    """Return the bytes of native pixel data without padding, as they are described; all of them where they are not."""
    present = pixels.length or 0
    expected = (frame_bits(layout.description) * layout.description.frames + 7) // 8
    return expected if 0 < expected <= present else present


def frame_bits(image: PixelDescription) -> int:
    """Return the bits of one native frame, fewer where pixels share their chroma (PS3.3 section C.7.6.3.1.2)."""
    samples, shared_by = (3, 2) if image.photometric_interpretation == "YBR_PARTIAL_420" else (image.samples, 1)
    if image.photometric_interpretation in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        samples = 2
    return image.rows * image.columns * samples * image.bits_allocated // shared_by


def word_bytes_of(layout: DatasetLayout, pixels: Element) -> int:
    """Return how wide words are turned round, as PS3.5 section 8.1.1 and annex A.3 write them; 1 for not at all."""
    if layout.transfer_syntax_uid != EXPLICIT_BIG_ENDIAN or pixels.vr == "OB":
        return 1
    wide = {"OF": 4, "OD": 8}.get(pixels.vr, 0)
    return wide or max(layout.description.bits_allocated // 8, 2 if pixels.vr == "OW" else 1)


def _read_spans(file: BinaryIO, spans: tuple[tuple[int, int], ...]) -> bytes:
    pieces = []
    for offset, length in spans:
        if length > 2 * FRAME_BYTES_MAX:
            raise FrameNotDecoded("a frame is too large")
        file.seek(offset)
        pieces.append(file.read(length))
    return b"".join(pieces)
