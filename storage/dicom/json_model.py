"""The DICOM JSON model (PS3.18 Annex F) of an instance, from its file, without bulk data.

Text is UTF-8 whatever the object's own character set, so Specific Character Set reads ISO_IR 192 (PS3.18 section
F.2.2). A value that is no legal number stays a text. Never writes.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from storage.dicom.charsets import TEXT_VRS, CharacterSet, choose_character_set
from storage.dicom.elements import (
    IMPLICIT_LITTLE,
    ITEM,
    TRANSFER_SYNTAX_UID,
    US_OR_SS,
    Element,
    Encoding,
    detect_encoding,
    implicit_vr,
    items_encoding,
    open_dataset,
    read_elements,
    read_file_meta,
    read_items,
    read_value,
)

DicomJson = dict[str, Any]
BulkDataUri = Callable[[str], str | None]

INLINE_BYTES_MAX: Final = 1024  # a longer binary value is bulk data
TEXT_BYTES_MAX: Final = 16 * 1024 * 1024
SAMPLE_BYTES_MAX: Final = 16 * 1024
SPECIFIC_CHARACTER_SET: Final = 0x00080005
PIXEL_REPRESENTATION: Final = 0x00280103
PIXEL_DATA_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNKNOWN_CHARACTER_SET: Final = CharacterSet("", ("ascii",), None)

_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_WORD_BYTES: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UR", "UT"})
_FORMATS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_PERSON_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def instance_json(file: BinaryIO, *, bulk_data_uri: BulkDataUri | None = None) -> DicomJson:
    """Return every element of the dataset but its bulk data.

    `bulk_data_uri` gets the path of a long binary element, such as `7FE00010` or `54000100/0/54001010`, and returns
    its address or None; without an address the element has only its VR.

    Raises:
        NotDicom, DatasetTruncated: the file is not whole.
    """
    meta = read_file_meta(file)
    dataset, start, end = open_dataset(file, meta)
    try:
        encoding = detect_encoding(dataset, meta.text(TRANSFER_SYNTAX_UID), start)
        reader = _Reader(dataset, bulk_data_uri or (lambda _path: None))
        return reader.read_dataset(_Scope(encoding, start, end, "", 0, None, signed=False))
    finally:
        if dataset is not file:
            dataset.close()


@dataclass(frozen=True, slots=True)
class _Scope:
    """One dataset: the instance itself, or an item; what it inherits from the one around it."""

    encoding: Encoding
    start: int
    end: int
    path: str
    depth: int
    character_set: CharacterSet | None
    signed: bool


class _Reader:
    """Reads nested datasets of one file."""

    def __init__(self, file: BinaryIO, bulk_data_uri: BulkDataUri) -> None:
        self._file = file
        self._bulk_data_uri = bulk_data_uri

    def read_dataset(self, scope: _Scope) -> DicomJson:
        """Return the elements of one dataset in the order of their tags."""
        elements = [
            element
            for element in read_elements(self._file, scope.encoding, scope.start, scope.end, depth=scope.depth)
            if element.tag & 0xFFFF
        ]
        scope = self._with_own_settings(scope, elements)
        return {f"{element.tag:08X}": self._read_element(scope, element) for element in elements}

    def _with_own_settings(self, scope: _Scope, elements: list[Element]) -> _Scope:
        """Return the scope with the character set and pixel sign that this dataset itself declares."""
        declared: str | None = None
        signed = scope.signed
        for element in elements:
            if element.tag == SPECIFIC_CHARACTER_SET:
                declared = self._value(element).decode("ascii", "replace").strip(" \0")
            elif element.tag == PIXEL_REPRESENTATION:
                signed = self._value(element)[:2] not in (b"", b"\0\0")
        character_set = scope.character_set
        if character_set is None or declared is not None:
            character_set = choose_character_set(declared or "", self._samples(elements))
        return _Scope(scope.encoding, scope.start, scope.end, scope.path, scope.depth, character_set, signed=signed)

    def _samples(self, elements: list[Element]) -> list[bytes]:
        return [
            self._value(element)
            for element in elements
            if element.vr in TEXT_VRS and element.length is not None and element.length <= SAMPLE_BYTES_MAX
        ]

    def _read_element(self, scope: _Scope, element: Element) -> DicomJson:
        path = f"{scope.path}{element.tag:08X}"
        if element.tag == SPECIFIC_CHARACTER_SET:
            return {"vr": "CS", "Value": ["ISO_IR 192"]}
        vr, encoding = _resolve(scope, element)
        if vr == "SQ":
            return _with_values("SQ", self._read_items(scope, element, path))
        if vr in _BINARY_VRS or element.length is None:
            return self._read_binary(element, vr, encoding, path)
        raw = self._value(element)
        if vr == "AT":
            return _with_values("AT", _tags(raw, encoding))
        if vr in _FORMATS:
            return _with_values(vr, _numbers(raw, encoding.order, vr))
        return _with_values(vr, _texts(raw, vr, scope.character_set or UNKNOWN_CHARACTER_SET))

    def _read_items(self, scope: _Scope, element: Element, path: str) -> list[DicomJson]:
        inner = items_encoding(scope.encoding, element)
        spans = [
            (item.value_offset, item_end)
            for item, item_end in read_items(self._file, scope.encoding, element, scope.end, depth=scope.depth)
            if item.tag == ITEM
        ]
        return [
            self.read_dataset(
                _Scope(
                    inner, start, end, f"{path}/{number}/", scope.depth + 1, scope.character_set, signed=scope.signed
                )
            )
            for number, (start, end) in enumerate(spans)
        ]

    def _read_binary(self, element: Element, vr: str, encoding: Encoding, path: str) -> DicomJson:
        if element.length == 0:
            return {"vr": vr}
        if element.length is not None and element.length <= INLINE_BYTES_MAX and element.tag not in PIXEL_DATA_TAGS:
            value = self._value(element)
            if encoding.big_endian:
                value = _little_endian(value, _WORD_BYTES.get(vr, 1))
            return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
        uri = self._bulk_data_uri(path)
        return {"vr": vr} if uri is None else {"vr": vr, "BulkDataURI": uri}

    def _value(self, element: Element) -> bytes:
        return read_value(self._file, element, limit_bytes=TEXT_BYTES_MAX)


def _resolve(scope: _Scope, element: Element) -> tuple[str, Encoding]:
    """Return an element's true VR and how its value is written; UN of a known tag is implicit (PS3.5 section 6.2.2)."""
    if element.vr == "UN":
        vr = "SQ" if element.length is None else implicit_vr(element.tag)
        return vr, IMPLICIT_LITTLE
    if scope.signed and scope.encoding.implicit and element.tag in US_OR_SS:
        return "SS", scope.encoding
    return element.vr, scope.encoding


