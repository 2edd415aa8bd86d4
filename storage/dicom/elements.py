"""Data elements of a Part 10 file, found without loading their values (PS3.5 section 7, PS3.10 section 7).

Why not pydicom: the gateway must know where each value lies and whether all of it is there, must see text before any
character set is applied to it, and must not hold pixel data in memory. Nothing here interprets a value. Pure but for
the file it reads.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, NamedTuple, cast

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

NESTING_MAX: Final = 32
INFLATED_BYTES_MAX: Final = 2 * 1024**3
INFLATED_IN_MEMORY_BYTES_MAX: Final = 8 * 1024**2
_INFLATE_CHUNK_BYTES: Final = 256 * 1024

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
TRANSFER_SYNTAX_UID: Final = 0x00020010

_PREAMBLE_BYTES: Final = 128
LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_VRS: Final = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM"}
    | {"UI", "UL", "US"}
)
_SHORT_FORMS: Final = {vr.encode("ascii"): vr for vr in _SHORT_VRS}
_LONG_FORMS: Final = {vr.encode("ascii"): vr for vr in LONG_VRS}
_SHORT_HEAD: Final = struct.Struct("<HH2sH")
_LENGTH: Final = struct.Struct("<I")
_HEAD_BYTES_MAX: Final = 12
_BLOCK_BYTES: Final = 4096
# In implicit files, elements whose sign follows Pixel Representation (PS3.5 section A.1).
US_OR_SS: Final = frozenset(
    {0x00189810, 0x00221452, 0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110}
    | {0x00280111, 0x00280120, 0x00280121, 0x00281101, 0x00281102, 0x00281103, 0x00283002, 0x00409211, 0x00409216}
)
_AMBIGUOUS: Final = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW", "US or SS": "US"}
_META_VALUE_BYTES_MAX: Final = 64 * 1024


class NotDicom(Exception):
    """The bytes are not a DICOM Part 10 file; the message says where they stop being one."""


class DatasetTruncated(Exception):
    """The dataset ends in the middle of an element; the message names the element and the bytes missing."""


class Element(NamedTuple):
    """Where one element lies; `length` is None when it is undefined. `at_hand` is its value where it was read along."""

    tag: int
    vr: str
    offset: int  # of the tag
    value_offset: int
    length: int | None
    at_hand: bytes | None = None


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written."""

    implicit: bool = False
    big_endian: bool = False

    @property
    def order(self) -> str:
        """The byte-order character of `struct`."""
        return ">" if self.big_endian else "<"


EXPLICIT_LITTLE: Final = Encoding()
IMPLICIT_LITTLE: Final = Encoding(implicit=True)


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file meta group says; `values` are raw by tag, `dataset_offset` is where the dataset begins."""

    dataset_offset: int
    values: dict[int, bytes]

    def text(self, tag: int) -> str:
        """Return a value without padding, empty when it is absent."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return how a transfer syntax writes elements: all but two are explicit little endian (PS3.5 section 10)."""
    return Encoding(
        implicit=transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN,
        big_endian=transfer_syntax_uid == EXPLICIT_BIG_ENDIAN,
    )


def detect_encoding(file: BinaryIO, transfer_syntax_uid: str, start: int) -> Encoding:
    """Return how the dataset at `start` is really written.

    Some writers name an explicit transfer syntax and write implicit elements; every reader of the field copes.
    """
    declared = encoding_of(transfer_syntax_uid)
    file.seek(start)
    head = file.read(8)
    if (
        declared.implicit
        or declared.big_endian
        or len(head) < 8
        or head[4:6].decode("latin-1") in LONG_VRS | _SHORT_VRS
    ):
        return declared
    length = int.from_bytes(head[4:8], "little")
    return IMPLICIT_LITTLE if start + 8 + length <= size_of(file) else declared


def tag_text(tag: int) -> str:
    """Return a tag as people write it, `(7FE0,0010)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def size_of(file: BinaryIO) -> int:
    """Return the file's length in bytes."""
    return file.seek(0, io.SEEK_END)


def read_file_meta(file: BinaryIO) -> FileMeta:
    """Return the file meta group (PS3.10 section 7.1), with or without its group length.

    Raises:
        NotDicom: no `DICM` prefix, or no transfer syntax.
    """
    file.seek(_PREAMBLE_BYTES)
    if file.read(4) != b"DICM":
        raise NotDicom("the file has no DICM prefix")
    end = size_of(file)
    values: dict[int, bytes] = {}
    offset = _PREAMBLE_BYTES + 4
    if _group_at(file, offset) == 2:
        for element in read_elements(file, EXPLICIT_LITTLE, offset, end):
            values[element.tag] = read_value(file, element, limit_bytes=_META_VALUE_BYTES_MAX)
            offset = element.value_offset + len(values[element.tag])
            if _group_at(file, offset) != 2:
                break
    meta = FileMeta(offset, values)
    if not meta.text(TRANSFER_SYNTAX_UID):
        raise NotDicom("the file meta group names no transfer syntax")
    return meta


