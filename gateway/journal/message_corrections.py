"""Which orders a person made of a refused HL7 message. The message itself stays as it came.

Durable: commits with its caller. Holds no patient data but ids.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.order_messages import faults_from_json, faults_to_json
from storage.hl7.faults import Fault


@dataclass(frozen=True, slots=True)
class Correction:
    """One order made of a message. `number`: which of the message's orders; `faults`: why the message was refused."""

    message_id: int
    number: int
    order_id: str
    faults: tuple[Fault, ...]
    corrected_at: datetime
    corrected_by: str


def add_correction(connection: sqlite3.Connection, correction: Correction) -> None:
    """Record an order made of a message. Raises sqlite3.IntegrityError: there is one of this number already."""
    connection.execute(
        "INSERT INTO message_corrections VALUES (?, ?, ?, ?, ?, ?)",
        (
            correction.message_id,
            correction.number,
            correction.order_id,
            faults_to_json(correction.faults),
            to_text(correction.corrected_at),
            correction.corrected_by,
        ),
    )


def corrections_of_message(journal: Journal, message_id: int) -> list[Correction]:
    """Return the orders made of a message, by their number in it."""
    rows = journal.read("SELECT * FROM message_corrections WHERE message_id = ? ORDER BY number", (message_id,))
    return [_parse(row) for row in rows]


def find_correction(journal: Journal, order_id: str) -> Correction | None:
    """Return of which message an order was made, None where it was not."""
    rows = journal.read("SELECT * FROM message_corrections WHERE order_id = ?", (order_id,))
    return _parse(rows[0]) if rows else None


def _parse(row: sqlite3.Row) -> Correction:
    values = dict(row)
    return Correction(
        **values | {"faults": faults_from_json(values["faults"]), "corrected_at": from_text(values["corrected_at"])}
    )