def _little_endian(value: bytes, word_bytes: int) -> bytes:
    return b"".join(value[start : start + word_bytes][::-1] for start in range(0, len(value), word_bytes))


def _with_values(vr: str, values: list[Any]) -> DicomJson:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _tags(raw: bytes, encoding: Encoding) -> list[str]:
    whole = raw[: len(raw) // 4 * 4]
    return [f"{group:04X}{number:04X}" for group, number in struct.iter_unpack(encoding.order + "HH", whole)]


def _numbers(raw: bytes, order: str, vr: str) -> list[float | int | str]:
    unpacker = struct.Struct(order + _FORMATS[vr])
    whole = raw[: len(raw) // unpacker.size * unpacker.size]
    return [_finite(number) for (number,) in unpacker.iter_unpack(whole)]


def _texts(raw: bytes, vr: str, character_set: CharacterSet) -> list[Any]:
    text = character_set.decode(raw)
    if not text:
        return []
    values = [text] if vr in _SINGLE_VALUED else [value.strip(" ") for value in text.split("\\")]
    if vr == "PN":
        return [_person_name(value) for value in values]
    if vr in ("DS", "IS"):
        return [_decimal(value, vr) for value in values]
    return [value or None for value in values]


def _person_name(value: str) -> dict[str, str] | None:
    groups = dict(zip(_PERSON_NAME_GROUPS, value.split("="), strict=False))
    return {name: group for name, group in groups.items() if group} or None


def _decimal(value: str, vr: str) -> float | int | str | None:
    if not value:
        return None
    try:
        return int(value) if vr == "IS" else _finite(float(value))
    except ValueError:
        return value


def _finite(number: float) -> float | int | str:
    """Return a number that JSON can hold, the others as text (PS3.18 section F.2.4)."""
    if isinstance(number, int) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "inf" if number > 0 else "-inf"
