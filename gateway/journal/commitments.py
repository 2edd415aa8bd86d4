"""The journal of storage commitment: requests, what is known of their instances, and what was told.

Durable: every function that writes commits one transaction, or is part of its caller's. A request that was answered
with Success is answered by an N-EVENT-REPORT in the end, whatever happens in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.identifiers import Uid, parse_uid

PROBLEM_CHARACTERS_MAX: Final = 500


class CommitmentState(StrEnum):
    """How far a request is; the order of the members is its road, `given_up` its other end."""

    WAITING = "waiting"
    DUE = "due"
    TOLD = "told"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance that a device wants to be sure of."""

    sop_class_uid: Uid
    sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class Known:
    """What the gateway knows of an instance. `sop_class_uid` is None when it was never taken."""

    sop_class_uid: str | None = None
    study_uid: str | None = None
    is_here: bool = False  # the gateway holds it
    is_arriving: bool = False  # and its study is not complete yet
    is_confirmed: bool = False  # the hub holds it
    in_quarantine: bool = False


@dataclass(frozen=True, slots=True)
class Commitment:
    """One request, without its instances."""

    commitment_id: str
    transaction_uid: Uid
    calling_ae_title: str
    asked_at: datetime
    decided_at: datetime | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One instance of a decided request; `failure` is None when it is committed."""

    reference: Reference
    failure: int | None


def note_confirmed(connection: sqlite3.Connection, study_uid: Uid, revision: int, at: datetime) -> None:
    """Remember the instances of a transfer that the hub has confirmed."""
    connection.execute(
        "INSERT INTO confirmed_instances SELECT sop_instance_uid, sop_class_uid, study_uid, ? FROM instances"
        " WHERE study_uid = ? AND revision = ? ON CONFLICT (sop_instance_uid) DO NOTHING",
        (to_text(at), study_uid, revision),
    )


def forget_confirmed(journal: Journal, before: datetime) -> int:
    """Forget instances confirmed before this time that the gateway does not hold any more; return how many."""
    with journal.transaction() as connection:
        return connection.execute(
            "DELETE FROM confirmed_instances WHERE confirmed_at < ?"
            " AND sop_instance_uid NOT IN (SELECT sop_instance_uid FROM instances)",
            (to_text(before),),
        ).rowcount


def forget_finished(journal: Journal, before: datetime) -> None:
    """Forget requests that ended before this time."""
    with journal.transaction() as connection:
        connection.execute(
            "DELETE FROM commitments WHERE state IN ('told', 'given_up') AND coalesce(told_at, decided_at) < ?",
            (to_text(before),),
        )


def find_known(journal: Journal, sop_instance_uid: str) -> Known:
    """Return what is known of an instance."""
    rows = journal.read(
        "SELECT coalesce(c.sop_class_uid, i.sop_class_uid) AS sop_class_uid,"
        " coalesce(i.study_uid, c.study_uid) AS study_uid, i.state, c.confirmed_at,"
        " EXISTS (SELECT 1 FROM quarantine q WHERE q.sop_instance_uid = asked.uid) AS in_quarantine"
        " FROM (SELECT ? AS uid) asked LEFT JOIN instances i ON i.sop_instance_uid = asked.uid"
        " LEFT JOIN confirmed_instances c ON c.sop_instance_uid = asked.uid",
        (sop_instance_uid,),
    )
    row = rows[0]
    return Known(
        sop_class_uid=row["sop_class_uid"],
        study_uid=row["study_uid"],
        is_here=row["state"] is not None,
        is_arriving=row["state"] == "incoming",
        is_confirmed=row["confirmed_at"] is not None,
        in_quarantine=bool(row["in_quarantine"]),
    )


def count_arriving(journal: Journal, study_uid: str) -> int:
    """Return how many instances of the study wait for its completion."""
    rows = journal.read("SELECT count(*) AS n FROM instances WHERE study_uid = ? AND state = 'incoming'", (study_uid,))
    return int(rows[0]["n"])


def add_commitment(
    journal: Journal, commitment_id: str, transaction_uid: Uid, ae_title: str, wanted: Sequence[Reference], at: datetime
) -> bool:
    """Keep a request; return False when this transaction was asked for before with other instances.

    The same request again is answered again.
    """
    with journal.transaction() as connection:
        held = connection.execute(
            "SELECT commitment_id FROM commitments WHERE calling_ae_title = ? AND transaction_uid = ?",
            (ae_title, transaction_uid),
        ).fetchone()
        if held is not None:
            answers = _answers(connection, held["commitment_id"])
            if {answer.reference for answer in answers} != set(wanted):
                return False
            connection.execute(
                "UPDATE commitments SET state = 'waiting', asked_at = ?, attempts = 0, next_attempt_at = ?,"
                " problem = NULL WHERE commitment_id = ? AND state IN ('told', 'given_up')",
                (to_text(at), to_text(at), held["commitment_id"]),
            )
            return True
        connection.execute(
            "INSERT INTO commitments (commitment_id, transaction_uid, calling_ae_title, asked_at, state,"
            " next_attempt_at) VALUES (?, ?, ?, ?, 'waiting', ?)",
            (commitment_id, transaction_uid, ae_title, to_text(at), to_text(at)),
        )
        connection.executemany(
            "INSERT INTO commitment_instances (commitment_id, position, sop_class_uid, sop_instance_uid)"
            " VALUES (?, ?, ?, ?)",
            [
                (commitment_id, position, reference.sop_class_uid, reference.sop_instance_uid)
                for position, reference in enumerate(wanted)
            ],
        )
    return True


def list_waiting(journal: Journal, limit: int, after: str = "") -> list[Commitment]:
    """Return requests that are not decided, in order of their id, after this one."""
    rows = journal.read(
        "SELECT * FROM commitments WHERE state = 'waiting' AND commitment_id > ? ORDER BY commitment_id LIMIT ?",
        (after, limit),
    )
    return [_parse(row) for row in rows]


def list_due(journal: Journal, calling_ae_title: str, now: datetime, limit: int) -> list[Commitment]:
    """Return what this device is to be told now, the oldest first."""
    rows = journal.read(
        "SELECT * FROM commitments WHERE state = 'due' AND calling_ae_title = ? AND next_attempt_at <= ?"
        " ORDER BY decided_at LIMIT ?",
        (calling_ae_title, to_text(now), limit),
    )
    return [_parse(row) for row in rows]


def find_next_attempt(journal: Journal, calling_ae_title: str) -> datetime | None:
    """Return when this device is to be told next, None when nothing is due."""
    rows = journal.read(
        "SELECT min(next_attempt_at) AS at FROM commitments WHERE state = 'due' AND calling_ae_title = ?",
        (calling_ae_title,),
    )
    return from_text(rows[0]["at"]) if rows[0]["at"] is not None else None


def list_answers(journal: Journal, commitment_id: str) -> list[Answer]:
    """Return the instances of a request, in the order in which they were named."""
    return _answers(journal, commitment_id)


def mark_decided(
    journal: Journal, commitment: Commitment, failures: Sequence[int | None], refusal: Refusal | None, now: datetime
) -> None:
    """Record the outcome of each instance in order; from here the device is to be told. `refusal`: words for people."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE commitment_instances SET failure = ? WHERE commitment_id = ? AND position = ?",
            [(failure, commitment.commitment_id, position) for position, failure in enumerate(failures)],
        )
        connection.execute(
            "UPDATE commitments SET state = 'due', decided_at = ?, next_attempt_at = ? WHERE commitment_id = ?",
            (to_text(now), to_text(now), commitment.commitment_id),
        )
        if refusal is not None:
            record_refusal(connection, refusal)


