"""The DICOMDIR of a file set (PS3.3 annex F, PS3.10 section 8): patients, studies, series, instances.

Offsets stand at fixed places of each record and have a fixed length, so that all records are written first and then
told where the others lie. Holds some hundred bytes for each instance. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN
from storage.dicom.part10 import file_meta_bytes
from storage.media.records import (
    PATIENT,
    SERIES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY,
    STUDY_INSTANCE_UID,
    Described,
    element,
)

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
COMPONENT_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")  # PS3.10 section 8.5
COMPONENT_CHARACTERS_MAX: Final = 8
COMPONENTS_MAX: Final = 8
_PATIENT_ID: Final = 0x00100020
_ITEM: Final = b"\xfe\xff\x00\xe0"
_NEXT_AT, _LOWER_AT = 16, 38  # where the two offsets stand in a record, from its item's tag
_IN_USE: Final = 0xFFFF


class BadFileId(Exception):
    """A file of a file set cannot have this name; the message says which."""


@dataclass(slots=True)
class _Record:
    """One directory record and those below it."""

    item: bytearray
    below: dict[bytes, _Record] = field(default_factory=dict)
    offset: int = 0


class Directory:
    """Collects what a DICOMDIR says, instance by instance."""

    def __init__(self) -> None:
        self._patients: dict[bytes, _Record] = {}
        self._files: set[tuple[str, ...]] = set()

    def add(self, file_id: Sequence[str], described: Described) -> bool:
        """Take in an instance whose file has these name components; return False when there is no record for it.

        Raises:
            BadFileId: the components are not those of a file of a file set, or were given before.
        """
        _check_file_id(file_id)
        if described.kind is None:
            return False
        if tuple(file_id) in self._files:
            raise BadFileId("\\".join(file_id))
        self._files.add(tuple(file_id))
        patient_id = described.values.get(_PATIENT_ID, b"").strip(b" \0")
        patient = _child(self._patients, patient_id, "PATIENT", described.record(PATIENT))
        study_uid = described.uid(STUDY_INSTANCE_UID).encode()
        study = _child(patient.below, study_uid, "STUDY", described.record(STUDY))
        series_uid = described.uid(SERIES_INSTANCE_UID).encode()
        series = _child(study.below, series_uid, "SERIES", described.record(SERIES))
        names = "\\".join(file_id).encode("ascii")
        reference = (
            element(0x00041500, "CS", names)
            + element(0x00041510, "UI", described.uid(SOP_CLASS_UID).encode())
            + element(0x00041511, "UI", described.uid(SOP_INSTANCE_UID).encode())
            + element(0x00041512, "UI", described.transfer_syntax_uid.encode())
        )
        _child(series.below, names, described.kind, reference + described.leaf())
        return True

    def to_bytes(self, file_set_id: str, sop_instance_uid: str) -> bytes:
        """Return the DICOMDIR, a Part 10 file in Explicit VR Little Endian."""
        head = file_meta_bytes(MEDIA_STORAGE_DIRECTORY, sop_instance_uid, EXPLICIT_LITTLE_ENDIAN, "COUNTERPART")
        group_bytes = len(self._head(file_set_id, 0))
        end = len(head) + group_bytes
        for record in _in_order(self._patients):
            record.offset = end
            end += len(record.item)
        _link(self._patients)
        body = b"".join(record.item for record in _in_order(self._patients))
        return head + self._head(file_set_id, len(body)) + body

    def _head(self, file_set_id: str, sequence_bytes: int) -> bytes:
        roots = list(self._patients.values())
        first, last = (roots[0].offset, roots[-1].offset) if roots else (0, 0)
        return (
            element(0x00041130, "CS", file_set_id.encode("ascii"))
            + element(0x00041200, "UL", struct.pack("<I", first))
            + element(0x00041202, "UL", struct.pack("<I", last))
            + element(0x00041212, "US", b"\0\0")
            + struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, sequence_bytes)
        )


def _child(level: dict[bytes, _Record], key: bytes, kind: str, keys: bytes) -> _Record:
    if key not in level:
        body = (
            element(0x00041400, "UL", bytes(4))
            + element(0x00041410, "US", struct.pack("<H", _IN_USE))
            + element(0x00041420, "UL", bytes(4))
            + element(0x00041430, "CS", kind.encode("ascii"))
            + keys
        )
        level[key] = _Record(bytearray(_ITEM + struct.pack("<I", len(body)) + body))
    return level[key]


def _in_order(level: dict[bytes, _Record]) -> Iterator[_Record]:
    for record in level.values():
        yield record
        yield from _in_order(record.below)


def _link(level: dict[bytes, _Record]) -> None:
    records = list(level.values())
    for record, following in zip_longest(records, records[1:]):
        struct.pack_into("<I", record.item, _NEXT_AT, following.offset if following is not None else 0)
        lower = next(iter(record.below.values()), None)
        struct.pack_into("<I", record.item, _LOWER_AT, lower.offset if lower is not None else 0)
        _link(record.below)


def _check_file_id(file_id: Sequence[str]) -> None:
    fits = 0 < len(file_id) <= COMPONENTS_MAX and all(
        0 < len(name) <= COMPONENT_CHARACTERS_MAX and COMPONENT_CHARACTERS.issuperset(name) for name in file_id
    )
    if not fits:
        raise BadFileId("\\".join(file_id))
