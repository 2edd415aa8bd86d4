"""What a modality is told when an instance is not taken: one table, failure to DICOM status.

Statuses follow PS3.4 Table B.2-1: A7xx out of resources (send again later), A9xx dataset does not match the SOP class,
Cxxx cannot understand (sending the same again will not help).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from gateway.errors import CommandMismatch, DuplicateDiffers, NotAllowedToStore, ObjectTooLarge, SpoolFull
from storage.contract.identifiers import InvalidIdentifier
from storage.dicom.headers import MissingIdentifier, NotDicom
from storage.dicom.structure import DatasetTruncated, PixelDataShort

SUCCESS: Final = 0x0000
ERROR_COMMENT_CHARACTERS_MAX: Final = 64  # (0000,0902) is an LO


@dataclass(frozen=True, slots=True)
class StoreFailure:
    """`comment` goes to the modality (Error Comment), `remedy` to the technician; `code` names the kind for ever."""

    code: str
    status: int
    comment: str
    remedy: str
    keep_in_quarantine: bool = True


DISK_FULL: Final = StoreFailure(
    "disk_full",
    0xA700,
    "Gateway disk is full, nothing was stored, send again later",
    "Free space on the gateway's disk or mend the line to the hub, then send the study again.",
    keep_in_quarantine=False,
)
UNEXPECTED: Final = StoreFailure(
    "unexpected",
    0xC211,
    "Gateway failed to store the object, see the gateway's log",
    "Look in the gateway's log for instance_refused at this time and send the study again.",
)

NOT_AUTHORISED: Final = 0x0124  # PS3.7 annex C

C_STORE_FAILURES: Final[tuple[tuple[type[Exception], StoreFailure], ...]] = (
    (SpoolFull, DISK_FULL),
    (
        ObjectTooLarge,
        StoreFailure(
            "too_large",
            0xA702,
            "Object is larger than this gateway accepts",
            "Raise the largest object size in the gateway's configuration, then send the study again.",
            keep_in_quarantine=False,
        ),
    ),
    (
        NotAllowedToStore,
        StoreFailure(
            "not_allowed",
            NOT_AUTHORISED,
            "A device that may only read sent an image",
            'Add "store" to what its peer may do ([[dicom.peers]], may). A gateway in reader mode takes no images.',
            keep_in_quarantine=False,
        ),
    ),
    (
        CommandMismatch,
        StoreFailure(
            "command_mismatch",
            0xA900,
            "Dataset is not the instance that the command announced",
            "The sender mixes up its instances; ask its vendor. The object is in quarantine.",
        ),
    ),
    (
        NotDicom,
        StoreFailure(
            "not_dicom",
            0xC110,
            "Dataset cannot be read as DICOM",
            "The sender wrote a damaged object; export it again. The object is in quarantine.",
        ),
    ),
    (
        MissingIdentifier,
        StoreFailure(
            "missing_identifier",
            0xC111,
            "Study, Series or SOP Instance UID is missing",
            "Correct the object at the sender and send it again. The object is in quarantine.",
        ),
    ),
    (
        InvalidIdentifier,
        StoreFailure(
            "invalid_identifier",
            0xC112,
            "A UID has characters other than digits and dots, or over 64",
            "Correct the object at the sender and send it again. The object is in quarantine.",
        ),
    ),
    (
        PixelDataShort,
        StoreFailure(
            "pixel_data_short",
            0xC114,
            "Pixel Data is shorter than rows, columns and frames say",
            "The image is cut off at the sender; export it again. The object is in quarantine.",
        ),
    ),
    (
        DatasetTruncated,
        StoreFailure(
            "dataset_truncated",
            0xC113,
            "Dataset ends in the middle of an element",
            "The file is cut off at the sender; export it again. The object is in quarantine.",
        ),
    ),
    (
        DuplicateDiffers,
        StoreFailure(
            "duplicate_differs",
            0xC116,
            "SOP Instance UID is already held with other content",
            "Two different objects carry the same UID; the first is kept, this one is in quarantine.",
        ),
    ),
)


def find_failure(problem: Exception) -> StoreFailure:
    """Return what the modality is told about `problem`; a kind that the table does not know is UNEXPECTED."""
    if isinstance(problem, sqlite3.OperationalError) and problem.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return DISK_FULL
    for kind, failure in C_STORE_FAILURES:
        if isinstance(problem, kind):
            return failure
    return UNEXPECTED


def find_code(comment: str) -> str:
    """Return the code of the failure whose comment this is, that of UNEXPECTED where there is none."""
    failures = (DISK_FULL, *(failure for _, failure in C_STORE_FAILURES))
    return next((failure.code for failure in failures if failure.comment == comment), UNEXPECTED.code)
