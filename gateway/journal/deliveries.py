"""The last step home: what each target is still owed, and how each delivery ended.

Durable: every function commits one transaction. `due` stays due for as long as it takes, with its last failure beside
it; the hub hears of each new failure once, and of a success always.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.returns import (
    REASON_CHARACTERS_MAX,
    add_document_hop,
    owe_failure,
    owe_receipt,
    params_text,
    parse_descriptor,
)
from storage.contract.delivery import DeliveryFailure, DeliveryFault, TargetKind
from storage.contract.hops import Hop
from storage.contract.wire import DocumentDescriptor, DocumentKind, ReceiptStep


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One document that one target has not taken yet."""

    descriptor: DocumentDescriptor
    target: str
    attempts: int
    fetched_at: datetime


def list_due_deliveries(journal: Journal, target: str, now: datetime, limit: int) -> list[DeliveryRow]:
    """Return what this target should be given now, oldest announcement first."""
    rows = journal.read(
        f"{_SELECT} WHERE d.target = ? AND d.state = 'due' AND d.next_attempt_at <= ?"
        " ORDER BY documents.cursor LIMIT ?",
        (target, to_text(now), limit),
    )
    return [_to_row(row) for row in rows]


def list_waiting(journal: Journal, target: str, limit: int) -> list[DeliveryRow]:
    """Return what this target has not got, newest first: what the print page shows as not yet opened."""
    rows = journal.read(
        f"{_SELECT} WHERE d.target = ? AND d.state = 'due' ORDER BY documents.cursor DESC LIMIT ?", (target, limit)
    )
    return [_to_row(row) for row in rows]


def find_next_delivery_at(journal: Journal, targets: Iterable[str]) -> datetime | None:
    """Return when the next delivery to one of these targets is due, None when there is none."""
    wanted = set(targets)
    rows = journal.read("SELECT target, min(next_attempt_at) AS at FROM deliveries WHERE state = 'due' GROUP BY target")
    return min((from_text(row["at"]) for row in rows if row["target"] in wanted), default=None)


def mark_delivered(
    journal: Journal,
    delivery: DeliveryRow,
    now: datetime,
    *,
    takes: Sequence[DocumentKind],
    detail: Mapping[str, str],
    by: str | None = None,
) -> None:
    """Record that the target has the document, owe the receipt, and write the hop; once, however often it is said."""
    descriptor = delivery.descriptor
    with journal.transaction() as connection:
        changed = connection.execute(
            "UPDATE deliveries SET state = 'delivered', delivered_at = ?, delivered_by = ?, problem = NULL,"
            " problem_code = NULL, problem_params = NULL WHERE document_id = ? AND target = ?"
            " AND state IN ('due', 'cancelled')",  # what was cancelled on its way has come all the same
            (to_text(now), by, descriptor.document_id, delivery.target),
        ).rowcount
        if not changed:
            return
        owe_receipt(connection, descriptor.document_id, ReceiptStep.DELIVERED, delivery.target, now, takes=takes)
        add_document_hop(connection, Hop.DELIVERED, descriptor, now, {"target": delivery.target, **detail})


def mark_opened(journal: Journal, document_id: str, account_id: str, how: str, now: datetime) -> bool:
    """Record that a person has opened, printed or exported the report (`how`); return whether that delivered it.

    It is the delivery to targets of kind print; opening a report again, or one that is for no such target, is none.
    """
    of_print = f"{TargetKind.PRINT}:"
    rows = journal.read(f"{_SELECT} WHERE d.document_id = ? AND d.state = 'due'", (document_id,))
    opened = [row for row in map(_to_row, rows) if row.target.startswith(of_print)]
    for delivery in opened:
        takes = (DocumentKind(delivery.descriptor.kind),)
        detail = {"how": how, "by": account_id}
        mark_delivered(journal, delivery, now, takes=takes, detail=detail, by=account_id)
        supersede_outdated(journal, delivery.target)
    return bool(opened)


