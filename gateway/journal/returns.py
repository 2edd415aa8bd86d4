"""Documents on their way home: announced, fetched, delivered; and the receipts the hub is owed.

Durable: every function commits one transaction. An announcement that could not be verified is kept under the name
`unverified-<cursor>`, so that it is visible, does not hold up those behind it, and is asked for again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.hops import Hop
from storage.contract.wire import DocumentDescriptor, DocumentKind, Receipt, ReceiptStep, SignedDescriptor

UNVERIFIED: Final = "unverified"
SPOOL_TARGET: Final = "spool"
REASON_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One announced document. `descriptor` is None while its announcement is not verified."""

    document_id: str
    cursor: int
    descriptor: DocumentDescriptor | None
    attempts: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One document that one target has not taken yet."""

    descriptor: DocumentDescriptor
    target: str
    attempts: int


@dataclass(frozen=True, slots=True)
class OwedReceipt:
    """A receipt the hub has not had yet."""

    document_id: str
    receipt: Receipt


def last_cursor(journal: Journal) -> int:
    """Return the newest announcement's cursor, 0 before the first."""
    return int(journal.read("SELECT coalesce(max(cursor), 0) AS cursor FROM documents")[0]["cursor"])


def announce(journal: Journal, signed: SignedDescriptor, descriptor: DocumentDescriptor, now: datetime) -> None:
    """Record a verified announcement; the same one again changes nothing."""
    with journal.transaction() as connection:
        connection.execute("DELETE FROM documents WHERE cursor = ? AND kind = ?", (signed.cursor, UNVERIFIED))
        _add_document(connection, descriptor.document_id, signed, descriptor.kind, descriptor.case_id, now)


def announce_unverified(journal: Journal, signed: SignedDescriptor, problem: str, next_attempt_at: datetime) -> None:
    """Record an announcement that cannot be trusted, with the reason, to be asked for again."""
    document_id = f"{UNVERIFIED}-{signed.cursor}"
    with journal.transaction() as connection:
        _add_document(connection, document_id, signed, UNVERIFIED, "", next_attempt_at)
        _note_document_problem(connection, document_id, problem, next_attempt_at)


def list_due_documents(journal: Journal, now: datetime, limit: int) -> list[DocumentRow]:
    """Return announced documents whose next attempt is due, oldest announcement first."""
    rows = journal.read(
        "SELECT * FROM documents WHERE state = 'announced' AND next_attempt_at <= ? ORDER BY cursor LIMIT ?",
        (to_text(now), limit),
    )
    return [
        DocumentRow(
            document_id=row["document_id"],
            cursor=row["cursor"],
            descriptor=None if row["kind"] == UNVERIFIED else _parse_descriptor(row["descriptor"]),
            attempts=row["attempts"],
        )
        for row in rows
    ]


def find_next_document_at(journal: Journal) -> datetime | None:
    """Return when the next announced document is due, None when there is none."""
    rows = journal.read("SELECT min(next_attempt_at) AS at FROM documents WHERE state = 'announced'")
    return from_text(rows[0]["at"]) if rows[0]["at"] is not None else None


def note_document_failure(journal: Journal, document: DocumentRow, problem: str, next_attempt_at: datetime) -> None:
    """Record that a document could not be fetched, in words."""
    with journal.transaction() as connection:
        _note_document_problem(connection, document.document_id, problem, next_attempt_at)


def note_document_damaged(
    journal: Journal, document: DocumentRow, problem: str, now: datetime, next_attempt_at: datetime
) -> None:
    """Record that what came is not the signed document, and owe the hub that news once."""
    with journal.transaction() as connection:
        _note_document_problem(connection, document.document_id, problem, next_attempt_at)
        _owe_failure(connection, document.document_id, SPOOL_TARGET, problem, now)


def mark_fetched(journal: Journal, descriptor: DocumentDescriptor, targets: Sequence[str], now: datetime) -> None:
    """Record that the document is durable here, what it must be delivered to, and the hop of each of its studies."""
    with journal.transaction() as connection:
        changed = connection.execute(
            "UPDATE documents SET state = 'fetched', fetched_at = ?, attempts = 0, problem = NULL"
            " WHERE document_id = ? AND state = 'announced'",
            (to_text(now), descriptor.document_id),
        ).rowcount
        if not changed:
            return
        connection.executemany(
            "INSERT INTO deliveries (document_id, target, state, next_attempt_at) VALUES (?, ?, 'due', ?)"
            " ON CONFLICT DO NOTHING",
            [(descriptor.document_id, target, to_text(now)) for target in targets],
        )
        _owe(connection, descriptor.document_id, ReceiptStep.FETCHED, SPOOL_TARGET, now)
        _add_hop(connection, Hop.FETCHED, descriptor, now, {})


def list_due_deliveries(journal: Journal, target: str, now: datetime, limit: int) -> list[DeliveryRow]:
    """Return what this target should be given now, oldest announcement first."""
    rows = journal.read(
        "SELECT d.*, documents.descriptor AS descriptor FROM deliveries d JOIN documents USING (document_id)"
        " WHERE d.target = ? AND d.state = 'due' AND d.next_attempt_at <= ? ORDER BY documents.cursor LIMIT ?",
        (target, to_text(now), limit),
    )
    return [DeliveryRow(_parse_descriptor(row["descriptor"]), row["target"], row["attempts"]) for row in rows]


