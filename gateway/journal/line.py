"""How the line is and what a person asked of it: one row, readable by every process.

Durable: all of it. The measured values are written every few seconds at most; they are where the next start begins.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text


@dataclass(frozen=True, slots=True)
class LineState:
    """Speeds in bytes per second; None where nothing is known or nothing was asked."""

    measured_bytes_per_s: float | None
    measured_at: datetime | None
    streams: int | None
    limit_bytes_per_s: float | None
    reached_at: datetime | None
    unreachable_since: datetime | None
    unreachable_because: str | None
    wished_bytes_per_s: float | None
    paused_at: datetime | None

    @property
    def bytes_per_s(self) -> float | None:
        """How fast uploads go now: the line, or the limit where that is lower. What an estimate of time divides by."""
        known = [speed for speed in (self.measured_bytes_per_s, self.limit_bytes_per_s) if speed]
        return min(known) if known else None


def read_line(journal: Journal) -> LineState:
    """Return the line as it was last noted."""
    row = journal.read("SELECT * FROM line")[0]
    times = ("measured_at", "reached_at", "unreachable_since", "paused_at")
    values = {name: row[name] for name in row.keys() if name != "one"}  # noqa: SIM118 -- a Row iterates over its values
    return LineState(**values | {name: from_text(row[name]) if row[name] else None for name in times})


def save_measured(
    journal: Journal, now: datetime, *, bytes_per_s: float | None, streams: int, limit_bytes_per_s: float | None
) -> None:
    """Note how fast the line is, None: not measured yet, over how many streams, and what limit counts."""
    with journal.transaction() as connection:
        connection.execute("UPDATE line SET streams = ?, limit_bytes_per_s = ?", (streams, limit_bytes_per_s))
        if bytes_per_s is not None:
            connection.execute("UPDATE line SET measured_bytes_per_s = ?, measured_at = ?", (bytes_per_s, to_text(now)))


def save_reached(journal: Journal, now: datetime) -> None:
    """Note that the hub has given a usable answer."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE line SET reached_at = ?, unreachable_since = NULL, unreachable_because = NULL", (to_text(now),)
        )


def save_unreachable(journal: Journal, since: datetime, because: str) -> None:
    """Note that the hub cannot be reached, in words; the first time of a row of failures counts."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE line SET unreachable_since = coalesce(unreachable_since, ?), unreachable_because = ?",
            (to_text(since), because),
        )


def set_paused(connection: sqlite3.Connection, paused_at: datetime | None) -> None:
    """Stop all uploads, or let them go on."""
    connection.execute("UPDATE line SET paused_at = ?", (to_text(paused_at) if paused_at else None,))


def set_wished_limit(connection: sqlite3.Connection, bytes_per_s: float | None) -> None:
    """Set a person's limit over the plan's, or take it away."""
    connection.execute("UPDATE line SET wished_bytes_per_s = ?", (bytes_per_s,))
