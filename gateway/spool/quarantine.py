"""Keeps what was refused or found damaged, with the reason beside it.

Durable on return: first the reason file, then the file itself, so that nothing lies in quarantine without a reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.spool import layout
from gateway.spool.durable import DurableFile, FileOperations, full_disk_named
from storage.contract.identifiers import new_id

ID_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class QuarantineReason:
    """Why a file is here. `code` is constant, `words` and `remedy` are for the technician, `at` is ISO 8601.

    The UIDs are None where they were missing or not legal.
    """

    code: str
    words: str
    remedy: str
    at: str
    study_uid: str | None
    sop_instance_uid: str | None
    calling_ae_title: str


def quarantine_file(files: FileOperations, file: Path, directory: Path, reason: QuarantineReason) -> str:
    """Move `file` into the quarantine `directory` with its reason; return its id there.

    Raises:
        SpoolFull: the disk has no room; the file stays where it is.
    """
    quarantine_id = identify(file, reason.code)
    _write_reason(files, directory, quarantine_id, reason)
    with full_disk_named(directory):
        files.rename(file, directory / f"{quarantine_id}{layout.INSTANCE_SUFFIX}")
        files.fsync_directory(directory)
        files.fsync_directory(file.parent)
    return quarantine_id


def read_reason(reason_file: Path) -> QuarantineReason:
    """Return the reason that was written beside a file in quarantine."""
    return QuarantineReason(**json.loads(reason_file.read_text(encoding="utf-8")))


def identify(file: Path, code: str) -> str:
    """Return the id that a file has in quarantine when it is refused for this reason."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(code.encode())
    return digest.hexdigest()[:ID_CHARACTERS]


def _write_reason(files: FileOperations, directory: Path, quarantine_id: str, reason: QuarantineReason) -> None:
    tmp = DurableFile(files, directory.parent / layout.TMP / f"{new_id()}{layout.FRAGMENT_SUFFIX}")
    try:
        tmp.write(json.dumps(asdict(reason), ensure_ascii=False, indent=2).encode())
        tmp.publish(directory / f"{quarantine_id}{layout.REASON_SUFFIX}")
    finally:
        tmp.discard()
