"""The custody ledger: every hop of a study, where, when and by whom.

Durable: each event with the transaction of what it tells. Gateways send theirs in batches that may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from reading_queue.services.hub import Hub
from reading_queue.services.worklists.desk_events import ROAD, tell
from storage.contract.hops import Hop
from storage.contract.wire import CustodyAnswer, CustodyBatch
from storage.ledger import custody as ledger
from storage.ledger.gateways import lock_gateway
from storage.ledger.tables import CustodyEvent

_ORDER = {hop: number for number, hop in enumerate(Hop)}


@dataclass(frozen=True, slots=True)
class CustodyLine:
    """One line of a study's ledger as people read it.

    `at` is the source's own clock; `corrected_at` the same moment by the hub's clock; `elapsed_s` is the time since the
    line before, by the hub's clock, None for the first line of a site.
    """

    event_id: int
    hop: str
    site_id: str
    study_uid: str
    sop_instance_uid: str | None
    case_id: str | None
    place: str
    actor: str | None
    at: datetime
    corrected_at: datetime
    received_at: datetime
    elapsed_s: float | None
    detail: dict[str, Any]


def record(
    session: Session,
    now: datetime,
    hop: Hop,
    *,
    event_key: str,
    site_id: str,
    study_uid: str,
    case_id: str | None = None,
    detail: dict[str, Any] | None = None,
) -> bool:
    """Write one event of the hub's own in the caller's transaction; False when `event_key` was written before."""
    event = ledger.HubEvent(
        event_key=event_key,
        hop=hop,
        site_id=site_id,
        study_uid=study_uid,
        at=now,
        case_id=case_id,
        detail=detail or {},
    )
    return ledger.write_hub_event(session, event)


def accept_batch(hub: Hub, gateway_id: str, batch: CustodyBatch) -> CustodyAnswer:
    """Write a gateway's events; those that are in the ledger already stay as they are."""
    with hub.transaction() as session:
        gateway = lock_gateway(session, gateway_id)
        through = ledger.write_gateway_events(session, gateway, batch.events, hub.clock())
        if gateway.site_id is not None:
            tell(session, ROAD, gateway.site_id)
    return CustodyAnswer(accepted_through=through)


def ledger_of(hub: Hub, study_uid: str, site_id: str | None = None) -> list[CustodyLine]:
    """Return a study's ledger by site and time, the hub's clock throughout; the road's order settles equal times.

    With `site_id` None, of every site that has the study: the caller decides who may ask that.
    """
    with hub.transaction() as session:
        events = ledger.find_events(session, study_uid, site_id)
    lines: list[CustodyLine] = []
    for event in sorted(events, key=_by_site_and_time):
        before = lines[-1] if lines and lines[-1].site_id == event.site_id else None
        lines.append(_line(event, before))
    return lines


def _by_site_and_time(event: CustodyEvent) -> tuple[str, datetime, int, int]:
    return event.site_id, _corrected(event), _ORDER[Hop(event.hop)], event.event_id


def _corrected(event: CustodyEvent) -> datetime:
    return event.at - timedelta(milliseconds=event.clock_offset_ms or 0)


def _line(event: CustodyEvent, before: CustodyLine | None) -> CustodyLine:
    corrected_at = _corrected(event)
    return CustodyLine(
        event_id=event.event_id,
        hop=event.hop,
        site_id=event.site_id,
        study_uid=event.study_uid,
        sop_instance_uid=event.sop_instance_uid,
        case_id=event.case_id,
        place=event.place,
        actor=event.actor,
        at=event.at,
        corrected_at=corrected_at,
        received_at=event.received_at,
        elapsed_s=(corrected_at - before.corrected_at).total_seconds() if before else None,
        detail=event.detail,
    )
