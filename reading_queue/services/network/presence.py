"""Who is away, from when until when and why: said by the physician, or by a coordinator with a reason.

Durable: a row for each absence, audited, with the routing of every task that was offered to who goes: the router
withdraws these offers and asks others at once. What somebody holds stays with them until their lease ends. An absence
is over by itself when its time is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import Absence, DutyPeriod
from reading_queue.db.tables import Account, Organisation, Physician, ReadingTask
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.access.oversight import concerned_organisations
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.holds import WORDS_MAX
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.network.rights import rights_changed
from reading_queue.services.worklists.desk_events import tell_overseers
from storage.contract.identifiers import new_id
from storage.ledger.tables import AuditEvent

AWAY_MAX: Final = timedelta(days=62)
LISTED_MAX: Final = 100
USER_CHANGED: Final = "110137"  # DCM: user security attributes changed


class AbsenceTooLong(Invalid):
    """An absence ends at a time to come, within two months."""

    code = "absence_time"


@dataclass(frozen=True, slots=True)
class AbsenceView:
    """One physician who is away now."""

    physician_id: str
    name: str
    organisation: str
    since: datetime
    until: datetime
    reason: str
    set_by: str  # a name
    on_duty: bool  # by the roster: somebody relies on them
    held: int  # reading tasks that lie with them meanwhile
    colleagues: int  # of the same hospital, on duty and there


def go_away(hub: Hub, viewer: Viewer, physician_id: str, until: datetime, reason: str) -> None:
    """Offer the physician nothing until then, and give what is offered to them to others.

    Raises:
        Invalid: the time is not to come, or too far; a coordinator gives no reason. NotFound, Forbidden.
    """
    now = hub.clock()
    words = reason.strip()
    if not now < until <= now + AWAY_MAX:
        raise AbsenceTooLong
    if len(words) > WORDS_MAX or (not words and viewer.physician_id != physician_id):
        raise Invalid("say in a few words why the physician is away")
    with hub.transaction() as session:
        _require_right(session, viewer, physician_id)
        _end_open(session, viewer, physician_id, now)
        session.add(
            Absence(
                absence_id=new_id(),
                physician_id=physician_id,
                since=now,
                until=until,
                reason=words,
                set_by=viewer.account_id,
                ended_at=None,
                ended_by=None,
            )
        )
        rights_changed(session, now, physicians=[physician_id])
        _record(session, viewer, physician_id, "away", now, until=until.isoformat(), reason=words)


def come_back(hub: Hub, viewer: Viewer, physician_id: str) -> None:
    """End the physician's absence; who is there already stays so. Raises NotFound, Forbidden."""
    now = hub.clock()
    with hub.transaction() as session:
        _require_right(session, viewer, physician_id)
        if _end_open(session, viewer, physician_id, now):
            _record(session, viewer, physician_id, "back", now)


def find_absence(hub: Hub, viewer: Viewer) -> AbsenceView | None:
    """Return the viewer's own absence, if they are away now."""
    require(viewer, Role.PHYSICIAN)
    now = hub.clock()
    with hub.transaction() as session:
        found = _load(session, viewer, now, Absence.physician_id == viewer.physician_id)
    return found[0] if found else None


def list_absences(hub: Hub, viewer: Viewer) -> tuple[AbsenceView, ...]:
    """Return who of the concerned hospitals is away now: first who should be on duty, soonest missed first."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        concerned = concerned_organisations(session, viewer)
        return _load(session, viewer, now, Physician.organisation_id.in_(concerned))


def _require_right(session: Session, viewer: Viewer, physician_id: str) -> None:
    """Lock the physician and raise unless it is the viewer or of a hospital that concerns them."""
    theirs = select(Physician).where(Physician.physician_id == physician_id)
    physician = session.scalar(theirs.with_for_update(key_share=True))  # who offers to them does not wait for this
    if viewer.role is Role.PHYSICIAN:
        if physician is None or viewer.physician_id != physician_id:
            raise Forbidden
        return
    require(viewer, *WITH_OVERSIGHT)
    if physician is None or physician.organisation_id not in concerned_organisations(session, viewer):
        raise NotFound("there is no such physician, or they do not concern you")


def _end_open(session: Session, viewer: Viewer, physician_id: str, now: datetime) -> bool:
    """End the row that is open; return whether the physician was away until now."""
    row = session.scalar(select(Absence).where(Absence.physician_id == physician_id, Absence.ended_at.is_(None)))
    if row is None:
        return False
    was_away = row.until > now
    row.ended_at = min(now, row.until)
    row.ended_by = viewer.account_id if was_away else None
    session.flush()
    return was_away


def _record(session: Session, viewer: Viewer, physician_id: str, event: str, now: datetime, **detail: str) -> None:
    tell_overseers(session)
    session.add(
        AuditEvent(
            at=now,
            event_code=USER_CHANGED,
            action="U",
            account_id=viewer.account_id,
            object_kind="physician",
            object_id=physician_id,
            site_id=None,
            outcome="success",
            detail={"event": event, **detail},
        )
    )


def _load(session: Session, viewer: Viewer, now: datetime, whose: ColumnElement[bool]) -> tuple[AbsenceView, ...]:
    setter, person = Account.__table__.alias("setter"), Account.__table__.alias("person")
    held = select(func.count()).where(
        ReadingTask.holder_id == Physician.physician_id, ReadingTask.state == ReadingTaskState.IN_PROGRESS
    )
    on_duty = exists().where(DutyPeriod.physician_id == Physician.physician_id, *_covers(now)).label("on_duty")
    rows = session.execute(
        select(
            Absence,
            person.c.display_name,
            setter.c.display_name,
            Organisation,
            on_duty,
            held.correlate(Physician).scalar_subquery(),
        )
        .join(Physician, Physician.physician_id == Absence.physician_id)
        .join(person, person.c.account_id == Physician.account_id)
        .join(setter, setter.c.account_id == Absence.set_by)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
        .where(Absence.ended_at.is_(None), Absence.until > now, whose)
        .order_by(on_duty.desc(), Absence.until)
        .limit(LISTED_MAX)
    ).all()
    present = _count_present(session, {row[3].organisation_id for row in rows}, now)
    english = viewer.language == "en"
    return tuple(
        AbsenceView(
            physician_id=absence.physician_id,
            name=name,
            organisation=(organisation.name_en or organisation.name) if english else organisation.name,
            since=absence.since,
            until=absence.until,
            reason=absence.reason,
            set_by=set_by,
            on_duty=duty,
            held=held_now,
            colleagues=present.get(organisation.organisation_id, 0),
        )
        for absence, name, set_by, organisation, duty, held_now in rows
    )


def _count_present(session: Session, organisation_ids: Collection[str], now: datetime) -> dict[str, int]:
    """Return by hospital how many of its own physicians are on duty and there."""
    away = exists().where(
        Absence.physician_id == Physician.physician_id, Absence.ended_at.is_(None), Absence.until > now
    )
    counted = (
        select(Physician.organisation_id, func.count())
        .join(Account, Account.account_id == Physician.account_id)
        .where(
            Physician.organisation_id.in_(organisation_ids),
            Account.disabled_at.is_(None),
            exists().where(DutyPeriod.physician_id == Physician.physician_id, *_covers(now)),
            ~away,
        )
        .group_by(Physician.organisation_id)
    )
    return dict(session.execute(counted).all())


def _covers(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return DutyPeriod.starts_at <= now, DutyPeriod.ends_at > now