def open_dataset(file: BinaryIO, meta: FileMeta) -> tuple[BinaryIO, int, int]:
    """Return the file in which the dataset lies, and its start and end there; a deflated one is inflated first.

    The caller closes the returned file when it is not `file` itself.

    Raises:
        DatasetTruncated: the deflated stream does not end.
        NotDicom: it is no deflated stream, or larger than INFLATED_BYTES_MAX.
    """
    if meta.text(TRANSFER_SYNTAX_UID) not in DEFLATED:
        return file, meta.dataset_offset, size_of(file)
    inflated = _inflate(file, meta.dataset_offset)
    return inflated, 0, size_of(inflated)


def read_elements(file: BinaryIO, encoding: Encoding, start: int, end: int, *, depth: int = 0) -> Iterator[Element]:
    """Yield the elements between two offsets, or up to the delimiter of the item they are in.

    The consumer may move the file's position as it likes. An element is yielded before it is known to be whole;
    going on to the next one proves it.

    Raises:
        DatasetTruncated: an element reaches beyond `end`.
        NotDicom: the bytes are no elements, or nested deeper than NESTING_MAX.
    """
    offset = base = start
    block = b""
    while offset < end:
        if offset + _HEAD_BYTES_MAX > base + len(block):
            file.seek(offset)
            block, base = file.read(min(_BLOCK_BYTES, end - offset)), offset
        element = _find_in_block(block, offset - base, offset, encoding) or read_element(file, encoding, offset, end)
        if element.tag == ITEM_END:
            return
        yield element
        if element.length is not None and element.value_offset + element.length <= end:
            offset = element.value_offset + element.length
        else:
            offset = end_of(file, encoding, element, end, depth=depth)


def read_element(file: BinaryIO, encoding: Encoding, offset: int, end: int) -> Element:
    """Return the element whose tag is at `offset`; its value is not looked at."""
    file.seek(offset)
    head = file.read(min(12, end - offset))
    if len(head) < 8:
        raise DatasetTruncated(f"the dataset ends inside the head of an element at byte {offset}")
    group, number = struct.unpack_from(encoding.order + "HH", head)
    tag = group << 16 | number
    if group == 0xFFFE or encoding.implicit:
        (length,) = struct.unpack_from(encoding.order + "I", head, 4)
        vr = "" if group == 0xFFFE else implicit_vr(tag)
        return Element(tag, vr, offset, offset + 8, _defined(length))
    vr = head[4:6].decode("latin-1")
    if vr not in _SHORT_VRS and (vr in LONG_VRS or _looks_long(vr, head, tag)):
        if len(head) < 12:
            raise DatasetTruncated(f"the dataset ends inside the head of element {tag_text(tag)}")
        (length,) = struct.unpack_from(encoding.order + "I", head, 8)
        return Element(tag, vr, offset, offset + 12, _defined(length))
    (length,) = struct.unpack_from(encoding.order + "H", head, 6)
    return Element(tag, vr, offset, offset + 8, length)


def _find_in_block(block: bytes, at: int, offset: int, encoding: Encoding) -> Element | None:
    """Return the element at this place of the block, None when it is none of the common forms: `read_element` decides.

    Headers are read for every instance that arrives, and most of their elements look like this.
    """
    if encoding.big_endian or at + _HEAD_BYTES_MAX > len(block):
        return None
    group, number, raw_vr, length = _SHORT_HEAD.unpack_from(block, at)
    if group == 0xFFFE:
        return None
    tag = group << 16 | number
    if encoding.implicit:
        (length,) = _LENGTH.unpack_from(block, at + 4)
        vr, head_bytes = implicit_vr(tag), 8
    elif raw_vr in _SHORT_FORMS:
        vr, head_bytes = _SHORT_FORMS[raw_vr], 8
    elif raw_vr in _LONG_FORMS:
        (length,) = _LENGTH.unpack_from(block, at + 8)
        vr, head_bytes = _LONG_FORMS[raw_vr], 12
    else:
        return None
    at += head_bytes
    at_hand = block[at : at + length] if at + length <= len(block) else None
    return Element(tag, vr, offset, offset + head_bytes, _defined(length), at_hand)


def end_of(file: BinaryIO, encoding: Encoding, element: Element, end: int, *, depth: int = 0) -> int:
    """Return where the element ends, walking its items when its length is undefined.

    Raises:
        DatasetTruncated: the element reaches beyond `end`.
    """
    if element.length is not None:
        present = end - element.value_offset
        if element.length > present:
            raise DatasetTruncated(
                f"the dataset ends inside element {tag_text(element.tag)}: "
                f"{element.length} bytes declared, {present} present"
            )
        return element.value_offset + element.length
    last = element.value_offset
    for item, item_end in read_items(file, encoding, element, end, depth=depth):
        last = item.value_offset if item.tag == SEQUENCE_END else item_end
    return last


