"""Whether two instances have the same element values, however they are written: the digest `values_sha256`.

The format is `counterpart-values/1`; digests are kept in catalogues, so it never changes: another rule is another
number. It is SHA-256 over FORMAT_LINE, then over the elements of the dataset in the order in which they stand. Each is

* a value: tag (4 bytes, big endian), `V`, length (8 bytes, big endian), the value in little endian;
* a sequence: tag, `S`, then for each item `I`, its elements, `i`, and at last `s`; without items it is an empty value;
* pixel data of undefined length inside an item: tag, `F`, then for each fragment `f`, length, bytes, and at last `s`.

Left out are group lengths, data set trailing padding, and of the instance itself (not of items) what a lossless change
of transfer syntax may change: pixel data with its offset tables and lengths, Photometric Interpretation and Planar
Configuration. `pixel_sha256` (storage.dicom.transcoding.pixels) covers the pixels.

What is a sequence: VR SQ, an element of undefined length, and UN whose bytes begin with an item's tag and are items to
their end (private sequences arrive so in implicit files). A value of a VR whose padding means nothing (PS3.5 section
6.2) is taken without trailing spaces and NULs. Its VR is the data dictionary's; a private value is taken whole.
In big-endian files words are turned round as wide as the VR that is written there.
"""

from __future__ import annotations

import hashlib
import struct
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex
from storage.dicom.elements import (
    ITEM,
    TRANSFER_SYNTAX_UID,
    DatasetTruncated,
    Element,
    Encoding,
    NotDicom,
    detect_encoding,
    implicit_vr,
    items_encoding,
    open_dataset,
    read_elements,
    read_file_meta,
    read_items,
    read_value,
)
from storage.dicom.structure import PIXEL_DATA_TAGS

FORMAT_LINE: Final = b"counterpart-values/1\n"
TRIMMED_BYTES_MAX: Final = 64 * 1024 * 1024  # text longer than this has no digest

_CHUNK_BYTES: Final = 1024 * 1024  # a multiple of every word
_PIXEL_GROUP: Final = 0x7FE00000
_LEFT_OUT: Final = frozenset({0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00003}) | PIXEL_DATA_TAGS
_TRAILING_PADDING: Final = 0xFFFCFFFC
_PADDED: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
WORD_BYTES: Final = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "OL", "FL", "OF"), 4),
    **dict.fromkeys(("UV", "SV", "OV", "FD", "OD"), 8),
}
_ITEM_TAG: Final = b"\xfe\xff\x00\xe0"


def digest_values(file: BinaryIO) -> Sha256Hex:
    """Return `values_sha256` of a Part 10 file.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole, or a text is longer than TRIMMED_BYTES_MAX.
    """
    meta = read_file_meta(file)
    dataset, start, end = open_dataset(file, meta)
    try:
        encoding = detect_encoding(dataset, meta.text(TRANSFER_SYNTAX_UID), start)
        digester = _Digester(dataset)
        digester.add_dataset(encoding, start, end, depth=0)
        return digester.sha256()
    finally:
        if dataset is not file:
            dataset.close()


class _Digester:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256(FORMAT_LINE)

    def sha256(self) -> Sha256Hex:
        return Sha256Hex(self._digest.hexdigest())

    def add_dataset(self, encoding: Encoding, start: int, end: int, *, depth: int) -> None:
        for element in read_elements(self._file, encoding, start, end, depth=depth):
            tag = element.tag
            if tag & 0xFFFF == 0 or tag == _TRAILING_PADDING or (depth == 0 and tag in _LEFT_OUT):
                continue
            if self._holds_fragments(element):
                self._add_fragments(encoding, element, end)
            elif self._is_sequence(encoding, element, depth):
                self._add_sequence(encoding, element, end, depth)
            else:
                self._add_value(encoding, element)

    def _holds_fragments(self, element: Element) -> bool:
        return element.length is None and element.tag in PIXEL_DATA_TAGS and element.vr not in ("SQ", "UN")

    def _is_sequence(self, encoding: Encoding, element: Element, depth: int) -> bool:
        if element.vr == "SQ" or element.length is None:
            return True
        if element.vr != "UN" or element.length < 8:
            return False
        self._file.seek(element.value_offset)
        if self._file.read(4) != _ITEM_TAG:
            return False
        try:
            self._walk(encoding, element, element.value_offset + element.length, depth)
        except (NotDicom, DatasetTruncated):
            return False
        return True

    def _walk(self, encoding: Encoding, element: Element, end: int, depth: int) -> None:
        """Go over every element of the items; raises when they are none."""
        inner = items_encoding(encoding, element)
        for item, item_end in read_items(self._file, encoding, element, end, depth=depth):
            if item.tag == ITEM:
                for _ in read_elements(self._file, inner, item.value_offset, item_end, depth=depth + 1):
                    pass

    def _add_sequence(self, encoding: Encoding, element: Element, end: int, depth: int) -> None:
        inner = items_encoding(encoding, element)
        items = read_items(self._file, encoding, element, end, depth=depth)
        spans = [(item.value_offset, item_end) for item, item_end in items if item.tag == ITEM]
        if not spans:
            self._digest.update(struct.pack(">IcQ", element.tag, b"V", 0))
            return
        self._digest.update(struct.pack(">I", element.tag) + b"S")
        for start, item_end in spans:
            self._digest.update(b"I")
            self.add_dataset(inner, start, item_end, depth=depth + 1)
            self._digest.update(b"i")
        self._digest.update(b"s")

    def _add_fragments(self, encoding: Encoding, element: Element, end: int) -> None:
        self._digest.update(struct.pack(">I", element.tag) + b"F")
        for item, _ in read_items(self._file, encoding, element, end):
            if item.tag == ITEM:
                self._digest.update(b"f" + struct.pack(">Q", item.length or 0))
                self._add_bytes(item.value_offset, item.length or 0, 1)
        self._digest.update(b"s")

    def _add_value(self, encoding: Encoding, element: Element) -> None:
        length = element.length or 0
        if _meaning(element) in _PADDED:
            value = read_value(self._file, element, limit_bytes=TRIMMED_BYTES_MAX).rstrip(b" \0")
            self._digest.update(struct.pack(">IcQ", element.tag, b"V", len(value)) + value)
            return
        self._digest.update(struct.pack(">IcQ", element.tag, b"V", length))
        self._add_bytes(element.value_offset, length, WORD_BYTES.get(element.vr, 1) if encoding.big_endian else 1)

    def _add_bytes(self, offset: int, length: int, word_bytes: int) -> None:
        self._file.seek(offset)
        while length > 0:
            chunk = self._file.read(min(_CHUNK_BYTES, length))
            if not chunk:
                raise DatasetTruncated(f"the dataset ends {length} bytes before a value does")
            length -= len(chunk)
            self._digest.update(chunk if word_bytes == 1 else turn_words(chunk, word_bytes))


def turn_words(value: bytes, word_bytes: int) -> bytes:
    """Return the value with every word's bytes in the other order; a rest shorter than a word stays as it is."""
    whole = len(value) // word_bytes * word_bytes
    turned = bytearray(value)
    for place in range(word_bytes):
        turned[place:whole:word_bytes] = value[word_bytes - 1 - place : whole : word_bytes]
    return bytes(turned)


def _meaning(element: Element) -> str:
    """Return the VR by which padding is judged: the same whether the file is implicit or explicit."""
    is_private = bool(element.tag >> 16 & 1)
    return "UN" if is_private else implicit_vr(element.tag)