def find_next_delivery_at(journal: Journal, targets: Iterable[str]) -> datetime | None:
    """Return when the next delivery to one of these targets is due, None when there is none."""
    wanted = set(targets)
    rows = journal.read("SELECT target, min(next_attempt_at) AS at FROM deliveries WHERE state = 'due' GROUP BY target")
    return min((from_text(row["at"]) for row in rows if row["target"] in wanted), default=None)


def mark_delivered(journal: Journal, delivery: DeliveryRow, now: datetime, status: int) -> None:
    """Record that the target has stored the document, owe the receipt, and write the hop."""
    descriptor = delivery.descriptor
    with journal.transaction() as connection:
        changed = connection.execute(
            "UPDATE deliveries SET state = 'delivered', delivered_at = ?, problem = NULL"
            " WHERE document_id = ? AND target = ? AND state = 'due'",
            (to_text(now), descriptor.document_id, delivery.target),
        ).rowcount
        if changed:
            _owe(connection, descriptor.document_id, ReceiptStep.DELIVERED, delivery.target, now)
            _add_hop(connection, Hop.DELIVERED, descriptor, now, {"target": delivery.target, "status": f"{status:04X}"})


def note_delivery_failure(
    journal: Journal, delivery: DeliveryRow, problem: str, now: datetime, next_attempt_at: datetime
) -> None:
    """Record a failed delivery in words; the hub hears of each distinct reason once."""
    descriptor = delivery.descriptor
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET attempts = attempts + 1, problem = ?, next_attempt_at = ?"
            " WHERE document_id = ? AND target = ? AND state = 'due'",
            (problem[:REASON_CHARACTERS_MAX], to_text(next_attempt_at), descriptor.document_id, delivery.target),
        )
        if _owe_failure(connection, descriptor.document_id, delivery.target, problem, now):
            _add_hop(connection, Hop.DELIVERY_FAILED, descriptor, now, {"target": delivery.target, "reason": problem})


def list_owed_receipts(journal: Journal, limit: int) -> list[OwedReceipt]:
    """Return the oldest receipts that the hub has not had, in order."""
    rows = journal.read("SELECT * FROM receipts WHERE reported = 0 ORDER BY seq LIMIT ?", (limit,))
    return [
        OwedReceipt(
            row["document_id"],
            Receipt(
                seq=row["seq"],
                step=ReceiptStep(row["step"]),
                target=row["target"],
                at=from_text(row["at"]),
                reason=row["reason"],
            ),
        )
        for row in rows
    ]


def mark_receipt_sent(journal: Journal, seq: int) -> None:
    """Record that the hub has this receipt."""
    with journal.transaction() as connection:
        connection.execute("UPDATE receipts SET reported = 1 WHERE seq = ?", (seq,))


def _add_document(
    connection: sqlite3.Connection,
    document_id: str,
    signed: SignedDescriptor,
    kind: str,
    case_id: str,
    next_attempt_at: datetime,
) -> None:
    connection.execute(
        "INSERT INTO documents (document_id, cursor, descriptor, kind, case_id, state, next_attempt_at)"
        " VALUES (?, ?, ?, ?, ?, 'announced', ?) ON CONFLICT DO NOTHING",
        (document_id, signed.cursor, signed.model_dump_json(), kind, case_id, to_text(next_attempt_at)),
    )


def _note_document_problem(
    connection: sqlite3.Connection, document_id: str, problem: str, next_attempt_at: datetime
) -> None:
    connection.execute(
        "UPDATE documents SET attempts = attempts + 1, problem = ?, next_attempt_at = ?"
        " WHERE document_id = ? AND state = 'announced'",
        (problem[:REASON_CHARACTERS_MAX], to_text(next_attempt_at), document_id),
    )


def _owe(
    connection: sqlite3.Connection, document_id: str, step: ReceiptStep, target: str, now: datetime, reason: str = ""
) -> None:
    connection.execute(
        "INSERT INTO receipts (document_id, step, target, at, reason) VALUES (?, ?, ?, ?, ?)",
        (document_id, step, target, to_text(now), reason),
    )


def _owe_failure(connection: sqlite3.Connection, document_id: str, target: str, problem: str, now: datetime) -> bool:
    """Owe the hub this failure unless it was told the same before; return whether it is news."""
    reason = problem[:REASON_CHARACTERS_MAX]
    known = connection.execute(
        "SELECT 1 FROM receipts WHERE document_id = ? AND target = ? AND step = ? AND reason = ?",
        (document_id, target, ReceiptStep.FAILED, reason),
    ).fetchone()
    if known is None:
        _owe(connection, document_id, ReceiptStep.FAILED, target, now, reason)
    return known is None


def _add_hop(
    connection: sqlite3.Connection, hop: Hop, descriptor: DocumentDescriptor, now: datetime, detail: dict[str, object]
) -> None:
    about = {
        "document_id": descriptor.document_id,
        "kind": DocumentKind(descriptor.kind),
        "case_id": descriptor.case_id,
        "report_version": descriptor.report_version,
    }
    for study_uid in descriptor.study_uids:
        add_custody(connection, hop, study_uid, now, about | detail)


def _parse_descriptor(signed: str) -> DocumentDescriptor:
    return DocumentDescriptor.model_validate_json(SignedDescriptor.model_validate_json(signed).canonical)
