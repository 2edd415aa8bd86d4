"""Imports of folders, disks and ZIP files, as rows: any process may ask for one, the serving one does it.

Durable: every function commits one transaction. How far an import came stands here, so that it goes on after a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.journal.database import Journal, from_text, to_text
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane

IMPORTS_KEPT_MAX: Final = 1000
REASONS_MAX: Final = 50  # for each import; what comes after counts under OTHER_REASONS
OTHER_REASONS: Final = "other reasons"
EXAMPLE_CHARACTERS_MAX: Final = 200


class ImportState(StrEnum):
    """Where an import stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


OPEN_STATES: Final = frozenset({ImportState.WAITING, ImportState.RUNNING})


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One import. `files` is 0 until the source was listed; `files_done` of them were looked at.

    `order_id`: the order that it was started for; `joined`: what became of that (`gateway.importing.joining.Joined`).
    """

    import_id: str
    source: Path
    lane: Lane | None
    started_by: str
    remove_source: bool
    state: ImportState
    created_at: datetime
    finished_at: datetime | None
    association_id: str | None
    files: int
    files_done: int
    stored: int
    held: int
    left_out: int
    problem: str | None
    order_id: str | None
    joined: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Why files of an import were left out. `example` is a name inside the source and may name a patient."""

    reason: str
    files: int
    example: str


@dataclass(slots=True)
class Progress:
    """What became of the files since the last time it was written down."""

    files_done: int = 0
    stored: int = 0
    held: int = 0
    left_out: Sequence[tuple[str, str]] = ()  # reason, name


def add_import(
    journal: Journal,
    source: Path,
    *,
    started_by: str,
    now: datetime,
    lane: Lane | None = None,
    remove_source: bool = False,
    order_id: str | None = None,
) -> str:
    """Ask for an import and return its id; the oldest that have ended beyond IMPORTS_KEPT_MAX are forgotten.

    `source` is an absolute path on this machine. `remove_source`: it is a copy of ours, not needed afterwards.
    `order_id`: the order that its study is for.
    """
    import_id = new_id()
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO imports (import_id, source, lane, started_by, remove_source, state, created_at,"
            " order_id) VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?)",
            (import_id, str(source), lane, started_by, int(remove_source), to_text(now), order_id),
        )
        connection.execute(
            "DELETE FROM imports WHERE state NOT IN ('waiting', 'running') AND import_id NOT IN"
            " (SELECT import_id FROM imports ORDER BY created_at DESC LIMIT ?)",
            (IMPORTS_KEPT_MAX,),
        )
    return import_id


def find_import(journal: Journal, import_id: str) -> ImportRow | None:
    """Return the import."""
    rows = journal.read("SELECT * FROM imports WHERE import_id = ?", (import_id,))
    return _parse(rows[0]) if rows else None


def list_imports(journal: Journal, limit: int) -> list[ImportRow]:
    """Return the newest imports first."""
    return [_parse(row) for row in journal.read("SELECT * FROM imports ORDER BY created_at DESC LIMIT ?", (limit,))]


def find_next_import(journal: Journal) -> ImportRow | None:
    """Return the oldest import that has not ended."""
    rows = journal.read(
        "SELECT * FROM imports WHERE state IN ('waiting', 'running') ORDER BY created_at, import_id LIMIT 1"
    )
    return _parse(rows[0]) if rows else None


def findings_of(journal: Journal, import_id: str) -> list[Finding]:
    """Return why files were left out, the most frequent reason first."""
    rows = journal.read(
        "SELECT reason, files, example FROM import_findings WHERE import_id = ? ORDER BY files DESC, reason",
        (import_id,),
    )
    return [Finding(**dict(row)) for row in rows]


def begin_import(journal: Journal, import_id: str, association_id: str, files: int) -> None:
    """Record that the source was listed and is being read; harmless to repeat."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE imports SET state = 'running', association_id = ?, files = ?, problem = NULL"
            " WHERE import_id = ? AND state IN ('waiting', 'running')",
            (association_id, files, import_id),
        )


def note_progress(journal: Journal, import_id: str, progress: Progress) -> bool:
    """Add what was done since the last time; return whether the import is still wanted."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE imports SET files_done = files_done + ?, stored = stored + ?, held = held + ?,"
            " left_out = left_out + ?, problem = NULL WHERE import_id = ?",
            (progress.files_done, progress.stored, progress.held, len(progress.left_out), import_id),
        )
        for reason, name in progress.left_out:
            _add_finding(connection, import_id, reason, name)
        row = connection.execute("SELECT state FROM imports WHERE import_id = ?", (import_id,)).fetchone()
    return row is not None and row["state"] == ImportState.RUNNING


def note_import_problem(journal: Journal, import_id: str, problem: str) -> None:
    """Say in words why an import does not go on for the moment."""
    with journal.transaction() as connection:
        connection.execute("UPDATE imports SET problem = ? WHERE import_id = ?", (problem, import_id))


def note_joined(journal: Journal, import_id: str, joined: str) -> None:
    """Record what became of the import's order."""
    with journal.transaction() as connection:
        connection.execute("UPDATE imports SET joined = ? WHERE import_id = ?", (joined, import_id))


def end_import(journal: Journal, import_id: str, state: ImportState, now: datetime, problem: str | None = None) -> None:
    """Record the end of an import; one that has ended stays as it is, but for a cancelled one's time."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE imports SET state = ?, finished_at = ?, problem = ? WHERE import_id = ?"
            " AND state IN ('waiting', 'running')",
            (state, to_text(now), problem, import_id),
        )


def cancel_import(journal: Journal, import_id: str, now: datetime) -> bool:
    """Stop an import; what it has brought stays. Return whether there was something to stop."""
    with journal.transaction() as connection:
        changed = connection.execute(
            "UPDATE imports SET state = 'cancelled', finished_at = ?"
            " WHERE import_id = ? AND state IN ('waiting', 'running')",
            (to_text(now), import_id),
        ).rowcount
    return changed == 1


def choose_lane(connection: sqlite3.Connection, association_id: str, lane: Lane) -> None:
    """Let the studies that an import has brought travel in the lane that the person chose."""
    connection.execute(
        "INSERT INTO study_controls (study_uid, lane) SELECT DISTINCT study_uid, ? FROM instances"
        " WHERE association_id = ? ON CONFLICT (study_uid) DO UPDATE SET lane = excluded.lane",
        (lane, association_id),
    )


def _add_finding(connection: sqlite3.Connection, import_id: str, reason: str, name: str) -> None:
    known = connection.execute(
        "SELECT count(*) AS reasons, sum(reason = ?) AS is_known FROM import_findings WHERE import_id = ?",
        (reason, import_id),
    ).fetchone()
    filed = reason if known["is_known"] or known["reasons"] < REASONS_MAX else OTHER_REASONS
    connection.execute(
        "INSERT INTO import_findings VALUES (?, ?, 1, ?)"
        " ON CONFLICT (import_id, reason) DO UPDATE SET files = files + 1",
        (import_id, filed, name[:EXAMPLE_CHARACTERS_MAX]),
    )


def _parse(row: sqlite3.Row) -> ImportRow:
    values = dict(row)
    return ImportRow(
        **values
        | {
            "source": Path(values["source"]),
            "lane": Lane(values["lane"]) if values["lane"] else None,
            "remove_source": bool(values["remove_source"]),
            "state": ImportState(values["state"]),
            "created_at": from_text(values["created_at"]),
            "finished_at": from_text(values["finished_at"]) if values["finished_at"] else None,
        }
    )
