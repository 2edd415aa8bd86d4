"""Everything in the journal that waits for its next attempt, whatever it is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gateway.journal.database import Journal, to_text

# The tables with a `next_attempt_at`, and which of their rows wait for it.
WAITING: Final = {
    "transfers": "state <> 'confirmed'",
    "documents": "state = 'announced'",
    "deliveries": "state = 'due'",
    "commitments": "state = 'due'",
    "prior_requests": "state = 'due'",
    "reader_packs": "state = 'due'",
    "reader_deliveries": "state = 'due'",
    "reader_reports": "state = 'due'",
}


def hurry_after_clock_change(journal: Journal, now: datetime, patience: timedelta) -> int:
    """Make due now what would be due more than `patience` after `now`; return how many rows that were."""
    later, at = to_text(now + patience), to_text(now)
    wrong = [
        table
        for table, waits in WAITING.items()
        if journal.read(f"SELECT 1 FROM {table} WHERE {waits} AND next_attempt_at > ? LIMIT 1", (later,))  # noqa: S608
    ]
    if not wrong:
        return 0
    with journal.transaction() as connection:
        return sum(
            connection.execute(
                f"UPDATE {table} SET next_attempt_at = ? WHERE {WAITING[table]} AND next_attempt_at > ?",  # noqa: S608
                (at, later),
            ).rowcount
            for table in wrong
        )
