"""Elements written the other way: implicit little endian as explicit, and back (PS3.5 sections 7.1.2 and 7.1.3).

Values are carried over byte for byte, those of big-endian files with the bytes of their words turned; else only heads
change, and with them the lengths of sequences and items that are
given. What the dictionary does not know becomes UN, whose items of undefined length stay implicit (PS3.5 section
6.2.2), as does a value that is too long for the short form. Way back these are told from sequences by their VR.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import Final

from storage.dicom.elements import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    LONG_VRS,
    UNDEFINED_LENGTH,
    US_OR_SS,
    Element,
    Encoding,
    end_of,
    read_elements,
    read_items,
)
from storage.dicom.values import WORD_BYTES, turn_words

SHORT_BYTES_MAX: Final = 0xFFFF
_ITEM_END: Final = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

Head = Callable[[Element, int | None], bytes]
Value = Callable[[Element, bytes], bytes]


def to_explicit(elements: bytes, *, signed: bool) -> bytes:
    """Return implicit elements as explicit ones.

    `signed` says whether Pixel Representation is 1: elements that the dictionary has as US or SS follow it.

    Raises:
        NotDicom, DatasetTruncated: the bytes are not whole elements.
    """

    def head(element: Element, length: int | None) -> bytes:
        vr = "SS" if signed and element.tag in US_OR_SS else element.vr
        return explicit_head(element.tag, vr, length)

    return _rewrite(io.BytesIO(elements), IMPLICIT_LITTLE, 0, len(elements), head, 0)


def to_implicit(elements: bytes) -> bytes:
    """Return explicit elements as implicit ones.

    Raises:
        NotDicom, DatasetTruncated: the bytes are not whole elements.
    """
    return _rewrite(io.BytesIO(elements), EXPLICIT_LITTLE, 0, len(elements), _implicit_head, 0)


def to_little_endian(elements: bytes) -> bytes:
    """Return explicit big-endian elements as explicit little-endian ones.

    Raises:
        NotDicom, DatasetTruncated: the bytes are not whole elements.
    """

    def head(element: Element, length: int | None) -> bytes:
        return explicit_head(element.tag, element.vr, length)

    def value(element: Element, raw: bytes) -> bytes:
        return turn_words(raw, WORD_BYTES.get(element.vr, 1))

    return _rewrite(io.BytesIO(elements), Encoding(big_endian=True), 0, len(elements), head, 0, value)


def replace_values(elements: bytes, values: Mapping[int, bytes]) -> bytes:
    """Return explicit little-endian elements with other values at their top level, each as long as the one it replaces.

    Raises:
        NotDicom, DatasetTruncated: the bytes are not whole elements.
    """
    changed = bytearray(elements)
    for element in read_elements(io.BytesIO(elements), EXPLICIT_LITTLE, 0, len(elements)):
        value = values.get(element.tag)
        if value is not None and element.length is not None:
            changed[element.value_offset : element.value_offset + element.length] = value.ljust(element.length)
    return bytes(changed)


def explicit_head(tag: int, vr: str, length: int | None) -> bytes:
    """Return the head of an explicit element; UN when its value is too long for the VR's short form."""
    if vr not in LONG_VRS and (length is None or length > SHORT_BYTES_MAX):
        vr = "UN"
    name = vr.encode("latin-1")
    if vr in LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, name, 0, _written(length))
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, name, length)


def implicit_head(tag: int, length: int | None) -> bytes:
    """Return the head of an implicit element."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, _written(length))


def _implicit_head(element: Element, length: int | None) -> bytes:
    return implicit_head(element.tag, length)


def _as_it_is(_element: Element, raw: bytes) -> bytes:
    return raw


def _rewrite(
    file: io.BytesIO, encoding: Encoding, start: int, end: int, head: Head, depth: int, value: Value = _as_it_is
) -> bytes:
    pieces: list[bytes] = []
    for element in read_elements(file, encoding, start, end, depth=depth):
        if element.vr == "SQ":
            pieces.append(_rewrite_sequence(file, encoding, element, end, head, depth, value))
            continue
        value_end = end_of(file, encoding, element, end, depth=depth)
        pieces.append(head(element, element.length))
        pieces.append(value(element, file.getbuffer()[element.value_offset : value_end].tobytes()))
    return b"".join(pieces)


def _rewrite_sequence(
    file: io.BytesIO, encoding: Encoding, element: Element, end: int, head: Head, depth: int, value: Value
) -> bytes:
    items: list[bytes] = []
    for item, item_end in read_items(file, encoding, element, end, depth=depth):
        if item.tag != ITEM:
            continue
        body = _rewrite(file, encoding, item.value_offset, item_end, head, depth + 1, value)
        length = None if item.length is None else len(body)
        items.append(implicit_head(ITEM, length) + body + (_ITEM_END if length is None else b""))
    content = b"".join(items)
    if element.length is None:
        return head(element, None) + content + _SEQUENCE_END
    return head(element, len(content)) + content


def _written(length: int | None) -> int:
    return UNDEFINED_LENGTH if length is None else length
