"""The reports that are here: the proved, signed JSON read for a screen, the PDF taken out of its DICOM object.

The documents were proved against the hub's signature when they came; before one is shown its bytes are compared with
that proof again, so that a damaged disk shows no altered report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom import dcmread

from gateway.console.errors import Conflict, NotFound
from gateway.journal.database import Journal, from_text
from gateway.returns.proof import DocumentUntrusted, verify_content
from gateway.returns.store import DocumentStore
from storage.contract.delivery import TargetKind
from storage.contract.hops import Hop
from storage.contract.signed_report import ReportUnreadable, SignedReport, parse_signed_report
from storage.contract.wire import DocumentDescriptor, SignedDescriptor

REPORT_ROWS: Final = 50


class DocumentDamaged(Conflict):
    """The document on this gateway's disk is not the one that was signed. Have the disk checked; the hub has it."""

    code = "document_damaged"


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """What became of one document at one target."""

    document_id: str
    target: str
    kind: str
    state: str
    delivered_at: datetime | None
    attempts: int
    next_attempt_at: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One signed report that is here, newest version; `studies` are the UIDs it is about."""

    document_id: str
    case_id: str
    version: int
    versions: int
    studies: tuple[str, ...]
    patient_name: str
    patient_number: str
    description: str
    modalities: str
    fetched_at: datetime | None
    viewed_at: datetime | None
    deliveries: tuple[DeliveryLine, ...]
    is_void: bool = False  # two people at the hub have said that it is about the wrong patient

    @property
    def undelivered(self) -> tuple[DeliveryLine, ...]:
        """Return what targets do not have; that nobody has opened it yet is told in other words."""
        of_print = f"{TargetKind.PRINT}:"
        return tuple(one for one in self.deliveries if one.state == "due" and not one.target.startswith(of_print))


@dataclass(frozen=True, slots=True)
class Report:
    """A signed report as it is read: `content` is what was signed, by so many `signatures`."""

    line: ReportLine
    content: SignedReport
    content_sha256: str
    signatures: int
    has_pdf: bool


def list_reports(journal: Journal, before: int, *, unseen_only: bool = False) -> tuple[list[ReportLine], int | None]:
    """Return the newest reports first, one for each case, and the cursor of the next page (None: there is none)."""
    condition = (
        "AND NOT EXISTS (SELECT 1 FROM actions a WHERE a.verb = 'report_viewed' AND a.subject = d.document_id)"
        if unseen_only
        else ""
    )
    rows = journal.read(
        "SELECT d.* FROM documents d WHERE d.kind = 'report_json' AND d.state = 'fetched'"  # noqa: S608 -- constants
        " AND d.cursor < ? AND NOT EXISTS (SELECT 1 FROM documents n WHERE n.case_id = d.case_id"
        f"  AND n.kind = 'report_json' AND n.state = 'fetched' AND n.cursor > d.cursor) {condition}"
        " ORDER BY d.cursor DESC LIMIT ?",
        (before, REPORT_ROWS + 1),
    )
    lines = [_line(journal, row) for row in rows[:REPORT_ROWS]]
    return lines, rows[REPORT_ROWS - 1]["cursor"] if len(rows) > REPORT_ROWS else None


def reports_of_study(journal: Journal, study_uid: str) -> list[ReportLine]:
    """Return the reports about a study that are here, newest version first."""
    rows = journal.read(
        "SELECT DISTINCT d.* FROM custody c JOIN documents d ON d.document_id = json_extract(c.detail, '$.document_id')"
        " WHERE c.study_uid = ? AND c.hop = 'fetched' AND d.kind = 'report_json' ORDER BY d.cursor DESC",
        (study_uid,),
    )
    return [_line(journal, row) for row in rows]


def find_report(journal: Journal, document_id: str) -> ReportLine | None:
    """Return the report of this document, None when there is none here."""
    rows = journal.read(
        "SELECT * FROM documents WHERE document_id = ? AND kind = 'report_json' AND state = 'fetched'", (document_id,)
    )
    return _line(journal, rows[0]) if rows else None


def read_report(journal: Journal, store: DocumentStore, document_id: str) -> Report:
    """Return the report for reading.

    Raises:
        NotFound: there is none.
        DocumentDamaged: its file is missing or not what was signed.
    """
    line = find_report(journal, document_id)
    if line is None:
        raise NotFound
    document = _read_proved(journal, store, document_id)
    try:
        content = parse_signed_report(document)
        envelope = json.loads(document)
    except (ReportUnreadable, ValueError) as exc:
        raise DocumentDamaged from exc
    return Report(
        line=line,
        content=content,
        content_sha256=envelope["content_sha256"],
        signatures=len(envelope["signatures"]),
        has_pdf=_find_pdf(journal, line.case_id, line.version) is not None,
    )


def read_pdf(journal: Journal, store: DocumentStore, document_id: str) -> bytes:
    """Return the report as PDF, byte for byte as in its DICOM object. Raises NotFound, DocumentDamaged."""
    line = find_report(journal, document_id)
    pdf_id = _find_pdf(journal, line.case_id, line.version) if line is not None else None
    if pdf_id is None:
        raise NotFound
    _read_proved(journal, store, pdf_id)
    dataset = dcmread(store.path_of(_descriptor(journal, pdf_id)))
    pdf = bytes(dataset.EncapsulatedDocument)
    length = dataset.get("EncapsulatedDocumentLength")
    return pdf[: int(length)] if length else pdf


def _line(journal: Journal, row: Any) -> ReportLine:
    descriptor = _parse(row["descriptor"])
    about = journal.read(
        "SELECT s.*, (SELECT group_concat(DISTINCT modality) FROM series e WHERE e.study_uid = s.study_uid)"
        " AS modalities FROM studies s WHERE s.study_uid IN (SELECT value FROM json_each(?))",
        (json.dumps(descriptor.study_uids),),
    )
    versions = journal.read(
        "SELECT count(*) AS n FROM documents WHERE case_id = ? AND kind = 'report_json'", (row["case_id"],)
    )[0]["n"]
    viewed = journal.read(
        "SELECT min(at) AS at FROM actions WHERE verb IN ('report_viewed', 'report_printed') AND subject = ?",
        (row["document_id"],),
    )[0]["at"]
    first = about[0] if about else None
    return ReportLine(
        document_id=row["document_id"],
        case_id=row["case_id"],
        version=descriptor.report_version,
        versions=versions,
        studies=tuple(descriptor.study_uids),
        patient_name=first["patient_name"] if first else "",
        patient_number=first["patient_number"] if first else "",
        description=first["description"] if first else "",
        modalities=(first["modalities"] or "") if first else "",
        fetched_at=from_text(row["fetched_at"]) if row["fetched_at"] else None,
        viewed_at=from_text(viewed) if viewed else None,
        deliveries=_deliveries(journal, row["case_id"], descriptor.report_version),
        is_void=is_void(journal, descriptor.study_uids),
    )


def is_void(journal: Journal, study_uids: Sequence[str]) -> bool:
    """Return whether the hub has said that the report about these studies is void."""
    told = journal.read(
        "SELECT 1 FROM hub_events WHERE hop = ? AND study_uid IN (SELECT value FROM json_each(?)) LIMIT 1",
        (Hop.VOIDED, json.dumps(list(study_uids))),
    )
    return bool(told)


def _deliveries(journal: Journal, case_id: str, version: int) -> tuple[DeliveryLine, ...]:
    rows = journal.read(
        "SELECT v.*, d.kind, d.descriptor FROM deliveries v JOIN documents d USING (document_id)"
        " WHERE d.case_id = ? ORDER BY v.target, d.kind",
        (case_id,),
    )
    return tuple(
        DeliveryLine(
            document_id=row["document_id"],
            target=row["target"],
            kind=row["kind"],
            state=row["state"],
            delivered_at=from_text(row["delivered_at"]) if row["delivered_at"] else None,
            attempts=row["attempts"],
            next_attempt_at=from_text(row["next_attempt_at"]),
            problem=row["problem"] or "",
        )
        for row in rows
        if _parse(row["descriptor"]).report_version == version
    )


def _find_pdf(journal: Journal, case_id: str, version: int) -> str | None:
    rows = journal.read(
        "SELECT document_id, descriptor FROM documents WHERE case_id = ? AND kind = 'pdf' AND state = 'fetched'",
        (case_id,),
    )
    return next((row["document_id"] for row in rows if _parse(row["descriptor"]).report_version == version), None)


def _read_proved(journal: Journal, store: DocumentStore, document_id: str) -> bytes:
    """Return a document's bytes once they are proved to be those that were signed. Raises DocumentDamaged."""
    descriptor = _descriptor(journal, document_id)
    try:
        content = store.path_of(descriptor).read_bytes()
        verify_content(descriptor, content)
    except (OSError, DocumentUntrusted) as exc:
        raise DocumentDamaged from exc
    return content


def _descriptor(journal: Journal, document_id: str) -> DocumentDescriptor:
    rows = journal.read("SELECT descriptor FROM documents WHERE document_id = ?", (document_id,))
    return _parse(rows[0]["descriptor"])


def _parse(signed: str) -> DocumentDescriptor:
    return DocumentDescriptor.model_validate_json(SignedDescriptor.model_validate_json(signed).canonical)