def mark_told(journal: Journal, commitment_id: str, now: datetime) -> None:
    """Record that the device has taken the answer."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE commitments SET state = 'told', told_at = ?, problem = NULL WHERE commitment_id = ?",
            (to_text(now), commitment_id),
        )


def note_failure(journal: Journal, commitment_id: str, problem: str, next_attempt_at: datetime) -> None:
    """Record that the device could not be told, and when that is tried again."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE commitments SET attempts = attempts + 1, problem = ?, next_attempt_at = ? WHERE commitment_id = ?",
            (problem[:PROBLEM_CHARACTERS_MAX], to_text(next_attempt_at), commitment_id),
        )


def mark_given_up(journal: Journal, commitment_id: str, refusal: Refusal) -> None:
    """Record that the device will not be told any more."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE commitments SET state = 'given_up', problem = ? WHERE commitment_id = ?",
            (refusal.reason[:PROBLEM_CHARACTERS_MAX], commitment_id),
        )
        record_refusal(connection, refusal)


def read_commitments(journal: Journal, limit: int) -> list[dict[str, Any]]:
    """Return the open requests and the newest ended ones as plain values, for people."""
    rows = journal.read(
        "SELECT transaction_uid, calling_ae_title, asked_at, state, attempts, coalesce(problem, '') AS problem,"
        " (SELECT count(*) FROM commitment_instances i WHERE i.commitment_id = c.commitment_id) AS instances,"
        " (SELECT count(failure) FROM commitment_instances i WHERE i.commitment_id = c.commitment_id) AS failed"
        " FROM commitments c ORDER BY state IN ('told', 'given_up'), asked_at DESC LIMIT ?",
        (limit,),
    )
    return [dict(row) for row in rows]


def _answers(source: Journal | sqlite3.Connection, commitment_id: str) -> list[Answer]:
    query = "SELECT * FROM commitment_instances WHERE commitment_id = ? ORDER BY position"
    rows = (
        source.read(query, (commitment_id,))
        if isinstance(source, Journal)
        else source.execute(query, (commitment_id,)).fetchall()
    )
    return [
        Answer(Reference(parse_uid(row["sop_class_uid"]), parse_uid(row["sop_instance_uid"])), row["failure"])
        for row in rows
    ]


def _parse(row: sqlite3.Row) -> Commitment:
    return Commitment(
        commitment_id=row["commitment_id"],
        transaction_uid=parse_uid(row["transaction_uid"]),
        calling_ae_title=row["calling_ae_title"],
        asked_at=from_text(row["asked_at"]),
        decided_at=from_text(row["decided_at"]) if row["decided_at"] else None,
        attempts=row["attempts"],
    )
