"""What lies in quarantine as people see it: why, since when, who dismissed it, what became of another try.

Durable: `ask_release` and `end_release` commit with their callers. The object itself lies in the spool.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.database import Journal, from_text, to_text
from storage.contract.identifiers import Uid

ROWS_MAX: Final = 200  # of a list
SETTLED: Final = "matter_settled"  # the action with which a person says that nothing more has to be done

# What was tried again after somebody dismissed it needs a person again.
_ROWS: Final = (
    "SELECT q.*, r.asked_at, r.asked_by, r.tried_at, r.problem, s.at AS settled_at, s.actor AS settled_by"
    " FROM quarantine q LEFT JOIN quarantine_releases r USING (quarantine_id)"
    " LEFT JOIN actions s ON s.action_id = (SELECT max(a.action_id) FROM actions a WHERE a.verb = ?"
    "  AND a.subject = q.quarantine_id AND a.at >= q.at AND (r.asked_at IS NULL OR a.at >= r.asked_at))"
)


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One object in quarantine. `tried_at`: another try that a person asked for has ended, `problem` says how."""

    quarantine_id: str
    study_uid: Uid | None
    sop_instance_uid: Uid | None
    at: datetime
    reason: str
    asked_at: datetime | None
    asked_by: str | None
    tried_at: datetime | None
    problem: str | None
    settled_at: datetime | None
    settled_by: str | None

    @property
    def is_due(self) -> bool:
        """Return whether somebody has asked to try it again and that has not been done."""
        return self.asked_at is not None and self.tried_at is None


def list_quarantine(journal: Journal, limit: int, *, settled: bool | None = None) -> list[QuarantineRow]:
    """Return what lies in quarantine, the newest first; `settled`: only what was dismissed, or only the rest."""
    condition = {None: "1", True: "s.at IS NOT NULL", False: "s.at IS NULL"}[settled]
    rows = journal.read(f"{_ROWS} WHERE {condition} ORDER BY q.at DESC, q.quarantine_id LIMIT ?", (SETTLED, limit))
    return [_parse(row) for row in rows]


def find_quarantined(journal: Journal, quarantine_id: str) -> QuarantineRow | None:
    """Return the object."""
    rows = journal.read(f"{_ROWS} WHERE q.quarantine_id = ?", (SETTLED, quarantine_id))
    return _parse(rows[0]) if rows else None


def find_due(journal: Journal) -> QuarantineRow | None:
    """Return the object that waits for longest to be tried again."""
    rows = journal.read(
        f"{_ROWS} WHERE r.asked_at IS NOT NULL AND r.tried_at IS NULL ORDER BY r.asked_at LIMIT 1", (SETTLED,)
    )
    return _parse(rows[0]) if rows else None


def ask_release(connection: sqlite3.Connection, quarantine_id: str, asked_by: str, now: datetime) -> None:
    """Record that somebody wants the object tried again."""
    connection.execute(
        "INSERT INTO quarantine_releases (quarantine_id, asked_at, asked_by) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (quarantine_id) DO UPDATE SET asked_at = ?2, asked_by = ?3, tried_at = NULL, problem = NULL",
        (quarantine_id, to_text(now), asked_by),
    )


def end_release(connection: sqlite3.Connection, quarantine_id: str, tried_at: datetime | None, problem: str) -> None:
    """Record why another try came to nothing; `tried_at` None: it has to wait and stays due."""
    connection.execute(
        "UPDATE quarantine_releases SET tried_at = ?, problem = ? WHERE quarantine_id = ?",
        (to_text(tried_at) if tried_at else None, problem, quarantine_id),
    )


def drop_quarantined(connection: sqlite3.Connection, quarantine_id: str) -> None:
    """Forget an object that is not in quarantine any more."""
    connection.execute("DELETE FROM quarantine_releases WHERE quarantine_id = ?", (quarantine_id,))
    connection.execute("DELETE FROM quarantine WHERE quarantine_id = ?", (quarantine_id,))


def _parse(row: sqlite3.Row) -> QuarantineRow:
    times = ("at", "asked_at", "tried_at", "settled_at")
    return QuarantineRow(**dict(row) | {name: from_text(row[name]) if row[name] else None for name in times})
