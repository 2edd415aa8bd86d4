"""Of any number of messages those that need somebody are found at once, and come first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.order_messages import SUBJECT, Envelope, decide_on_message, keep_message, list_messages
from gateway.journal.quarantine import SETTLED
from storage.hl7.order_answers import Letterhead
from tests.support.clock import SteerableClock

INSTRUCTIONS_AT_ONCE = 1000  # of SQLite's machine, between two counts


def test_what_needs_somebody_comes_first_and_costs_nothing_for_what_does_not(tmp_path: Path) -> None:
    journal, now = Journal(tmp_path / "journal.sqlite"), SteerableClock()()
    counts = []

    def keep(number: int, code: str, connection: sqlite3.Connection) -> int:
        head = Letterhead("HIS", f"C{number}", "ORM^O01", f"{number}")
        kept = keep_message(connection, Envelope("192.0.2.7", head, b"MSH"), now)
        decide_on_message(connection, kept, code=code, answer=b"", faults=(), order_ids=(), now=now)
        return kept

    with journal.transaction() as connection:
        refused = [keep(number, "AE", connection) for number in (1, 2)]
        record_action(connection, now, "tech", SETTLED, f"{SUBJECT}{refused[0]}")
    for more in (10, 3000):
        with journal.transaction() as connection:
            newest = [keep(more + number, "AA", connection) for number in range(more)][-1]
            ticks: list[int] = []
            connection.set_progress_handler(lambda ticks=ticks: ticks.append(1), INSTRUCTIONS_AT_ONCE)
            assert [one.message_id for one in list_messages(journal, only_open=True)] == [refused[1]]
            assert [one.message_id for one in list_messages(journal, limit=2)] == [refused[1], newest]
            connection.set_progress_handler(None, 0)
            counts.append(len(ticks))
    assert counts[1] <= counts[0] + 1
    everything = [one.message_id for one in list_messages(journal, limit=5000)]
    assert (everything[0], everything[-1], len(everything)) == (refused[1], refused[0], 3012)
