"""What a DICOMDIR says of one instance: the keys of its directory records (PS3.3 annex F.5), taken as they stand.

Values are copied byte by byte, with the instance's own character set beside them: nothing is decoded, so that a wrong
one goes out as it came in. Only a key that must not be empty and is gets a value that says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from storage.dicom.elements import (
    LONG_VRS,
    TRANSFER_SYNTAX_UID,
    UNDEFINED_LENGTH,
    DatasetTruncated,
    Element,
    Encoding,
    NotDicom,
    detect_encoding,
    end_of,
    open_dataset,
    read_elements,
    read_file_meta,
    read_items,
)

UNREADABLE: Final = (NotDicom, DatasetTruncated)
VALUE_BYTES_MAX: Final = 16 * 1024  # a longer value is no key
SEQUENCE_BYTES_MAX: Final = 64 * 1024
# Written here, for `storage.dicom.headers` loads what decodes text, and nothing is decoded here.
CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
ROWS: Final = 0x00280010
PIXEL_DATA_GROUP: Final = 0x7FE00000
CONTENT_SEQUENCE: Final = 0x0040A730
RELATIONSHIP: Final = 0x0040A010
MODIFIER: Final = b"HAS CONCEPT MOD"

Keys = Mapping[int, tuple[str, bytes]]  # tag → VR, and what stands for a value that is missing and must not be

PATIENT: Final[Keys] = {0x00100010: ("PN", b""), 0x00100020: ("LO", b"UNKNOWN")}
STUDY: Final[Keys] = {
    0x00080020: ("DA", b"19000101"),
    0x00080030: ("TM", b"000000"),
    0x00080050: ("SH", b""),
    0x00081030: ("LO", b""),
    0x0020000D: ("UI", b""),
    0x00200010: ("SH", b"0"),
}
SERIES: Final[Keys] = {0x00080060: ("CS", b"OT"), 0x0020000E: ("UI", b""), 0x00200011: ("IS", b"0")}

_NUMBER: Final[Keys] = {0x00200013: ("IS", b"0")}
_CONTENT_TIME: Final[Keys] = {0x00080023: ("DA", b"19000101"), 0x00080033: ("TM", b"000000")}
_CONCEPT: Final[Keys] = {0x0040A043: ("SQ", b"")}
_LABELLED: Final[Keys] = {0x00700080: ("CS", b"UNNAMED"), 0x00700081: ("LO", b""), 0x00700084: ("PN", b"")}
_LEAVES: Final[Mapping[str, Keys]] = {
    "IMAGE": _NUMBER,
    "SR DOCUMENT": {
        **_NUMBER,
        **_CONTENT_TIME,
        **_CONCEPT,
        0x0040A491: ("CS", b"PARTIAL"),
        0x0040A493: ("CS", b"UNVERIFIED"),
        CONTENT_SEQUENCE: ("SQ", b""),
    },
    "KEY OBJECT DOC": {**_NUMBER, **_CONTENT_TIME, **_CONCEPT, CONTENT_SEQUENCE: ("SQ", b"")},
    "PRESENTATION": {
        **_NUMBER,
        **_LABELLED,
        0x00081115: ("SQ", b""),
        0x00700082: ("DA", b"19000101"),
        0x00700083: ("TM", b"000000"),
    },
    "ENCAP DOC": {
        **_NUMBER,
        **_CONCEPT,
        0x00080023: ("DA", b""),
        0x00080033: ("TM", b""),
        0x00420010: ("ST", b""),
        0x00420012: ("LO", b"application/octet-stream"),
    },
    "WAVEFORM": {**_NUMBER, **_CONTENT_TIME},
    "RAW DATA": {**_NUMBER, **_CONTENT_TIME},
    "VALUE MAP": {**_NUMBER, **_CONTENT_TIME, **_LABELLED},
    "RT DOSE": {**_NUMBER, 0x3004000A: ("CS", b"PLAN")},
    "RT STRUCTURE SET": {
        **_NUMBER,
        0x30060002: ("SH", b"UNNAMED"),
        0x30060008: ("DA", b""),
        0x30060009: ("TM", b""),
    },
    "RT PLAN": {**_NUMBER, 0x300A0002: ("SH", b"UNNAMED"), 0x300A0006: ("DA", b""), 0x300A0007: ("TM", b"")},
}
_EMPTY_TOO: Final = frozenset(  # keys that stand there without a value (type 2); any other empty one is left out
    {0x00100010, 0x00080050, 0x00081030, 0x00700081, 0x00700084, 0x00420010}
)
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_KIND_BY_CLASS: Final = {
    _STORAGE + "88.59": "KEY OBJECT DOC",
    _STORAGE + "66": "RAW DATA",
    _STORAGE + "67": "VALUE MAP",
    _STORAGE + "481.2": "RT DOSE",
    _STORAGE + "481.3": "RT STRUCTURE SET",
    _STORAGE + "481.5": "RT PLAN",
}
_KIND_BY_FAMILY: Final = (
    (_STORAGE + "88.", "SR DOCUMENT"),
    (_STORAGE + "11.", "PRESENTATION"),
    (_STORAGE + "104.", "ENCAP DOC"),
    (_STORAGE + "9.", "WAVEFORM"),
)
_EVERY: Final = {
    **PATIENT,
    **STUDY,
    **SERIES,
    **{tag: key for keys in _LEAVES.values() for tag, key in keys.items()},
}
_WANTED: Final = frozenset(_EVERY) | {CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, ROWS}


@dataclass(frozen=True, slots=True)
class Described:
    """One instance for a DICOMDIR: raw values by tag; `kind` is None when there is no record for its class."""

    values: Mapping[int, bytes]
    sequences: Mapping[int, bytes]
    transfer_syntax_uid: str
    kind: str | None

    def uid(self, tag: int) -> str:
        """Return a UID as text."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def record(self, keys: Keys) -> bytes:
        """Return the keys as elements, in the order of their tags, the character set before them."""
        written = {CHARACTER_SET: self._written(CHARACTER_SET, "CS", b"")}
        for tag, (vr, otherwise) in keys.items():
            written[tag] = self._written(tag, vr, otherwise)
        return b"".join(written[tag] for tag in sorted(written))

    def leaf(self) -> bytes:
        """Return the keys of the record of the instance itself."""
        return b"" if self.kind is None else self.record(_LEAVES[self.kind])

    def in_syntax_of(self, other: Described) -> Described:
        """Return the same keys for a file that is written in the syntax of another one."""
        return replace(self, transfer_syntax_uid=other.transfer_syntax_uid)

    def _written(self, tag: int, vr: str, otherwise: bytes) -> bytes:
        if vr == "SQ":
            return self.sequences.get(tag, b"")
        value = self.values.get(tag, b"")
        if not value.strip(b" \0"):
            value = otherwise
        return element(tag, vr, value) if value or tag in _EMPTY_TOO else b""


