"""The custody ledger in SQL: written once per event key, read by study.

Every line is durable with the transaction that writes it. Nothing here ever changes or deletes a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.contract.hops import Hop
from storage.contract.wire import CustodyEventReport
from storage.ledger.tables import CustodyEvent, Gateway

PLACE_HUB = "hub"


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One event of the hub's own; `event_key` makes writing it again harmless."""

    event_key: str
    hop: Hop
    site_id: str
    study_uid: str
    at: datetime
    case_id: str | None = None
    sop_instance_uid: str | None = None
    actor: str | None = None  # account id of a person, None for the system
    detail: dict[str, Any] = field(default_factory=dict)


def place_of(gateway_id: str) -> str:
    """Return the place that events of a gateway carry."""
    return f"gateway:{gateway_id}"


def write_hub_event(session: Session, event: HubEvent) -> bool:
    """Write one event of the hub; False when it was there already."""
    values = {
        "event_key": event.event_key,
        "hop": event.hop,
        "site_id": event.site_id,
        "study_uid": event.study_uid,
        "sop_instance_uid": event.sop_instance_uid,
        "case_id": event.case_id,
        "place": PLACE_HUB,
        "actor": event.actor,
        "at": event.at,
        "received_at": event.at,
        "source_seq": None,
        "clock_offset_ms": 0,
        "detail": event.detail,
    }
    statement = insert(CustodyEvent).values(values).on_conflict_do_nothing(index_elements=["event_key"])
    return session.scalar(statement.returning(CustodyEvent.event_id)) is not None


def write_gateway_events(
    session: Session, gateway: Gateway, events: Sequence[CustodyEventReport], received_at: datetime
) -> int:
    """Write a gateway's events and return the number up to which its events are in the ledger without a gap.

    The gateway's row must be locked by the caller, so that two batches at once cannot both advance it.
    """
    place = place_of(gateway.gateway_id)
    rows = [
        {
            "event_key": f"{gateway.gateway_id}:{event.seq}",
            "hop": event.hop,
            "site_id": gateway.site_id,
            "study_uid": event.study_uid,
            "sop_instance_uid": event.sop_instance_uid,
            "case_id": None,
            "place": place,
            "actor": None,
            "at": event.at,
            "received_at": received_at,
            "source_seq": event.seq,
            "clock_offset_ms": gateway.clock_offset_ms,
            "detail": event.detail,
        }
        for event in events
    ]
    session.execute(insert(CustodyEvent).values(rows).on_conflict_do_nothing(index_elements=["event_key"]))
    # A gateway that was enrolled anew under a new key goes on counting where it was: its first event is the start.
    known_through = gateway.custody_through or events[0].seq - 1
    through = _contiguous_from(session, place, known_through)
    session.execute(update(Gateway).where(Gateway.gateway_id == gateway.gateway_id).values(custody_through=through))
    return through


def find_events(session: Session, study_uid: str, site_id: str | None) -> Sequence[CustodyEvent]:
    """Return the ledger of a study in the order of its writing; of every site that has it when `site_id` is None."""
    query = select(CustodyEvent).where(CustodyEvent.study_uid == study_uid)
    if site_id is not None:
        query = query.where(CustodyEvent.site_id == site_id)
    return session.scalars(query.order_by(CustodyEvent.event_id)).all()


def _contiguous_from(session: Session, place: str, through: int) -> int:
    later = select(CustodyEvent.source_seq).where(CustodyEvent.place == place, CustodyEvent.source_seq > through)
    for seq in session.scalars(later.order_by(CustodyEvent.source_seq)):
        if seq != through + 1:
            break
        through = seq
    return through
