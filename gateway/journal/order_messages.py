"""HL7 messages that bring orders: kept before they are acknowledged, with what became of each.

Durable: every function that takes a connection commits with its caller. A message is `received` until it was decided
on; after a restart those are decided on first. Holds patient data: it never enters a log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.quarantine import SETTLED
from storage.hl7.faults import ErrorCode, Fault
from storage.hl7.order_answers import Letterhead

ROWS_MAX: Final = 200
SUBJECT: Final = "order-message-"  # of the actions about one, before its number
_SETTLED: Final = (
    " EXISTS (SELECT 1 FROM actions a WHERE a.verb = ? AND a.subject = 'order-message-' || m.message_id"
    " AND (m.decided_at IS NULL OR a.at >= m.decided_at))"
)


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """One message. `faults` of a taken one are what was left out of its orders."""

    message_id: int
    received_at: datetime
    address: str
    sender: str
    control_id: str
    kind: str
    digest: str
    content: bytes
    state: str
    code: str
    answer: bytes | None
    faults: tuple[Fault, ...]
    order_ids: tuple[str, ...]
    decided_at: datetime | None
    decided_by: str
    is_settled: bool = False

    @property
    def needs_somebody(self) -> bool:
        """Return whether it was refused, or taken with something left out, and nobody has dismissed it."""
        return not self.is_settled and (self.state == "refused" or bool(self.faults))


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a message before anybody has decided on it."""

    address: str
    head: Letterhead
    content: bytes


def keep_message(connection: sqlite3.Connection, envelope: Envelope, now: datetime) -> int:
    """Keep a message; return its number, which is the one it has where the same bytes are here already."""
    head = envelope.head
    connection.execute(
        "INSERT INTO order_messages (received_at, address, sender, control_id, kind, digest, content, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'received') ON CONFLICT DO NOTHING",
        (
            to_text(now),
            envelope.address,
            head.sender,
            head.control_id,
            head.kind,
            head.digest,
            envelope.content,
        ),
    )
    row = connection.execute(
        "SELECT message_id FROM order_messages WHERE sender = ? AND control_id = ? AND digest = ?",
        (head.sender, head.control_id, head.digest),
    ).fetchone()
    return int(row["message_id"])


def find_first_of_control_id(journal: Journal, message: KeptMessage) -> KeptMessage:
    """Return the message that came first under this one's control id: itself where it is that."""
    rows = journal.read(
        "SELECT min(message_id) AS first FROM order_messages WHERE sender = ? AND control_id = ?",
        (message.sender, message.control_id),
    )
    return find_message(journal, rows[0]["first"]) or message


def decide_on_message(
    connection: sqlite3.Connection,
    message_id: int,
    *,
    code: str,
    answer: bytes,
    faults: Sequence[Fault],
    order_ids: Sequence[str],
    now: datetime,
    by: str = "",
) -> None:
    """Record what became of a message, and its acknowledgement."""
    connection.execute(
        "UPDATE order_messages SET state = ?, code = ?, answer = ?, faults = ?, order_ids = ?, decided_at = ?,"
        " decided_by = ? WHERE message_id = ?",
        (
            "taken" if code == "AA" else "refused",
            code,
            answer,
            faults_to_json(faults),
            json.dumps(list(order_ids)),
            to_text(now),
            by,
            message_id,
        ),
    )


def find_message(journal: Journal, message_id: int) -> KeptMessage | None:
    """Return the message."""
    rows = journal.read(
        f"SELECT m.*, {_SETTLED} AS is_settled FROM order_messages m WHERE message_id = ?",  # noqa: S608 -- constants
        (SETTLED, message_id),
    )
    return _parse(rows[0]) if rows else None


def undecided_messages(journal: Journal) -> list[int]:
    """Return the messages that a crash came between keeping and deciding, the oldest first."""
    rows = journal.read("SELECT message_id FROM order_messages WHERE state = 'received' ORDER BY message_id")
    return [int(row["message_id"]) for row in rows]


def list_messages(journal: Journal, *, limit: int = ROWS_MAX, only_open: bool = False) -> list[KeptMessage]:
    """Return messages, those that need somebody first, then the newest. `only_open`: those alone.

    However many are kept, it reads what it returns and what was refused.
    """
    is_open = f"(state = 'refused' OR faults <> '[]') AND NOT {_SETTLED}"
    found = _newest(journal, is_open, limit)
    if not only_open and len(found) < limit:
        found += _newest(journal, f"NOT ({is_open})", limit - len(found))
    return found


def list_refused_after(journal: Journal, message_id: int, *, limit: int = ROWS_MAX) -> list[KeptMessage]:
    """Return messages that came after one, were refused, and that nobody has settled, the oldest first."""
    rows = journal.read(
        "SELECT m.*, 0 AS is_settled FROM order_messages m WHERE (state = 'refused' OR faults <> '[]')"  # noqa: S608
        f" AND state = 'refused' AND message_id > ? AND NOT {_SETTLED} ORDER BY message_id LIMIT ?",
        (message_id, SETTLED, limit),
    )
    return [_parse(row) for row in rows]


def _newest(journal: Journal, condition: str, limit: int) -> list[KeptMessage]:
    rows = journal.read(
        f"SELECT m.*, {_SETTLED} AS is_settled FROM order_messages m WHERE {condition}"  # noqa: S608 -- constants
        " ORDER BY message_id DESC LIMIT ?",
        (SETTLED, SETTLED, limit),
    )
    return [_parse(row) for row in rows]


def find_order_of_placer(journal: Journal, namespace: str, placer_number: str) -> str | None:
    """Return the id of the order that a placer calls so."""
    rows = journal.read(
        "SELECT order_id FROM placer_orders WHERE namespace = ? AND placer_number = ?", (namespace, placer_number)
    )
    return str(rows[0]["order_id"]) if rows else None


def find_placer(journal: Journal, order_id: str) -> tuple[str, str] | None:
    """Return by which number, of which namespace, the placer of an order knows it."""
    rows = journal.read(
        "SELECT namespace, placer_number FROM placer_orders WHERE order_id = ? ORDER BY rowid LIMIT 1", (order_id,)
    )
    return (str(rows[0]["placer_number"]), str(rows[0]["namespace"])) if rows else None


def name_by_placer(connection: sqlite3.Connection, namespace: str, placer_number: str, order_id: str) -> None:
    """Record by which number the placer knows an order."""
    connection.execute(
        "INSERT INTO placer_orders VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (namespace, placer_number, order_id)
    )


def faults_to_json(faults: Sequence[Fault]) -> str:
    """Return faults as the journal keeps them."""
    return json.dumps([asdict(fault) for fault in faults], ensure_ascii=False)


def faults_from_json(text: str) -> tuple[Fault, ...]:
    """Return faults that the journal has kept."""
    return tuple(
        Fault(fault["where"], ErrorCode(fault["code"]), fault["words"], fault["order"]) for fault in json.loads(text)
    )


def _parse(row: sqlite3.Row) -> KeptMessage:
    values = dict(row)
    return KeptMessage(
        **values
        | {
            "received_at": from_text(values["received_at"]),
            "decided_at": from_text(values["decided_at"]) if values["decided_at"] else None,
            "faults": faults_from_json(values["faults"]),
            "order_ids": tuple(json.loads(values["order_ids"])),
            "is_settled": bool(values["is_settled"]),
        }
    )
