"""What every use case of the reading side does with a case: lock it, move it, replace its task, tell the ledger.

The lock on the case's row is taken first and serialises everything that changes the case, its reading tasks, its
offers, its draft and its reports; `version` still guards each row against a writer that forgot the lock. Refusals of
the transition tables become the errors of `reading_queue.errors` here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, aliased, object_session

from reading_queue.db.tables import Case, CaseStudy, Offer, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import (
    Actor,
    ActorNotAllowed,
    CaseEvent,
    CaseState,
    EventNotAllowed,
    ReadingTaskEvent,
    ReadingTaskState,
    apply,
)
from reading_queue.domain.workitems.reports import EventType
from reading_queue.errors import Forbidden, NotFound, WrongState
from reading_queue.services.hub import launch
from reading_queue.services.worklists.desk_events import tell
from reading_queue.services.worklists.workitem_events import report_event
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id, new_uid
from storage.ledger.custody import HubEvent, write_hub_event
from storage.ledger.tables import AuditEvent, OutboxMessage

ROUTE_JOB = "cases.route"
RENDER_JOB = "reports.render"

# Here nobody has to answer any more whether the site may have the case back: it is over, signed, or with the site.
WISHES_END: Final = frozenset({CaseState.CANCELLED, CaseState.FINAL, CaseState.RETURNED})

PROCEDURE_RECORD = "110111"  # DCM audit event: a task was taken, given back or moved
PATIENT_RECORD = "110110"  # DCM audit event: a report was seen, written or signed


def get_case_locked(session: Session, case_id: str) -> Case:
    """Return the case, locked until the transaction ends, as it now is."""
    case = _find_case_locked(session, case_id, skip_locked=False)
    if case is None:
        raise NotFound("there is no such case")
    return case


def find_task_locked(
    session: Session, reading_task_id: str, *, skip_locked: bool = False
) -> tuple[ReadingTask, Case] | None:
    """Return the reading task and its case, the case locked until the transaction ends.

    None when there is no such task, or when `skip_locked` and another transaction has the case.
    """
    of_task = select(Case).join(ReadingTask, ReadingTask.case_id == Case.case_id)
    locked = of_task.where(ReadingTask.reading_task_id == reading_task_id)
    locked = locked.with_for_update(of=Case, skip_locked=skip_locked).execution_options(populate_existing=True)
    case = session.scalars(locked).one_or_none()
    if case is None:
        return None
    return session.get_one(ReadingTask, reading_task_id, populate_existing=True), case


def find_tasks_locked(session: Session, reading_task_ids: Collection[str]) -> list[tuple[ReadingTask, Case]]:
    """Return those of the reading tasks whose cases nobody else has, with them, locked until the transaction ends.

    Nothing is waited for, so that two transactions with several cases each cannot deadlock.
    """
    of_tasks = select(Case).join(ReadingTask, ReadingTask.case_id == Case.case_id)
    locked = of_tasks.where(ReadingTask.reading_task_id.in_(reading_task_ids))
    locked = locked.with_for_update(of=Case, skip_locked=True).execution_options(populate_existing=True)
    cases = {case.case_id: case for case in session.scalars(locked)}
    tasks = select(ReadingTask).where(  # as they are now that nobody can change them
        ReadingTask.reading_task_id.in_(reading_task_ids), ReadingTask.case_id.in_(cases)
    )
    found = session.scalars(tasks.execution_options(populate_existing=True))
    return [(task, cases[task.case_id]) for task in found]


def get_task_locked(session: Session, reading_task_id: str) -> tuple[ReadingTask, Case]:
    """Return the reading task and its case, the case locked until the transaction ends."""
    found = find_task_locked(session, reading_task_id)
    if found is None:
        raise NotFound("there is no such reading task")
    return found


def find_case_of(session: Session, site_id: str, study_uid: str) -> str | None:
    """Return the id of the case that reads this study, if one was declared."""
    return session.scalar(
        select(CaseStudy.case_id).where(CaseStudy.site_id == site_id, CaseStudy.study_uid == study_uid)
    )


def find_case_of_locked(session: Session, site_id: str, study_uid: str) -> Case | None:
    """Return the case that reads this study, locked until the transaction ends; a study may go to another meanwhile."""
    of_study = select(Case).join(CaseStudy, CaseStudy.case_id == Case.case_id)
    locked = of_study.where(CaseStudy.site_id == site_id, CaseStudy.study_uid == study_uid)
    locked = locked.with_for_update(of=Case).execution_options(populate_existing=True)
    while (case := session.scalars(locked).one_or_none()) is not None:
        if find_case_of(session, site_id, study_uid) == case.case_id:
            return case
    return None


def find_open_task(session: Session, case_id: str) -> ReadingTask | None:
    """Return the reading task of the case that is scheduled or in progress; there is at most one."""
    is_open = ReadingTask.state.in_((ReadingTaskState.SCHEDULED, ReadingTaskState.IN_PROGRESS))
    return session.scalars(select(ReadingTask).where(ReadingTask.case_id == case_id, is_open)).one_or_none()


def move_case(case: Case, event: CaseEvent, actor: Actor) -> None:
    """Change the case's state as the table says; raises WrongState or Forbidden where it does not allow it."""
    try:
        case.state = apply(CaseState(case.state), event, actor)
        case.look_again_at = None
        if case.state in WISHES_END:
            case.withdrawal_asked_at = None
    except EventNotAllowed as exc:
        raise WrongState(str(exc)) from exc
    except ActorNotAllowed as exc:
        raise Forbidden(str(exc)) from exc
    session = object_session(case)
    if session is not None:
        tell(session, event.value, case.site_id, case.case_id)