def read_items(
    file: BinaryIO, encoding: Encoding, element: Element, end: int, *, depth: int = 0
) -> Iterator[tuple[Element, int]]:
    """Yield each item of a sequence or of encapsulated pixel data with its end, the closing delimiter last.

    Raises:
        DatasetTruncated: the sequence does not end, or an item reaches beyond it.
        NotDicom: something else than an item stands in a sequence.
    """
    if depth >= NESTING_MAX:
        raise NotDicom(f"sequences are nested more than {NESTING_MAX} deep")
    inner = items_encoding(encoding, element)
    limit = end if element.length is None else element.value_offset + element.length
    offset = element.value_offset
    while offset < limit:
        item = read_element(file, inner, offset, limit)
        if item.tag == SEQUENCE_END and element.length is None:
            yield item, item.value_offset
            return
        if item.tag != ITEM:
            raise NotDicom(f"element {tag_text(element.tag)} holds something that is not an item, at byte {offset}")
        offset = _end_of_item(file, inner, element, item, limit, depth)
        yield item, offset
    if element.length is None:
        raise DatasetTruncated(f"the dataset ends inside element {tag_text(element.tag)}: its end is missing")


def items_encoding(encoding: Encoding, element: Element) -> Encoding:
    """Return how a sequence's items are written: those of UN are implicit little endian (PS3.5 section 6.2.2)."""
    return IMPLICIT_LITTLE if element.vr == "UN" else encoding


def read_value(file: BinaryIO, element: Element, *, limit_bytes: int) -> bytes:
    """Return the raw value, whole.

    Raises:
        DatasetTruncated: bytes of it are missing.
        NotDicom: it is longer than `limit_bytes` or of undefined length.
    """
    if element.length is None or element.length > limit_bytes:
        raise NotDicom(f"element {tag_text(element.tag)} is longer than {limit_bytes} bytes")
    if element.at_hand is not None:
        return element.at_hand
    file.seek(element.value_offset)
    value = file.read(element.length)
    if len(value) < element.length:
        raise DatasetTruncated(
            f"the dataset ends inside element {tag_text(element.tag)}: "
            f"{element.length} bytes declared, {len(value)} present"
        )
    return value


@lru_cache(maxsize=4096)
def implicit_vr(tag: int) -> str:
    """Return the VR of a tag from the dictionary: LO for a private creator, UN for what is not in it."""
    from pydicom.datadict import dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return _AMBIGUOUS.get(vr, vr)


def _group_at(file: BinaryIO, offset: int) -> int:
    file.seek(offset)
    return int.from_bytes(file.read(2), "little")


def _defined(length: int) -> int | None:
    return None if length == UNDEFINED_LENGTH else length


def _looks_long(vr: str, head: bytes, tag: int) -> bool:
    """Return whether an unknown VR has the long form: new ones do (PS3.5 section 7.1.2), old writers' bad ones not."""
    if not all(" " <= character <= "~" or character == "\0" for character in vr):
        raise NotDicom(f"element {tag_text(tag)} has no value representation")
    return vr.isalpha() and vr.isupper() and head[6:8] == b"\0\0" and len(head) == 12


def _end_of_item(file: BinaryIO, encoding: Encoding, parent: Element, item: Element, limit: int, depth: int) -> int:
    if item.length is not None:
        present = limit - item.value_offset
        if item.length > present:
            raise DatasetTruncated(
                f"the dataset ends inside element {tag_text(parent.tag)}: "
                f"{item.length} bytes declared in an item, {present} present"
            )
        return item.value_offset + item.length
    offset = item.value_offset
    while offset < limit:
        element = read_element(file, encoding, offset, limit)
        if element.tag == ITEM_END:
            return element.value_offset
        offset = end_of(file, encoding, element, limit, depth=depth + 1)
    raise DatasetTruncated(f"the dataset ends inside element {tag_text(parent.tag)}: the end of an item is missing")


def _inflate(file: BinaryIO, offset: int) -> BinaryIO:
    file.seek(offset)
    inflated = SpooledTemporaryFile(max_size=INFLATED_IN_MEMORY_BYTES_MAX)  # noqa: SIM115 -- the caller closes it
    try:
        for piece in _inflated_pieces(file):
            inflated.write(piece)
    except BaseException:
        inflated.close()
        raise
    return cast("BinaryIO", inflated)


def _inflated_pieces(file: BinaryIO) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    while not inflater.eof:
        chunk = inflater.unconsumed_tail or file.read(_INFLATE_CHUNK_BYTES)
        try:
            piece = inflater.decompress(chunk, _INFLATE_CHUNK_BYTES)
        except zlib.error as exc:
            raise NotDicom("the dataset is not a deflated stream") from exc
        if not chunk and not piece:
            raise DatasetTruncated("the deflated dataset ends before its stream does")
        total += len(piece)
        if total > INFLATED_BYTES_MAX:
            raise NotDicom(f"the inflated dataset is larger than {INFLATED_BYTES_MAX} bytes")
        yield piece
