"""What people asked for, study by study, and who asked: read by the process that serves, written by any.

Durable: all of it. `latest_action` is a counter that grows with every action: cheap to look at several times a second.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.journal.database import Journal, from_text, to_text
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane


@dataclass(frozen=True, slots=True)
class StudyControl:
    """What was asked for one study. `lane` is a person's choice, `expected` how many instances were announced."""

    forced: bool = False
    expected: int | None = None
    lane: Lane | None = None
    paused_at: datetime | None = None
    cancelled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Who asked for what, about what. `detail` holds ids and counts."""

    action_id: int
    at: datetime
    actor: str
    verb: str
    subject: str
    detail: dict[str, Any]


def find_control(journal: Journal, study_uid: Uid) -> StudyControl:
    """Return what was asked for a study; of an unknown study nothing was."""
    rows = journal.read("SELECT * FROM study_controls WHERE study_uid = ?", (study_uid,))
    return _control(rows[0]) if rows else StudyControl()


def controls_of_arriving(journal: Journal) -> dict[str, StudyControl]:
    """Return what was asked for the studies of which something waits in `incoming`."""
    rows = journal.read(
        "SELECT * FROM study_controls c WHERE EXISTS"
        " (SELECT 1 FROM instances i WHERE i.study_uid = c.study_uid AND i.state = 'incoming')"
    )
    return {row["study_uid"]: _control(row) for row in rows}


def held_studies(journal: Journal) -> frozenset[str]:
    """Return the studies of which nothing shall go on the line: paused or cancelled."""
    rows = journal.read("SELECT study_uid FROM study_controls WHERE paused_at IS NOT NULL OR cancelled_at IS NOT NULL")
    return frozenset(row["study_uid"] for row in rows)


def set_forced(connection: sqlite3.Connection, study_uid: Uid, *, forced: bool) -> None:
    """Treat what has arrived of the study as all of it, or no longer."""
    _set(connection, study_uid, "forced", int(forced))


def set_expected(connection: sqlite3.Connection, study_uid: Uid, instances: int | None) -> None:
    """Record how many instances shall wait before the study is complete, None: nobody knows."""
    _set(connection, study_uid, "expected", instances)


def set_lane(connection: sqlite3.Connection, study_uid: Uid, lane: Lane | None) -> None:
    """Record a person's choice of lane, None: back to the rules."""
    _set(connection, study_uid, "lane", lane)


def set_study_paused(connection: sqlite3.Connection, study_uid: Uid, paused_at: datetime | None) -> None:
    """Hold a study back, or let it go on."""
    _set(connection, study_uid, "paused_at", to_text(paused_at) if paused_at else None)


def set_cancelled(connection: sqlite3.Connection, study_uid: Uid, cancelled_at: datetime | None) -> None:
    """Take a study out of the queue, or put it back; its files stay."""
    _set(connection, study_uid, "cancelled_at", to_text(cancelled_at) if cancelled_at else None)


def add_action(
    connection: sqlite3.Connection, at: datetime, actor: str, verb: str, subject: str, detail: Mapping[str, object]
) -> None:
    """Record who asked for what; the serving process notices within a second."""
    connection.execute(
        "INSERT INTO actions (at, actor, verb, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (to_text(at), actor, verb, subject, json.dumps(detail, sort_keys=True)),
    )


def latest_action(journal: Journal) -> int:
    """Return the number of the newest action, 0 when there is none."""
    return int(journal.read("SELECT coalesce(max(action_id), 0) AS n FROM actions")[0]["n"])


def list_actions(journal: Journal, limit: int, subject: str | None = None) -> list[Action]:
    """Return the newest actions, the latest first; those about one subject where it is given."""
    rows = journal.read(
        "SELECT * FROM actions WHERE ?1 IS NULL OR subject = ?1 ORDER BY action_id DESC LIMIT ?2", (subject, limit)
    )
    return [
        Action(
            action_id=row["action_id"],
            at=from_text(row["at"]),
            actor=row["actor"],
            verb=row["verb"],
            subject=row["subject"],
            detail=json.loads(row["detail"]),
        )
        for row in rows
    ]


def _set(connection: sqlite3.Connection, study_uid: Uid, column: str, value: object) -> None:
    connection.execute(
        f"INSERT INTO study_controls (study_uid, {column}) VALUES (?, ?)"  # noqa: S608 -- the callers' constants
        f" ON CONFLICT (study_uid) DO UPDATE SET {column} = excluded.{column}",
        (study_uid, value),
    )


def _control(row: sqlite3.Row) -> StudyControl:
    return StudyControl(
        forced=bool(row["forced"]),
        expected=row["expected"],
        lane=Lane(row["lane"]) if row["lane"] else None,
        paused_at=from_text(row["paused_at"]) if row["paused_at"] else None,
        cancelled_at=from_text(row["cancelled_at"]) if row["cancelled_at"] else None,
    )
