"""Who decides by rights, and who changes them: one meets what the other has done, whichever comes first.

Agreements, physicians and their terms, absences and the tree of organisations are what offers rest on. Who offers holds
them as they are from before they are read until the offers are committed, any number at once. Who has changed them
waits for those as the last thing before the commit, and then finds every offer that was made by what was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.tables import Case, Offer, ReadingTask
from reading_queue.services.access.oversight import lineages
from reading_queue.services.cases.casework import launch_route
from reading_queue.services.hub import do_last

_RIGHTS: Final = func.hashtext("rights to read")
_KEEP: Final = select(func.pg_advisory_xact_lock_shared(_RIGHTS))
_CHANGE: Final = select(func.pg_advisory_xact_lock(_RIGHTS))
_CHANGED: Final = "rights_changed"


@dataclass(slots=True)
class _Changed:
    agreements: set[str] = field(default_factory=set)
    physicians: set[str] = field(default_factory=set)
    organisations: set[str] = field(default_factory=set)


def keep_rights(session: Session) -> None:
    """Let nobody's change of rights be committed before this transaction ends; the case is locked already."""
    session.execute(_KEEP)


def rights_changed(
    session: Session,
    now: datetime,
    *,
    agreements: Collection[str] = (),
    physicians: Collection[str] = (),
    organisations: Collection[str] = (),
) -> None:
    """Have what is offered under these agreements, to these physicians or for these organisations routed anew.

    The router withdraws what has no ground any more. Done as the last thing of the transaction, once for all.
    """
    if not (agreements or physicians or organisations):
        return
    if _CHANGED not in session.info:
        session.info[_CHANGED] = _Changed()
        do_last(session, lambda: _route_anew(session, now))
    changed: _Changed = session.info[_CHANGED]
    changed.agreements.update(agreements)
    changed.physicians.update(physicians)
    changed.organisations.update(organisations)


def _route_anew(session: Session, now: datetime) -> None:
    session.flush()
    session.execute(_CHANGE)
    changed: _Changed = session.info.pop(_CHANGED)
    touched = [among(Offer.agreement_id, changed.agreements), among(Offer.physician_id, changed.physicians)]
    if changed.organisations:
        below = [one for one, above in lineages(session).items() if not changed.organisations.isdisjoint(above)]
        touched.append(among(Case.organisation_id, below))
    offered = (
        select(Offer.reading_task_id)
        .distinct()
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(Offer.state == "open", or_(*touched))
        .order_by(Offer.reading_task_id)
    )
    for reading_task_id in session.scalars(offered).all():
        launch_route(session, now, reading_task_id)
