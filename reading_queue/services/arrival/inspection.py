"""What the hub learns of a file that a person stores, before it believes anything of it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from reading_queue.domain.evidence_content import Finding, findings_of
from reading_queue.services.arrival.pack_proof import UNREADABLE
from reading_queue.services.reading.evidence import References, is_evidence, references_of
from storage.catalogue.rejection_notes import find_rejection
from storage.contract.manifest import InstanceEntry
from storage.dicom.digests import digest_instance
from storage.dicom.headers import InstanceHeader, read_header
from storage.dicom.json_model import instance_json
from storage.dicom.structure import check_structure
from storage.dicomweb.store_answer import Failed, Kept, Reason, ReceivedFile

IMPORTED: Final = "110107"  # DCM audit event (PS3.15 A.5): data came in
MEMBER_BYTES_MAX: Final = 8 * 1024**3 - 1  # what one file of a pack can be


@dataclass(frozen=True, slots=True)
class Inspected:
    """One whole instance: where it lies, what its header says, what its bytes are, and what evidence speaks of."""

    number: int
    path: Path
    header: InstanceHeader
    entry: InstanceEntry
    references: References | None  # None of what is no evidence
    rejects: bool = False  # a rejection note
    findings: tuple[Finding, ...] = ()  # of evidence

    @property
    def uid(self) -> str:
        """Return the SOP Instance UID."""
        return self.entry.sop_instance_uid

    def kept(self) -> Kept:
        """Return the instance as one that the hub holds."""
        return Kept(self.header.study_uid, self.header.series_uid, self.header.sop_class_uid, self.uid)

    def fail(self, reason: Reason, words: str) -> Failed:
        """Return the instance as one that was not stored; `words` say what it does or is."""
        return Failed(self.number, reason, f"instance {self.uid} {words}", self.header.sop_class_uid, self.uid)


def inspect(file: ReceivedFile, received_at: datetime) -> Inspected | Failed:
    """Return what the file is, or why it is no instance that can be stored."""
    if file.refusal:
        return Failed(file.number, Reason.NOT_UNDERSTOOD, file.refusal)
    if file.size_bytes > MEMBER_BYTES_MAX:
        return Failed(file.number, Reason.NO_ROOM, f"part {file.number} is larger than any instance may be")
    with file.path.open("rb") as opened:
        try:
            header = read_header(opened)
        except UNREADABLE as exc:
            return Failed(file.number, Reason.NOT_UNDERSTOOD, f"part {file.number} is no DICOM instance: {exc}")
        return _inspect_whole(file, opened, header, received_at)


def _inspect_whole(
    file: ReceivedFile, opened: BinaryIO, header: InstanceHeader, received_at: datetime
) -> Inspected | Failed:
    uids = (header.sop_class_uid, header.sop_instance_uid)
    try:
        digests = digest_instance(opened, check_structure(opened))
        dataset = instance_json(opened)
    except UNREADABLE as exc:
        words = f"instance {header.sop_instance_uid} is not whole: {exc}"
        return Failed(file.number, Reason.NOT_UNDERSTOOD, words, *uids)
    entry = InstanceEntry(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        series_uid=header.series_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        received_sha256=digests.received_sha256,
        stored_sha256=digests.stored_sha256,
        pixel_sha256=digests.pixel_sha256,
        values_sha256=digests.values_sha256,
        size_bytes=digests.size_bytes,
        received_at=received_at,
    )
    rejects = find_rejection(dataset) is not None
    if not is_evidence(header.sop_class_uid):
        return Inspected(file.number, file.path, header, entry, None, rejects)
    findings = findings_of(dataset, header.sop_class_uid)
    return Inspected(file.number, file.path, header, entry, references_of(dataset), rejects, findings)
