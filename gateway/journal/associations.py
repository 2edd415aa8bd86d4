"""The journal of associations and of what was refused, in words."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid

REFUSALS_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused and what the technician can do; `status` is None for an association or a context."""

    at: datetime
    calling_ae_title: str
    peer_address: str
    status: int | None
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class AssociationTally:
    """What one association has brought for one study."""

    association_id: str
    study_uid: Uid
    calling_ae_title: str
    instances: int
    size_bytes: int


def open_association(
    connection: sqlite3.Connection, association_id: str, calling_ae_title: str, peer_address: str, at: datetime
) -> None:
    """Record an accepted association."""
    connection.execute(
        "INSERT INTO associations (association_id, calling_ae_title, peer_address, opened_at) VALUES (?, ?, ?, ?)",
        (association_id, calling_ae_title, peer_address, to_text(at)),
    )


def close_association(journal: Journal, association_id: str, at: datetime, *, cut_off: bool = False) -> None:
    """Record the end of an association and, for each study it brought, the custody event RECEIVED.

    `cut_off`: the gateway itself stopped before the association ended. Harmless to repeat.
    """
    tallies = tallies_of(journal, association_id)
    with journal.transaction() as connection:
        cursor = connection.execute(
            "UPDATE associations SET closed_at = ? WHERE association_id = ? AND closed_at IS NULL",
            (to_text(at), association_id),
        )
        if cursor.rowcount != 1:
            return
        for tally in tallies:
            detail = {
                "association_id": association_id,
                "calling_ae_title": tally.calling_ae_title,
                "instances": tally.instances,
                "size_bytes": tally.size_bytes,
                "cut_off": cut_off,
            }
            add_custody(connection, Hop.RECEIVED, tally.study_uid, at, detail)


def open_association_ids(journal: Journal) -> list[str]:
    """Return the associations without an end; at start-up those that the last stop cut off."""
    rows = journal.read("SELECT association_id FROM associations WHERE closed_at IS NULL")
    return [row["association_id"] for row in rows]


def tallies_of(journal: Journal, association_id: str) -> list[AssociationTally]:
    """Return what the association brought, one entry for each study."""
    rows = journal.read(
        "SELECT association_id, study_uid, max(calling_ae_title) AS calling_ae_title, count(*) AS instances,"
        " sum(size_bytes) AS size_bytes FROM instances WHERE association_id = ?"
        " GROUP BY study_uid ORDER BY study_uid",
        (association_id,),
    )
    return [AssociationTally(**dict(row)) for row in rows]


def record_refusal(connection: sqlite3.Connection, refusal: Refusal) -> None:
    """Record a refusal for the technician's page; the oldest beyond `REFUSALS_KEPT_MAX` go."""
    connection.execute(
        "INSERT INTO refusals (at, calling_ae_title, peer_address, status, reason, remedy) VALUES (?, ?, ?, ?, ?, ?)",
        (
            to_text(refusal.at),
            refusal.calling_ae_title,
            refusal.peer_address,
            refusal.status,
            refusal.reason,
            refusal.remedy,
        ),
    )
    connection.execute(
        "DELETE FROM refusals WHERE refusal_id <= (SELECT max(refusal_id) FROM refusals) - ?", (REFUSALS_KEPT_MAX,)
    )


def latest_refusals(journal: Journal, limit: int) -> list[Refusal]:
    """Return the newest refusals first."""
    rows = journal.read(
        "SELECT at, calling_ae_title, peer_address, status, reason, remedy FROM refusals"
        " ORDER BY refusal_id DESC LIMIT ?",
        (limit,),
    )
    return [Refusal(**(dict(row) | {"at": from_text(row["at"])})) for row in rows]