def describe(file: BinaryIO) -> Described:
    """Return what a DICOMDIR says of a Part 10 file.

    Raises:
        NotDicom, DatasetTruncated: it cannot be read.
    """
    meta = read_file_meta(file)
    syntax = meta.text(TRANSFER_SYNTAX_UID)
    opened, start, end = open_dataset(file, meta)
    values: dict[int, bytes] = {}
    sequences: dict[int, bytes] = {}
    try:
        encoding = detect_encoding(opened, syntax, start)
        for found in read_elements(opened, encoding, start, end):
            if found.tag >= PIXEL_DATA_GROUP:
                break
            if found.tag not in _WANTED:
                continue
            if found.tag in _EVERY and _EVERY[found.tag][0] == "SQ":
                sequences[found.tag] = _sequence(opened, encoding, found, end)
            elif found.length is not None and found.length <= VALUE_BYTES_MAX:
                opened.seek(found.value_offset)
                values[found.tag] = opened.read(found.length)
    finally:
        if opened is not file:
            opened.close()
    return Described(values, sequences, syntax, _kind_of(values))


def needs_explicit_form(file: BinaryIO) -> bool:
    """Return whether the keys of the instance can be taken only from its form in Explicit VR Little Endian.

    Those of documents and presentations are sequences, which a DICOMDIR writes so; images have none.
    """
    meta = read_file_meta(file)
    encoding = detect_encoding(file, meta.text(TRANSFER_SYNTAX_UID), meta.dataset_offset)
    if not (encoding.implicit or encoding.big_endian):
        return False
    kind = describe(file).kind
    return kind is not None and any(vr == "SQ" for vr, _ in _LEAVES[kind].values())


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian (PS3.5 section 7.1.2), padded to even length."""
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    if vr in LONG_VRS:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _kind_of(values: Mapping[int, bytes]) -> str | None:
    sop_class = values.get(SOP_CLASS_UID, b"").decode("ascii", "replace").strip(" \0")
    known = _KIND_BY_CLASS.get(sop_class)
    if known is None:
        known = next((kind for family, kind in _KIND_BY_FAMILY if sop_class.startswith(family)), None)
    return known or ("IMAGE" if ROWS in values else None)


def _sequence(file: BinaryIO, encoding: Encoding, found: Element, end: int) -> bytes:
    """Return a sequence as it is written in an explicit little endian file; of a content tree its modifiers only."""
    if encoding.implicit or encoding.big_endian or found.vr != "SQ":
        return b""
    if found.tag == CONTENT_SEQUENCE:
        modifiers = b"".join(_modifiers(file, encoding, found, end))
        return element(found.tag, "SQ", modifiers) if modifiers else b""
    stop = end_of(file, encoding, found, end)
    if stop - found.value_offset > SEQUENCE_BYTES_MAX:
        return b""
    file.seek(found.value_offset)
    body = file.read(stop - found.value_offset)
    head = struct.pack("<HH2sH", found.tag >> 16, found.tag & 0xFFFF, b"SQ", 0)
    return head + struct.pack("<I", UNDEFINED_LENGTH if found.length is None else found.length) + body


def _modifiers(file: BinaryIO, encoding: Encoding, found: Element, end: int) -> Iterator[bytes]:
    for item, item_end in read_items(file, encoding, found, end):
        stop = item_end if item.length is None else item.value_offset + item.length
        if stop - item.offset > SEQUENCE_BYTES_MAX:
            continue
        for inner in read_elements(file, encoding, item.value_offset, stop):
            if inner.tag == RELATIONSHIP and inner.length is not None:
                file.seek(inner.value_offset)
                if file.read(min(inner.length, VALUE_BYTES_MAX)).strip(b" \0") == MODIFIER:
                    file.seek(item.offset)
                    yield file.read(stop - item.offset)
                break
