"""Gateways, their enrolment codes and their nonces in SQL.

Durable: everything. A code and a nonce are spent by one statement each, so that of two requests at once only one wins.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.ledger.tables import Enrolment, Gateway, UsedNonce


def spend_enrolment(session: Session, code_sha256: str, gateway_id: str, now: datetime) -> bool:
    """Spend an unused, unexpired code; return whether there was one to spend."""
    statement = (
        update(Enrolment)
        .where(Enrolment.code_sha256 == code_sha256, Enrolment.used_at.is_(None), Enrolment.expires_at > now)
        .values(used_at=now, used_by_gateway_id=gateway_id)
        .returning(Enrolment.code_sha256)
    )
    return session.scalar(statement) is not None


def lock_gateway(session: Session, gateway_id: str) -> Gateway:
    """Return the gateway's row, locked until the transaction ends."""
    return session.scalars(select(Gateway).where(Gateway.gateway_id == gateway_id).with_for_update()).one()


def note_seen(session: Session, gateway_id: str, now: datetime, clock_offset_ms: int | None) -> None:
    """Remember when the gateway was last heard of and, when it said its time, how far its clock is off."""
    values: dict[str, datetime | int] = {"last_seen_at": now}
    if clock_offset_ms is not None:
        values["clock_offset_ms"] = clock_offset_ms
    session.execute(update(Gateway).where(Gateway.gateway_id == gateway_id).values(values))


def spend_nonce(session: Session, nonce: str, now: datetime) -> bool:
    """Spend a nonce; False when it was spent before."""
    statement = insert(UsedNonce).values(nonce=nonce, used_at=now).on_conflict_do_nothing()
    return session.scalar(statement.returning(UsedNonce.nonce)) is not None
