"""Telling the duty director (总值班): at a breach, and when nobody can be asked; who comes on duty later, and the next
one up the line where nobody acknowledges it.

Durable: who was told of each escalation, when, and as whose director. Telling again changes nothing. Where no roster
names anybody up the line, the coordinators have it, as they have all of them, and the ledger says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.tables import Case
from reading_queue.domain.escalation import TELLS_THE_DIRECTOR
from reading_queue.services.access.oversight import lineages
from reading_queue.services.cases.casework import record_custody
from reading_queue.services.network.directors import (
    DirectorsOnDuty,
    find_directors,
    load_on_duty,
    up_the_line,
)
from reading_queue.services.worklists.desk_events import tell
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id

_Telling = tuple[str, DirectorsOnDuty]  # the escalation, and who is told of it

TOLD: Final = "director_told"
LOOKED_AT_MAX: Final = 200

log = structlog.get_logger(__name__)


def tell_directors(session: Session, case: Case, escalation_id: str, now: datetime) -> dict[str, Any]:
    """Tell who is duty director for the case's organisation now; return what the ledger says of it."""
    found = find_directors(session, case.organisation_id, now)
    if not found.account_ids:
        log.warning("no_duty_director", case_id=case.case_id, organisation_id=case.organisation_id)
        return {"told": "coordinators"}
    _write(session, [(escalation_id, found)], now)
    return _in_the_ledger(found)


def tell_further(session: Session, now: datetime, answer_s: int, at_once: int = LOOKED_AT_MAX) -> int:
    """Tell of what nobody has acknowledged who came on duty since, and ever further up the line; return of how many.

    With each `answer_s` seconds that an escalation stands unacknowledged, the directors of one organisation more are
    told: of the next above that has any on duty. A few statements, however many wait, of which one call looks at
    so many `at_once` and the next one at others; nothing is asked of a network without directors on duty.
    """
    on_duty = load_on_duty(session, now)
    if not on_duty:
        return 0
    waiting = (
        select(EscalationRow, Case)
        .join(Case, Case.case_id == EscalationRow.case_id)
        .where(
            EscalationRow.ended_at.is_(None),
            EscalationRow.acknowledged_at.is_(None),
            EscalationRow.kind.in_(TELLS_THE_DIRECTOR),
        )
        .order_by(func.coalesce(EscalationRow.looked_at, EscalationRow.raised_at))
        .limit(at_once)
    )
    rows = {row.escalation_id: (row, case) for row, case in session.execute(waiting)}
    if len(rows) == at_once:  # there may be more, whose turn comes next
        looked_at = update(EscalationRow).where(EscalationRow.escalation_id.in_(rows)).values(looked_at=now)
        session.execute(looked_at, execution_options={"synchronize_session": False})
    above = lineages(session) if rows else {}
    nearest: list[_Telling] = []
    further: list[_Telling] = []
    for escalation_id, (row, case) in rows.items():
        line = up_the_line(above[case.organisation_id], on_duty)
        reached = 1 + int((now - row.raised_at).total_seconds() // answer_s)
        nearest += [(escalation_id, one) for one in line[:1]]
        further += [(escalation_id, one) for one in line[1:reached]]
    fresh = _write(session, [*nearest, *further], now)
    for escalation_id, directors in further:
        if (escalation_id, directors.organisation_id) in fresh:
            row, case = rows[escalation_id]
            key = f"escalated:{escalation_id}:{directors.organisation_id}:{now.isoformat()}"
            detail = {"step": row.kind, **_in_the_ledger(directors)}
            record_custody(session, case, Hop.ESCALATED, key, now, detail=detail)
    told = {escalation_id for escalation_id, _ in fresh}
    for escalation_id in told:
        _, case = rows[escalation_id]
        tell(session, TOLD, case.site_id, case.case_id)
    return len(told)


def was_told(session: Session, account_id: str, escalation_id: str) -> bool:
    """Return whether the person was told of the escalation as a director."""
    own = select(DirectorNotice.notice_id).where(
        DirectorNotice.escalation_id == escalation_id, DirectorNotice.account_id == account_id
    )
    return session.scalar(own) is not None


def _in_the_ledger(found: DirectorsOnDuty) -> dict[str, Any]:
    return {"told": "duty_director", "organisation_id": found.organisation_id, "directors": len(found.account_ids)}


def _write(session: Session, found: Sequence[_Telling], now: datetime) -> frozenset[tuple[str, str | None]]:
    """Write down who is told of which escalation; return of which somebody was not told before, as whose director."""
    rows = [
        {
            "notice_id": new_id(),
            "escalation_id": escalation_id,
            "account_id": account_id,
            "organisation_id": directors.organisation_id,
            "told_at": now,
        }
        for escalation_id, directors in found
        for account_id in directors.account_ids
    ]
    if not rows:
        return frozenset()
    fresh = insert(DirectorNotice).values(rows).on_conflict_do_nothing(index_elements=["escalation_id", "account_id"])
    told = session.execute(fresh.returning(DirectorNotice.escalation_id, DirectorNotice.organisation_id))
    return frozenset((escalation_id, organisation_id) for escalation_id, organisation_id in told)
