"""Reads what the journal must know out of a Part 10 file in the spool. Never writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from storage.dicom.headers import MissingIdentifier, NotDicom
from storage.dicom.structure import DatasetTruncated, PixelDataShort

from storage.contract.identifiers import InvalidIdentifier, Sha256Hex, Uid

UNREADABLE: Final = (NotDicom, MissingIdentifier, InvalidIdentifier, DatasetTruncated, PixelDataShort)


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
