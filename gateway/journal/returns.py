"""Documents on their way home, announced and fetched; and the receipts the hub is owed. `deliveries` has the last step.

Durable: every function commits one transaction. An announcement that could not be verified is kept under the name
`unverified-<cursor>`, so that it is visible, does not hold up those behind it, and is asked for again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.delivery import DeliveryFailure
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
            descriptor=None if row["kind"] == UNVERIFIED else parse_descriptor(row["descriptor"]),
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
    journal: Journal, document: DocumentRow, failure: DeliveryFailure, now: datetime, next_attempt_at: datetime
) -> None:
    """Record that what came is not the signed document, or cannot be kept, and owe the hub that news once."""
    with journal.transaction() as connection:
        _note_document_problem(connection, document.document_id, failure.words(), next_attempt_at)
        owe_failure(connection, document.document_id, SPOOL_TARGET, failure, now)


def find_fetched(
    journal: Journal, case_id: str, report_version: int, kind: DocumentKind
) -> tuple[DocumentDescriptor, datetime] | None:
    """Return the document of this report version and when it was fetched, None before it is here."""
    rows = journal.read(
        "SELECT descriptor, fetched_at FROM documents WHERE case_id = ? AND kind = ? AND state = 'fetched'",
        (case_id, kind),
    )
    found = ((parse_descriptor(row["descriptor"]), from_text(row["fetched_at"])) for row in rows)
    return next((one for one in found if one[0].report_version == report_version), None)


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
        owe_receipt(connection, descriptor.document_id, ReceiptStep.FETCHED, SPOOL_TARGET, now)
        add_document_hop(connection, Hop.FETCHED, descriptor, now, {})


def requeue_due(connection: sqlite3.Connection, now: datetime, document_id: str | None, target: str | None) -> int:
    """Have deliveries tried now, all or those of a document or of a target; return how many that are."""
    return connection.execute(
        "UPDATE deliveries SET next_attempt_at = ?1, attempts = 0 WHERE state = 'due'"
        " AND (?2 IS NULL OR document_id = ?2) AND (?3 IS NULL OR target = ?3)",
        (to_text(now), document_id, target),
    ).rowcount


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
                code=row["code"],
                params=json.loads(row["params"]),
                takes=tuple(json.loads(row["takes"])),
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


def owe_receipt(
    connection: sqlite3.Connection,
    document_id: str,
    step: ReceiptStep,
    target: str,
    now: datetime,
    *,
    failure: DeliveryFailure | None = None,
    takes: Sequence[DocumentKind] = (),
) -> None:
    """Owe the hub one receipt, in the transaction of what it tells."""
    connection.execute(
        "INSERT INTO receipts (document_id, step, target, at, reason, code, params, takes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            document_id,
            step,
            target,
            to_text(now),
            failure.words()[:REASON_CHARACTERS_MAX] if failure else "",
            failure.code if failure else "",
            params_text(failure) if failure else "{}",
            json.dumps([str(kind) for kind in takes]),
        ),
    )


def owe_failure(
    connection: sqlite3.Connection, document_id: str, target: str, failure: DeliveryFailure, now: datetime
) -> bool:
    """Owe the hub this failure unless it is the last it was told of this target; return whether it is news."""
    last = connection.execute(
        "SELECT step, code, params FROM receipts WHERE document_id = ? AND target = ? ORDER BY seq DESC LIMIT 1",
        (document_id, target),
    ).fetchone()
    if last is not None and tuple(last) == (ReceiptStep.FAILED, failure.code, params_text(failure)):
        return False
    owe_receipt(connection, document_id, ReceiptStep.FAILED, target, now, failure=failure)
    return True


def params_text(failure: DeliveryFailure) -> str:
    """Return the failure's parameters as the journal keeps them."""
    return json.dumps(failure.params, ensure_ascii=False, sort_keys=True)


def add_document_hop(
    connection: sqlite3.Connection,
    hop: Hop,
    descriptor: DocumentDescriptor,
    now: datetime,
    detail: Mapping[str, object],
) -> None:
    """Write the hop of each of the document's studies; `detail` has ids, codes and counts only."""
    about = {
        "document_id": descriptor.document_id,
        "kind": DocumentKind(descriptor.kind),
        "case_id": descriptor.case_id,
        "report_version": descriptor.report_version,
    }
    for study_uid in descriptor.study_uids:
        add_custody(connection, hop, study_uid, now, {**about, **detail})


def parse_descriptor(signed: str) -> DocumentDescriptor:
    """Return the verified descriptor that the journal keeps."""
    return DocumentDescriptor.model_validate_json(SignedDescriptor.model_validate_json(signed).canonical)


def list_cases_done_before(journal: Journal, before: datetime, limit: int) -> list[str]:
    """Return cases whose every document came before this moment, went everywhere and owes the hub no receipt.

    Never the one of the newest announcement: its cursor says from where the hub is asked.
    """
    rows = journal.read(
        "SELECT case_id FROM documents GROUP BY case_id HAVING max(coalesce(fetched_at, '9')) < ?"
        " AND max(cursor) < (SELECT max(cursor) FROM documents)"
        " AND NOT EXISTS (SELECT 1 FROM documents d JOIN deliveries v USING (document_id)"
        " WHERE d.case_id = documents.case_id AND v.state = 'due')"
        " AND NOT EXISTS (SELECT 1 FROM documents d JOIN receipts r USING (document_id)"
        " WHERE d.case_id = documents.case_id AND r.reported = 0) LIMIT ?",
        (to_text(before), limit),
    )
    return [row["case_id"] for row in rows]


def forget_case(journal: Journal, case_id: str) -> None:
    """Forget the documents of a case, whose files are gone, with their deliveries."""
    with journal.transaction() as connection:
        connection.execute(
            "DELETE FROM deliveries WHERE document_id IN (SELECT document_id FROM documents WHERE case_id = ?)",
            (case_id,),
        )
        connection.execute("DELETE FROM documents WHERE case_id = ?", (case_id,))
