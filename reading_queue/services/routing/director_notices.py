"""Telling the duty director (总值班): at a breach, and when nobody can be asked; and who comes on duty later.

Durable: who was told of each escalation, when, and as whose director. Telling again changes nothing. Where no roster
names anybody up the line, the coordinators have it, as they have all of them, and the ledger says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.tables import Case
from reading_queue.domain.escalation import TELLS_THE_DIRECTOR
from reading_queue.services.access.oversight import lineages
from reading_queue.services.network.directors import (
    DirectorsOnDuty,
    find_directors,
    load_on_duty,
    nearest,
)
from reading_queue.services.worklists.desk_events import tell
from storage.contract.identifiers import new_id

TOLD: Final = "director_told"
LOOKED_AT_MAX: Final = 200

log = structlog.get_logger(__name__)


def tell_directors(session: Session, case: Case, escalation_id: str, now: datetime) -> dict[str, Any]:
    """Tell who is duty director for the case's organisation now; return what the ledger says of it."""
    found = find_directors(session, case.organisation_id, now)
    if not found.account_ids:
        log.warning("no_duty_director", case_id=case.case_id, organisation_id=case.organisation_id)
        return {"told": "coordinators"}
    _write(session, {escalation_id: found}, now)
    return {"told": "duty_director", "organisation_id": found.organisation_id, "directors": len(found.account_ids)}


def tell_who_came_on_duty(session: Session, now: datetime) -> int:
    """Tell the directors of this moment what others left unacknowledged; return of how many escalations.

    A few statements, however many wait; nothing is asked of a network without directors on duty.
    """
    on_duty = load_on_duty(session, now)
    if not on_duty:
        return 0
    waiting = (
        select(EscalationRow.escalation_id, Case)
        .join(Case, Case.case_id == EscalationRow.case_id)
        .where(
            EscalationRow.ended_at.is_(None),
            EscalationRow.acknowledged_at.is_(None),
            EscalationRow.kind.in_(TELLS_THE_DIRECTOR),
        )
        .order_by(EscalationRow.raised_at.desc())
        .limit(LOOKED_AT_MAX)
    )
    cases: dict[str, Case] = dict(session.execute(waiting).all())
    above = lineages(session) if cases else {}
    found = {escalation_id: nearest(above[case.organisation_id], on_duty) for escalation_id, case in cases.items()}
    fresh = _write(session, found, now)
    for escalation_id in fresh:
        tell(session, TOLD, cases[escalation_id].site_id, cases[escalation_id].case_id)
    return len(fresh)


def was_told(session: Session, account_id: str, escalation_id: str) -> bool:
    """Return whether the person was told of the escalation as a director."""
    own = select(DirectorNotice.notice_id).where(
        DirectorNotice.escalation_id == escalation_id, DirectorNotice.account_id == account_id
    )
    return session.scalar(own) is not None


def _write(session: Session, found: Mapping[str, DirectorsOnDuty], now: datetime) -> frozenset[str]:
    """Write down who is told of which escalation; return those of which somebody was not told before."""
    rows = [
        {
            "notice_id": new_id(),
            "escalation_id": escalation_id,
            "account_id": account_id,
            "organisation_id": directors.organisation_id,
            "told_at": now,
        }
        for escalation_id, directors in found.items()
        for account_id in directors.account_ids
    ]
    if not rows:
        return frozenset()
    fresh = insert(DirectorNotice).values(rows).on_conflict_do_nothing(index_elements=["escalation_id", "account_id"])
    return frozenset(session.scalars(fresh.returning(DirectorNotice.escalation_id)))
