"""What the return of the line and what people ask for change of transfers, whatever step these are at."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from gateway.journal.database import Journal, to_text
from gateway.journal.transfers import TransferKey, forget_declaration
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane


def hurry_after_outage(journal: Journal, now: datetime) -> int:
    """Have everything that waits for the line tried now; return how many transfers that are."""
    with journal.transaction() as connection:
        return connection.execute(
            "UPDATE transfers SET next_attempt_at = ?, attempts = 0, waits_for_line = 0 WHERE waits_for_line = 1",
            (to_text(now),),
        ).rowcount


def retry_now(connection: sqlite3.Connection, now: datetime, study_uid: Uid) -> None:
    """Have the transfers of a study tried now."""
    connection.execute(
        "UPDATE transfers SET next_attempt_at = ?, attempts = 0, problem = NULL"
        " WHERE study_uid = ? AND state <> 'confirmed'",
        (to_text(now), study_uid),
    )


def start_again(connection: sqlite3.Connection, study_uid: Uid) -> None:
    """Have the transfers of a study that are not confirmed declared and planned once more."""
    rows = connection.execute(
        "SELECT revision FROM transfers WHERE study_uid = ? AND state <> 'confirmed'", (study_uid,)
    ).fetchall()
    for row in rows:
        forget_declaration(connection, TransferKey(study_uid, row["revision"]))


def change_lane(connection: sqlite3.Connection, now: datetime, study_uid: Uid, lane: Lane) -> None:
    """Put every transfer of a study into another lane; the hub is told of those that it knows."""
    connection.execute(
        "UPDATE transfers SET lane = ?1, manifest = json_set(manifest, '$.lane', ?1), next_attempt_at = ?2"
        " WHERE study_uid = ?3 AND lane <> ?1",
        (lane, to_text(now), study_uid),
    )
