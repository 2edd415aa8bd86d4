"""Performed steps, and the orders that they do. Durable: all of it, each change in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from gateway.journal.database import Journal, from_text, to_text
from gateway.performed_steps.progress import PerformedStep, StepState
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane


def add_step(connection: sqlite3.Connection, step: PerformedStep, calling_ae_title: str, received_at: datetime) -> bool:
    """Keep a step that has begun; return False when there is one of that UID."""
    return bool(
        connection.execute(
            "INSERT INTO performed_steps (step_uid, calling_ae_title, state, study_uid, accession_number, started_at,"
            " ended_at, expected, instances, reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (
                step.step_uid,
                calling_ae_title,
                step.state,
                step.study_uid,
                step.accession_number,
                _text(step.started_at),
                _text(step.ended_at),
                step.expected,
                json.dumps(sorted(step.instances)),
                step.reason,
                to_text(received_at),
            ),
        ).rowcount
    )


def change_step(connection: sqlite3.Connection, step: PerformedStep) -> None:
    """Put what is known now in the place of what was."""
    connection.execute(
        "UPDATE performed_steps SET state = ?, ended_at = ?, expected = ?, instances = ?, reason = ?"
        " WHERE step_uid = ?",
        (
            step.state,
            _text(step.ended_at),
            step.expected,
            json.dumps(sorted(step.instances)),
            step.reason,
            step.step_uid,
        ),
    )


def link_order(connection: sqlite3.Connection, step_uid: str, order_id: str) -> None:
    """Record that the step does this order."""
    connection.execute("INSERT INTO performed_step_orders VALUES (?, ?) ON CONFLICT DO NOTHING", (step_uid, order_id))


def find_step(connection: sqlite3.Connection, step_uid: str) -> PerformedStep | None:
    """Return the step."""
    row = connection.execute("SELECT * FROM performed_steps WHERE step_uid = ?", (step_uid,)).fetchone()
    return _parse(row) if row is not None else None


def steps_of_order(connection: sqlite3.Connection, order_id: str) -> list[PerformedStep]:
    """Return every step that does the order."""
    rows = connection.execute(
        "SELECT s.* FROM performed_steps s JOIN performed_step_orders USING (step_uid) WHERE order_id = ?", (order_id,)
    )
    return [_parse(row) for row in rows]


def orders_of_step(connection: sqlite3.Connection, step_uid: str) -> list[str]:
    """Return the ids of the orders that the step does."""
    rows = connection.execute("SELECT order_id FROM performed_step_orders WHERE step_uid = ?", (step_uid,))
    return [row["order_id"] for row in rows]


def steps_of_study(connection: sqlite3.Connection, study_uid: str) -> list[PerformedStep]:
    """Return every step of the study."""
    return [
        _parse(row) for row in connection.execute("SELECT * FROM performed_steps WHERE study_uid = ?", (study_uid,))
    ]


def instances_here(connection: sqlite3.Connection, study_uid: str) -> dict[str, bool]:
    """Return the study's instances that are or were here, and whether each still waits for the study to be complete."""
    rows = connection.execute(
        "SELECT e.value ->> '$.sop_instance_uid' AS sop_instance_uid, 'gone' AS state"
        " FROM transfers t, json_each(t.manifest, '$.instances') e WHERE t.study_uid = ?1"
        " UNION ALL SELECT sop_instance_uid, state FROM instances WHERE study_uid = ?1",
        (study_uid,),
    )
    return {row["sop_instance_uid"]: row["state"] == "incoming" for row in rows}


def orders_with_images(journal: Journal, steps_given_up_before: datetime, limit: int) -> list[str]:
    """Return open orders of which a study is complete here and whose scanner reports no step, or no longer.

    The patient number must be the order's: a mistyped accession number does not do another patient's order.
    """
    rows = journal.read(
        "SELECT DISTINCT o.order_id FROM orders o JOIN studies s"
        " ON s.accession_number = o.accession_number OR s.study_uid = o.study_uid"
        " WHERE o.state IN ('scheduled', 'in_progress')"
        " AND json_extract(o.content, '$.patient_number') = s.patient_number"
        " AND EXISTS (SELECT 1 FROM transfers t WHERE t.study_uid = s.study_uid)"
        " AND NOT EXISTS (SELECT 1 FROM performed_step_orders l JOIN performed_steps p USING (step_uid)"
        " WHERE l.order_id = o.order_id AND p.state = 'IN PROGRESS' AND p.received_at >= ?) LIMIT ?",
        (to_text(steps_given_up_before), limit),
    )
    return [row["order_id"] for row in rows]


def studies_with_orders(journal: Journal) -> list[tuple[Uid, Lane, Lane]]:
    """Return studies on their way with the lane that they travel in and their order's, but where a person chose one."""
    rows = journal.read(
        "SELECT DISTINCT t.study_uid, t.lane, json_extract(o.content, '$.lane') AS wanted FROM transfers t"
        " JOIN studies s USING (study_uid)"
        " JOIN orders o ON o.accession_number = s.accession_number OR o.study_uid = s.study_uid"
        " LEFT JOIN study_controls c USING (study_uid)"
        " WHERE t.state <> 'confirmed' AND o.state <> 'cancelled' AND c.lane IS NULL"
    )
    return [(Uid(row["study_uid"]), Lane(row["lane"]), Lane(row["wanted"])) for row in rows]


def _text(moment: datetime | None) -> str | None:
    return to_text(moment) if moment is not None else None


def _parse(row: sqlite3.Row) -> PerformedStep:
    return PerformedStep(
        step_uid=row["step_uid"],
        state=StepState(row["state"]),
        study_uid=row["study_uid"],
        accession_number=row["accession_number"],
        started_at=from_text(row["started_at"]) if row["started_at"] else None,
        ended_at=from_text(row["ended_at"]) if row["ended_at"] else None,
        instances=frozenset(json.loads(row["instances"])),
        reason=row["reason"],
    )
