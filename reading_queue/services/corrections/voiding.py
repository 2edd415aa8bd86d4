"""Saying that a case was signed about the wrong patient (作废): one person asks, another decides.

Durable: who said so and why, and what the second person decided. The signed report stays as it is, here and at the
clinic; everybody who looks at it is told that it does not count. There is no way back: what is right is read anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from reading_queue.db.course_tables import Voiding
from reading_queue.db.tables import Account, Case
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import AMENDED, SIGNED, Actor, CaseEvent
from reading_queue.errors import Forbidden, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import PATIENT_RECORD, audit, get_case_locked, move_case, record_custody
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import require_physician
from reading_queue.services.reports.addenda import (
    amending_actor,
    drop_addendum,
    get_newest_report,
    open_for_late_images,
)
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id


class SecondPersonNeeded(Forbidden):
    """Who asked for it cannot decide it: a second person must look at the report."""

    code = "second_person_needed"


@dataclass(frozen=True, slots=True)
class VoidingView:
    """The newest word on whether the case is void; open while `is_open`."""

    reason: str
    asked_by: str  # a name
    asked_at: datetime
    is_open: bool
    is_void: bool
    refusal: str
    is_own: bool  # the viewer asked for it


def ask_to_void(hub: Hub, viewer: Viewer, case_id: str, reason: str) -> None:
    """Say that the signed report is about the wrong patient; asking again while it is open changes nothing.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        MayNotAmend, Forbidden: the viewer neither signed it, nor leads who did, nor coordinates.
        WrongState: it is not signed. Invalid: no reason is given.
    """
    now = hub.clock()
    words = parse_words(reason, "say in a few words why the report does not count")
    with hub.transaction() as session:
        case, _ = _load(session, viewer, case_id, now)
        if case.state not in SIGNED | AMENDED:
            raise WrongState("only a signed report can be declared void")
        if find_open_voiding(session, case_id) is not None:
            return
        voiding = Voiding(
            voiding_id=new_id(), case_id=case_id, reason=words, asked_by=viewer.account_id, asked_at=now, is_void=False
        )
        session.add(voiding)
        session.flush()
        _record(session, viewer, case, Hop.VOID_ASKED, voiding, now)


def decide_voiding(hub: Hub, viewer: Viewer, case_id: str, *, is_void: bool, reason: str = "") -> None:
    """Confirm that the case is void, or say why its report counts.

    Raises:
        SecondPersonNeeded: the viewer asked for it.
        WrongState: nobody has asked for it. Invalid: a refusal without its reason.
        and as `ask_to_void`.
    """
    now = hub.clock()
    words = "" if is_void else parse_words(reason, "say in a few words why the report counts")
    with hub.transaction() as session:
        case, actor = _load(session, viewer, case_id, now)
        voiding = find_open_voiding(session, case_id)
        if voiding is None:
            raise WrongState("nobody has said that this report is void")
        if voiding.asked_by == viewer.account_id:
            raise SecondPersonNeeded
        if is_void:
            move_case(case, CaseEvent.ENTER_IN_ERROR, actor)
            drop_addendum(session, case, viewer.account_id, now)
        voiding.ended_at, voiding.ended_by = now, viewer.account_id
        voiding.is_void, voiding.refusal = is_void, words
        session.flush()
        if case.state in SIGNED and case.images_unacknowledged:  # they came while it was open
            open_for_late_images(session, hub, case, now)
        _record(session, viewer, case, Hop.VOIDED if is_void else Hop.VOID_REFUSED, voiding, now)


def find_open_voiding(session: Session, case_id: str) -> Voiding | None:
    """Return what a second person has to decide, if anything."""
    still_open = select(Voiding).where(Voiding.case_id == case_id, Voiding.ended_at.is_(None))
    return session.scalars(still_open).one_or_none()


def view_voiding(session: Session, viewer: Viewer, case_id: str) -> VoidingView | None:
    """Return the newest word on whether the case is void, None when nobody ever doubted it."""
    who = aliased(Account)
    row = session.execute(
        select(Voiding, who.display_name)
        .join(who, who.account_id == Voiding.asked_by)
        .where(Voiding.case_id == case_id)
        .order_by(Voiding.asked_at.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    found, name = row
    return VoidingView(
        reason=found.reason,
        asked_by=name,
        asked_at=found.asked_at,
        is_open=found.ended_at is None,
        is_void=found.is_void,
        refusal=found.refusal,
        is_own=found.asked_by == viewer.account_id,
    )


def _load(session: Session, viewer: Viewer, case_id: str, now: datetime) -> tuple[Case, Actor]:
    """Return the case, locked, and as whom the viewer may say that its report is void."""
    require(viewer, Role.PHYSICIAN, Role.COORDINATOR)
    require_case(session, viewer, case_id, now)
    case = get_case_locked(session, case_id)
    if viewer.role is Role.COORDINATOR:
        return case, Actor.COORDINATOR
    return case, amending_actor(session, require_physician(viewer), get_newest_report(session, case_id))


def _record(session: Session, viewer: Viewer, case: Case, hop: Hop, voiding: Voiding, now: datetime) -> None:
    about = {"voiding_id": voiding.voiding_id}
    record_custody(session, case, hop, f"{hop}:{voiding.voiding_id}", now, actor=viewer.account_id, detail=dict(about))
    audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event=hop.value, **about)
