"""A senior physician takes a colleague's claim over: the draft stays, the task ends, another begins in their hands.

Durable: both tasks, the reason, the decision with who else might have read it, one line of ledger and audit. A licence,
an agreement and, for a verification, a second physician are needed as ever; being on duty and the limit of work in
progress are not.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from reading_queue.db.tables import Offer, Physician, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import LEAD_TITLES, Title
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskEvent, ReadingTaskState
from reading_queue.errors import Forbidden, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    get_task_locked,
    move_case,
    move_task,
    record_custody,
    replace_task,
)
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.cases.information_requests import end_question
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import present_versions
from reading_queue.services.reading.claims import (
    ReadingTaskView,
    extend_lease,
    require_licence,
    require_physician,
    view_task,
)
from reading_queue.services.routing.eligibility import find_eligible_agreement
from reading_queue.services.routing.routing import chosen_by_hand, decide_by_hand
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id, new_uid


class MayNotTakeOver(Forbidden):
    """Only a senior physician of the same hospital, who may read this case, can take it over."""

    code = "may_not_take_over"


def take_over(hub: Hub, viewer: Viewer, reading_task_id: str, reason: str) -> ReadingTaskView:
    """Take the task from its holder; taking over what one holds changes nothing.

    Raises:
        MayNotTakeOver: the viewer is not senior, of another hospital, or excluded from this case.
        WrongState: nobody holds it. Invalid: no reason is given. LicenceNotValid.
    """
    now = hub.clock()
    physician_id = require_physician(viewer)
    words = parse_words(reason, "say in a few words why you take the case over")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        if task.state != ReadingTaskState.IN_PROGRESS or task.holder_id is None:
            raise WrongState("nobody holds this reading task")
        if task.holder_id == physician_id:
            return view_task(task)
        require_lead(session, physician_id, task.holder_id)
        require_licence(session, physician_id, case.site_id, now)
        agreement_id, set_aside = find_eligible_agreement(session, hub, case, task, physician_id, now)
        if agreement_id is None:
            raise MayNotTakeOver
        end_question(session, case, now)
        move_case(case, CaseEvent.TAKE_OVER, Actor.LEAD)
        taken = replace_task(session, case, task, Actor.LEAD, DiscontinuationReason.RESOURCE_PREEMPTED, now)
        agreed = (agreement_id, present_versions(session, [agreement_id]).get(agreement_id))
        hold_directly(session, hub, taken, physician_id, agreed, now, Actor.LEAD, why={"took_over": True})
        said = {"taken_over_by": viewer.account_id, "reason": words, "set_aside": set_aside}
        decide_by_hand(session, hub, case, taken, chosen_by_hand(physician_id, agreement_id), said, now)
        about = {"reading_task_id": task.reading_task_id, "replacement_id": taken.reading_task_id}
        key = f"{Hop.TAKEN_OVER}:{task.reading_task_id}"
        record_custody(session, case, Hop.TAKEN_OVER, key, now, actor=viewer.account_id, detail=about)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="take_over", reason=words, **about)
        return view_task(taken)


def require_lead(session: Session, physician_id: str, of_physician_id: str) -> None:
    """Raise MayNotTakeOver unless the physician leads the hospital of the other."""
    if not leads_holder(session, physician_id, of_physician_id):
        raise MayNotTakeOver


def leads_holder(session: Session, physician_id: str | None, holder_id: str | None) -> bool:
    """Return whether the physician is a senior colleague of who holds a task."""
    if physician_id is None or holder_id is None or physician_id == holder_id:
        return False
    lead, holder = session.get_one(Physician, physician_id), session.get_one(Physician, holder_id)
    return Title(lead.title) in LEAD_TITLES and lead.organisation_id == holder.organisation_id


def hold_directly(
    session: Session,
    hub: Hub,
    task: ReadingTask,
    physician_id: str,
    agreed: tuple[str, int | None],
    now: datetime,
    actor: Actor,
    why: dict[str, object],
) -> None:
    """Put a scheduled task into a physician's hands without asking anybody; the offer that is written says why.

    `agreed`: the agreement under which it is, and its version.
    """
    move_task(task, ReadingTaskEvent.CLAIM, actor, now)
    task.holder_id = physician_id
    task.transaction_uid = new_uid()
    task.claimed_at = now
    extend_lease(hub, task, now)
    session.add(
        Offer(
            offer_id=new_id(),
            reading_task_id=task.reading_task_id,
            physician_id=physician_id,
            agreement_id=agreed[0],
            agreement_version=agreed[1],
            state="claimed",
            offered_at=now,
            expires_at=now,
            answered_at=now,
            why=why,
        )
    )
    session.flush()