def move_task(task: ReadingTask, event: ReadingTaskEvent, actor: Actor, now: datetime) -> None:
    """Change the reading task's state as the table says, and end its lease when it ends."""
    try:
        task.state = apply(ReadingTaskState(task.state), event, actor)
    except EventNotAllowed as exc:
        raise WrongState(str(exc)) from exc
    except ActorNotAllowed as exc:
        raise Forbidden(str(exc)) from exc
    if event is not ReadingTaskEvent.CLAIM:
        task.completed_at = now
        task.lease_expires_at = None
    session = object_session(task)
    if session is not None:
        report_event(session, task, EventType.STATE_REPORT)
        if event is ReadingTaskEvent.CLAIM:
            report_event(session, task, EventType.ASSIGNED)


def open_reading_task(
    session: Session, case: Case, phase: Phase, now: datetime, *, replaces: ReadingTask | None = None
) -> ReadingTask:
    """Add a scheduled reading task to the case; the one it replaces must have ended already."""
    session.flush()  # the end of the former task first: one open task per case
    task = ReadingTask(
        reading_task_id=new_id(),
        workitem_uid=new_uid(),
        case_id=case.case_id,
        phase=phase,
        state=ReadingTaskState.SCHEDULED,
        created_at=now,
        replaces_id=replaces.reading_task_id if replaces is not None else None,
    )
    session.add(task)
    session.flush()
    report_event(session, task, EventType.STATE_REPORT)
    return task


def report_readiness(session: Session, case: Case) -> None:
    """Tell subscribers that the images of the case are all here now, or still on their way."""
    task = find_open_task(session, case.case_id)
    if task is not None:
        report_event(session, task, EventType.STATE_REPORT)


def replace_task(
    session: Session, case: Case, task: ReadingTask, actor: Actor, reason: DiscontinuationReason, now: datetime
) -> ReadingTask:
    """Cancel the claimed task and return its replacement: UPS never goes back to scheduled (PS3.4 CC.1.1)."""
    move_task(task, ReadingTaskEvent.CANCEL, actor, now)
    task.cancel_reason = reason
    return open_reading_task(session, case, Phase(task.phase), now, replaces=task)


def close_offers(session: Session, task: ReadingTask, now: datetime, *, answer: str = "withdrawn") -> int:
    """Close every open offer of the task; return how many there were."""
    still_open = update(Offer).where(Offer.reading_task_id == task.reading_task_id, Offer.state == "open")
    closed = session.execute(still_open.values(state=answer, answered_at=now).returning(Offer.offer_id))
    return len(closed.all())


def study_uids(session: Session, case_id: str) -> list[str]:
    """Return the UIDs of the case's studies, sorted."""
    uids = select(CaseStudy.study_uid).where(CaseStudy.case_id == case_id).order_by(CaseStudy.study_uid)
    return list(session.scalars(uids))


def is_first_study() -> ColumnElement[bool]:
    """Return the condition that a row's CaseStudy is the one that tells of its case in lists: once for each case."""
    before = aliased(CaseStudy)
    return ~exists().where(before.case_id == CaseStudy.case_id, before.study_uid < CaseStudy.study_uid)


def launch_route(session: Session, now: datetime, reading_task_id: str, *, due_at: datetime | None = None) -> bool:
    """Launch the routing of a task unless a launch already waits; return whether one was written.

    One that waits is held until this transaction ends, so that its routing sees what was changed here; one that is
    being published counts for nothing, because its routing may be over.
    """
    waiting = select(OutboxMessage.message_id).where(
        OutboxMessage.job == ROUTE_JOB,
        OutboxMessage.published_at.is_(None),
        OutboxMessage.subject_id == reading_task_id,
        OutboxMessage.due_at <= (due_at or now),
    )
    if session.scalar(waiting.limit(1).with_for_update(skip_locked=True)) is not None:
        return False
    launch(session, now, ROUTE_JOB, due_at=due_at, reading_task_id=reading_task_id)
    return True


def record_custody(
    session: Session,
    case: Case,
    hop: Hop,
    key: str,
    now: datetime,
    *,
    actor: str | None = None,
    uids: Sequence[str] | None = None,
    detail: dict[str, Any] | None = None,
) -> bool:
    """Write one line per study of the case; return whether any is new. `key` makes the event idempotent.

    `actor` is an account id, None for the system; `uids` are the studies concerned, by default all of the case.
    Open desks are told.
    """
    tell(session, hop.value, case.site_id, case.case_id)
    written = [
        write_hub_event(
            session,
            HubEvent(
                event_key=event_key(key, uid),
                hop=hop,
                site_id=case.site_id,
                study_uid=uid,
                at=now,
                case_id=case.case_id,
                actor=actor,
                detail=detail or {},
            ),
        )
        for uid in (uids if uids is not None else study_uids(session, case.case_id))
    ]
    return any(written)


def event_key(key: str, study_uid: str) -> str:
    """Return the key in the ledger of the line that `record_custody` writes for this study."""
    return f"hub:{key}:{study_uid}"


def audit(session: Session, now: datetime, code: str, action: str, account_id: str, case: Case, **detail: Any) -> None:
    """Write who did what to a case (PS3.15 A.5); `detail` holds ids and codes only."""
    session.add(
        AuditEvent(
            at=now,
            event_code=code,
            action=action,
            account_id=account_id,
            object_kind="case",
            object_id=case.case_id,
            site_id=case.site_id,
            outcome="success",
            detail=detail,
        )
    )


def _find_case_locked(session: Session, case_id: str, *, skip_locked: bool) -> Case | None:
    locked = select(Case).where(Case.case_id == case_id).with_for_update(skip_locked=skip_locked)
    return session.scalars(locked.execution_options(populate_existing=True)).one_or_none()
