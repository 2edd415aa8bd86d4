"""The gateway's part of the custody ledger: numbered without gaps, durable on commit, reported to the hub in order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.wire import CustodyEventReport


def add_custody(
    connection: sqlite3.Connection,
    hop: Hop,
    study_uid: Uid,
    at: datetime,
    detail: Mapping[str, object],
    sop_instance_uid: Uid | None = None,
) -> int:
    """Append one event and return its number; `detail` holds ids and counts, never patient data."""
    cursor = connection.execute(
        "INSERT INTO custody (hop, study_uid, sop_instance_uid, at, detail) VALUES (?, ?, ?, ?, ?)",
        (hop, study_uid, sop_instance_uid, to_text(at), json.dumps(detail, sort_keys=True)),
    )
    if cursor.lastrowid is None:
        raise AssertionError("SQLite gives every inserted row a number")
    return cursor.lastrowid


def unreported_custody(journal: Journal, limit: int) -> list[CustodyEventReport]:
    """Return the oldest events that the hub has not accepted yet, in order of their number."""
    rows = journal.read("SELECT * FROM custody WHERE reported = 0 ORDER BY seq LIMIT ?", (limit,))
    return [_parse(row) for row in rows]


def custody_of(journal: Journal, study_uid: Uid) -> list[CustodyEventReport]:
    """Return every event of the study, in order of its number."""
    return [_parse(row) for row in journal.read("SELECT * FROM custody WHERE study_uid = ? ORDER BY seq", (study_uid,))]


def mark_reported(connection: sqlite3.Connection, through_seq: int) -> None:
    """Record that the hub holds every event up to and with this number."""
    connection.execute("UPDATE custody SET reported = 1 WHERE seq <= ? AND reported = 0", (through_seq,))


def mark_unreported(connection: sqlite3.Connection, after_seq: int) -> None:
    """Have every event after this number reported again: the hub was set back to an earlier day and has lost them."""
    connection.execute("UPDATE custody SET reported = 0 WHERE seq > ? AND reported = 1", (after_seq,))


def renumber_custody(connection: sqlite3.Connection, after_seq: int) -> None:
    """Move all events behind those that the hub holds of this gateway from before its journal was lost."""
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM custody").fetchone()[0]
    connection.execute("UPDATE custody SET seq = -seq")  # so that no number is taken twice on the way
    connection.execute("UPDATE custody SET seq = ? - seq, reported = 0", (after_seq,))
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'custody'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('custody', ?)", (after_seq + newest,))


def _parse(row: sqlite3.Row) -> CustodyEventReport:
    return CustodyEventReport(
        seq=row["seq"],
        hop=Hop(row["hop"]),
        study_uid=row["study_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        at=from_text(row["at"]),
        detail=json.loads(row["detail"]),
    )
