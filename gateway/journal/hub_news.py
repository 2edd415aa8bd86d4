"""What the hub has told: its own part of the ledger of this site's studies, its clock, which accounts it knows.

Durable, so that the console shows with the line down what was known when it went down. An event told twice is kept
once, by the hub's number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.deliveries import requeue_void
from storage.contract.hops import Hop
from storage.contract.wire import HubEvent


@dataclass(frozen=True, slots=True)
class HubContact:
    """What the hub has told; `clock_offset_s`: this machine's clock minus the hub's."""

    clock_offset_s: float | None
    accounts_version: str
    accounts_at: datetime | None
    events_through: datetime | None


def load_contact(journal: Journal) -> HubContact:
    """Return what is known of the hub."""
    row = journal.read("SELECT * FROM hub_contact")[0]
    moments = {name: from_text(row[name]) if row[name] else None for name in ("accounts_at", "events_through")}
    return HubContact(clock_offset_s=row["clock_offset_s"], accounts_version=row["accounts_version"] or "", **moments)


def note_clock_offset(journal: Journal, clock_offset_s: float) -> None:
    """Record how far this machine's clock is from the hub's."""
    with journal.transaction() as connection:
        connection.execute("UPDATE hub_contact SET clock_offset_s = ?", (clock_offset_s,))


def is_known(journal: Journal, event: HubEvent) -> bool:
    """Return whether this event of the hub is kept here already."""
    return bool(journal.read("SELECT 1 FROM hub_events WHERE event_id = ?", (event.event_id,)))


def add_hub_events(journal: Journal, events: Sequence[HubEvent], through: datetime) -> None:
    """Keep these events, and that there is none before `through` that is not here.

    A report that they newly say is void is told to HIS and PACS once more, in the same transaction.
    """
    new_ones = [event for event in events if event.hop == Hop.VOIDED and not is_known(journal, event)]
    with journal.transaction() as connection:
        for event in new_ones:
            requeue_void(connection, event.study_uid)
        connection.executemany(
            "INSERT INTO hub_events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (
                    event.event_id,
                    event.study_uid,
                    event.hop,
                    to_text(event.at),
                    event.actor_name,
                    json.dumps(event.detail, sort_keys=True, ensure_ascii=False),
                )
                for event in events
            ],
        )
        connection.execute("UPDATE hub_contact SET events_through = ?", (to_text(through),))


def find_void_since(journal: Journal, study_uids: Sequence[str], since: datetime) -> bool:
    """Return whether the hub has said since then that a report about these studies is void.

    Both moments are of the hub's clock: what is read anew after a void report is another report.
    """
    told = journal.read(
        "SELECT 1 FROM hub_events WHERE hop = ? AND at >= ? AND study_uid IN (SELECT value FROM json_each(?)) LIMIT 1",
        (Hop.VOIDED, to_text(since), json.dumps(list(study_uids))),
    )
    return bool(told)


def hub_events_of(journal: Journal, study_uid: str) -> list[HubEvent]:
    """Return the hub's events of a study, by time."""
    rows = journal.read("SELECT * FROM hub_events WHERE study_uid = ? ORDER BY at, event_id", (study_uid,))
    return [HubEvent(**(dict(row) | {"detail": json.loads(row["detail"])})) for row in rows]
