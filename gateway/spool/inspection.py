"""Reads what the journal must know out of a Part 10 file in the spool. Never writes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.contract.identifiers import InvalidIdentifier, Sha256Hex, Uid
from storage.dicom.elements import read_file_meta
from storage.dicom.headers import MissingIdentifier, NotDicom, read_header
from storage.dicom.structure import DatasetTruncated, PixelDataShort, check_structure

UNREADABLE: Final = (NotDicom, MissingIdentifier, InvalidIdentifier, DatasetTruncated, PixelDataShort)

SOURCE_AE_TITLE: Final = 0x00020016
CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a whole and legal instance says about itself."""

    sop_instance_uid: Uid
    sop_class_uid: Uid
    study_uid: Uid
    series_uid: Uid
    transfer_syntax_uid: Uid
    source_ae_title: str


@dataclass(frozen=True, slots=True)
class FileDigests:
    """`received_sha256`: the dataset without file meta. `stored_sha256`: the whole file."""

    received_sha256: Sha256Hex
    stored_sha256: Sha256Hex
    size_bytes: int


def inspect(path: Path) -> Inspected:
    """Return what the Part 10 file says about itself, once it is known to be whole.

    Raises: NotDicom, MissingIdentifier, InvalidIdentifier, DatasetTruncated, PixelDataShort: it is not a whole,
    legal instance.
    """
    with path.open("rb") as file:
        header = read_header(file)
        check_structure(file)
        meta = read_file_meta(file)
    return Inspected(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        source_ae_title=meta.text(SOURCE_AE_TITLE),
    )


def digest_file(path: Path) -> FileDigests:
    """Return the digests of a Part 10 file."""
    received, stored = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        dataset_offset = read_file_meta(file).dataset_offset
        file.seek(0)
        stored.update(file.read(dataset_offset))
        while chunk := file.read(CHUNK_BYTES):
            received.update(chunk)
            stored.update(chunk)
        size_bytes = file.tell()
    return FileDigests(Sha256Hex(received.hexdigest()), Sha256Hex(stored.hexdigest()), size_bytes)