def supersede_outdated(journal: Journal, target: str) -> None:
    """Let go of what is due to a target that has a newer version of the same report already."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET state = 'superseded', problem = NULL, problem_code = NULL, problem_params = NULL"
            " WHERE target = ? AND state = 'due' AND EXISTS ("
            " SELECT 1 FROM documents mine, deliveries n JOIN documents newer ON newer.document_id = n.document_id"
            " WHERE mine.document_id = deliveries.document_id AND n.target = deliveries.target"
            " AND n.state = 'delivered' AND newer.case_id = mine.case_id AND newer.kind = mine.kind"
            " AND json_extract(json_extract(newer.descriptor, '$.canonical'), '$.report_version')"
            " > json_extract(json_extract(mine.descriptor, '$.canonical'), '$.report_version'))",
            (target,),
        )


def note_delivery_failure(
    journal: Journal, delivery: DeliveryRow, failure: DeliveryFailure, now: datetime, next_attempt_at: datetime
) -> None:
    """Record a failed delivery; the hub hears of it when it is not the failure that it heard of last."""
    descriptor = delivery.descriptor
    with journal.transaction() as connection:
        changed = connection.execute(
            "UPDATE deliveries SET attempts = attempts + 1, problem = ?, problem_code = ?, problem_params = ?,"
            " next_attempt_at = ? WHERE document_id = ? AND target = ? AND state = 'due'",
            (
                failure.words()[:REASON_CHARACTERS_MAX],
                failure.code,
                params_text(failure),
                to_text(next_attempt_at),
                descriptor.document_id,
                delivery.target,
            ),
        ).rowcount
        if changed and owe_failure(connection, descriptor.document_id, delivery.target, failure, now):
            detail = {"target": delivery.target, "code": str(failure.code)}
            add_document_hop(connection, Hop.DELIVERY_FAILED, descriptor, now, detail)


def postpone_delivery(journal: Journal, delivery: DeliveryRow, next_attempt_at: datetime) -> None:
    """Look at a delivery again later that could not be tried yet; that is no failure."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET next_attempt_at = ? WHERE document_id = ? AND target = ? AND state = 'due'",
            (to_text(next_attempt_at), delivery.descriptor.document_id, delivery.target),
        )


def requeue_delivery(connection: sqlite3.Connection, document_id: str, target: str, now: datetime) -> bool:
    """Try this delivery now, also one that has ended; return whether there is such a delivery.

    The target gets the same objects and messages under the same identities again.
    """
    return bool(
        connection.execute(
            "UPDATE deliveries SET state = 'due', attempts = 0, next_attempt_at = ?"
            " WHERE document_id = ? AND target = ?",
            (to_text(now), document_id, target),
        ).rowcount
    )


def requeue_void(connection: sqlite3.Connection, study_uid: str) -> int:
    """Let HIS and PACS that have a report about this study be told that it is void; return of how many documents."""
    return connection.execute(
        "UPDATE deliveries SET state = 'due', attempts = 0 WHERE state = 'delivered'"
        " AND (target LIKE ? OR target LIKE ?) AND EXISTS ("
        " SELECT 1 FROM documents, json_each(json_extract(documents.descriptor, '$.canonical'), '$.study_uids') study"
        " WHERE documents.document_id = deliveries.document_id AND study.value = ?)",
        (f"{TargetKind.HL7}:%", f"{TargetKind.PACS}:%", study_uid),
    ).rowcount


def requeue_target(journal: Journal, target: str, now: datetime) -> int:
    """Try everything that this target has not got now; return how many documents that is."""
    with journal.transaction() as connection:
        return connection.execute(
            "UPDATE deliveries SET attempts = 0, next_attempt_at = ? WHERE target = ? AND state = 'due'",
            (to_text(now), target),
        ).rowcount


def cancel_delivery(connection: sqlite3.Connection, document_id: str, target: str, now: datetime) -> bool:
    """Give a delivery up that is still due, and tell the hub; return whether it was.

    The document stays here, and can be requeued.
    """
    changed = connection.execute(
        "UPDATE deliveries SET state = 'cancelled', problem = NULL, problem_code = NULL, problem_params = NULL"
        " WHERE document_id = ? AND target = ? AND state = 'due'",
        (document_id, target),
    ).rowcount
    if changed:
        failure = DeliveryFailure.of(DeliveryFault.DELIVERY_CANCELLED)
        owe_failure(connection, document_id, target, failure, now)
    return bool(changed)


def note_unknown_targets(journal: Journal, configured: Iterable[str], now: datetime) -> None:
    """Say of what is due to a target that is no longer configured that somebody must decide."""
    known = set(configured)
    rows = journal.read(f"{_SELECT} WHERE d.state = 'due' AND d.problem_code IS NOT ?", (_GONE,))
    for delivery in map(_to_row, rows):
        if delivery.target not in known:
            failure = DeliveryFailure.of(DeliveryFault.TARGET_NOT_CONFIGURED, target=delivery.target)
            note_delivery_failure(journal, delivery, failure, now, now)


_SELECT = (
    "SELECT d.*, documents.descriptor AS descriptor, documents.fetched_at AS fetched_at"
    " FROM deliveries d JOIN documents USING (document_id)"
)
_GONE = str(DeliveryFault.TARGET_NOT_CONFIGURED)


def _to_row(row: sqlite3.Row) -> DeliveryRow:
    return DeliveryRow(
        descriptor=parse_descriptor(row["descriptor"]),
        target=row["target"],
        attempts=row["attempts"],
        fetched_at=from_text(row["fetched_at"]),
    )
