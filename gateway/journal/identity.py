"""Who this gateway is: one row after enrolment, durable on commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.journal.custody import renumber_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.wire import EnrolmentAnswer


@dataclass(frozen=True, slots=True)
class Identity:
    """What the hub told this gateway at its enrolment. `hub_public_key`: raw Ed25519, base64url without padding."""

    gateway_id: str
    site_id: str
    site_name: str
    audience: str
    hub_key_id: str
    hub_public_key: str
    enrolled_at: datetime


def find_identity(journal: Journal) -> Identity | None:
    """Return this gateway's identity, None before enrolment."""
    rows = journal.read("SELECT * FROM identity")
    if not rows:
        return None
    row = rows[0]
    return Identity(
        gateway_id=row["gateway_id"],
        site_id=row["site_id"],
        site_name=row["site_name"],
        audience=row["audience"],
        hub_key_id=row["hub_key_id"],
        hub_public_key=row["hub_public_key"],
        enrolled_at=from_text(row["enrolled_at"]),
    )


def save_identity(journal: Journal, answer: EnrolmentAnswer, now: datetime) -> None:
    """Record the hub's answer to this gateway's enrolment.

    A key that the hub knows is that of a gateway whose journal was lost: its events go on behind those of before.
    """
    with journal.transaction() as connection:
        if answer.custody_through:
            renumber_custody(connection, answer.custody_through)
        connection.execute(
            "INSERT INTO identity VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (
                answer.gateway_id,
                answer.site_id,
                answer.site_name,
                answer.audience,
                answer.hub_key_id,
                answer.hub_public_key,
                to_text(now),
            ),
        )
