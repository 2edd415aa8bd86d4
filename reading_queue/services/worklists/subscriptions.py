"""Subscriptions to workitems (PS3.4 section CC.2.3): who is told of what, and how far they were told.

Durable: everything; a subscriber that was away is told what it missed, as far as events are kept. An application
entity title belongs to the account that subscribed it first, until it subscribes to nothing any more. A subscription is
no right: whether the account may see a workitem is asked whenever it is told of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, insert, literal, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from reading_queue.db.subscription_tables import WorkitemEvent, WorkitemSubscriber, WorkitemSubscription
from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.domain.workitems.content import DicomJson
from reading_queue.domain.workitems.reports import (
    EVERY_WORKITEM,
    FILTERED_WORKITEMS,
    EventType,
    is_ae_title,
    workitem_report,
)
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer, may_follow_case
from reading_queue.services.hub import Hub
from reading_queue.services.worklists.desk_events import Cursor, next_transaction, oldest_open
from reading_queue.services.worklists.workitem_events import KEPT, Happened, wake
from reading_queue.services.worklists.workitem_search import WorkitemQuery, parse_workitem_query
from reading_queue.services.worklists.workitem_views import get_workitem, load_workitems, met_workitems
from storage.ledger.tables import AuditEvent

SUBSCRIBERS_PER_ACCOUNT_MAX: Final = 8
TOLD_AT_FIRST_MAX: Final = 1000  # workitems of which a new subscriber is told how they stand, the newest
GLOBAL: Final = frozenset({EVERY_WORKITEM, FILTERED_WORKITEMS})
_APPLICATION_ACTIVITY: Final = "110100"  # DCM audit event
_OPEN: Final = (ReadingTaskState.SCHEDULED, ReadingTaskState.IN_PROGRESS)


class AeTitleTaken(Forbidden):
    """This application entity title belongs to another account."""

    code = "ae_title_taken"


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a connection begins: told through `cursor`; `was_told_going_down` at the end of the last one."""

    cursor: Cursor
    was_told_going_down: bool


def subscribe(
    hub: Hub, viewer: Viewer, workitem_uid: str, ae_title: str, query: Sequence[tuple[str, str]], *, lock: bool
) -> None:
    """Tell an application entity of a workitem, of all, or of those that a query finds; at first how they stand now.

    Raises:
        NotFound: there is no such workitem, or the viewer may not see it.
        AeTitleTaken: the title is another account's. Invalid: it is none. Conflict: the account has too many.
        BadQuery: the filter is not understood.
    """
    now = hub.clock()
    asked = parse_workitem_query(query)
    with hub.transaction() as session:
        if workitem_uid in GLOBAL:
            subscriber = _bind(session, viewer, ae_title, now)
            subscriber.scope, subscriber.deletion_lock, subscriber.suspended_at = workitem_uid, lock, None
            subscriber.filter = {"query": [list(pair) for pair in query]} if workitem_uid == FILTERED_WORKITEMS else {}
            if workitem_uid == FILTERED_WORKITEMS:
                _keep_matching(session, viewer, subscriber, asked, None, now)
            _tell_at_first(session, viewer, subscriber, now)
        else:
            task, _, _ = get_workitem(session, viewer, workitem_uid, now)
            subscriber = _bind(session, viewer, ae_title, now)
            _set_subscription(session, ae_title, task.reading_task_id, is_subscribed=True, lock=lock)
            _tell_how_it_stands(session, ae_title, [task.reading_task_id])
        _audit(session, viewer, now, "subscribed", workitem_uid)


def unsubscribe(hub: Hub, viewer: Viewer, workitem_uid: str, ae_title: str) -> None:
    """Tell an application entity of a workitem no longer; by a well-known UID, of none at all.

    Raises:
        NotFound: it is not subscribed, or there is no such workitem. AeTitleTaken: it is another account's.
    """
    now = hub.clock()
    with hub.transaction() as session:
        subscriber = _get_own(session, viewer, ae_title)
        if workitem_uid in GLOBAL:
            session.delete(subscriber)
        else:
            task_id = _get_told(session, viewer, ae_title, workitem_uid, now)
            _set_subscription(session, ae_title, task_id, is_subscribed=False, lock=False)
            session.flush()
            if not subscriber.scope and not _has_any(session, ae_title):
                session.delete(subscriber)
        _audit(session, viewer, now, "unsubscribed", workitem_uid)


def suspend(hub: Hub, viewer: Viewer, workitem_uid: str, ae_title: str) -> None:
    """Tell an application entity of no workitem that comes from now on; of the others it is told as before.

    Raises:
        NotFound: it has no such global subscription. AeTitleTaken: it is another account's.
    """
    now = hub.clock()
    with hub.transaction() as session:
        subscriber = _get_own(session, viewer, ae_title)
        if subscriber.scope != workitem_uid:
            raise NotFound("the application entity has no global subscription of this kind")
        subscriber.suspended_at = subscriber.suspended_at or now
        _audit(session, viewer, now, "suspended", workitem_uid)


def open_connection(hub: Hub, viewer: Viewer, ae_title: str) -> Opened:
    """Return where the subscriber's events go on; who was away for too long is told how everything stands.

    So is everybody after the database was put back, whose transactions then begin anew.

    Raises:
        NotFound: it has subscribed to nothing. AeTitleTaken: it is another account's.
    """
    with hub.transaction() as session:
        subscriber = _get_own(session, viewer, ae_title)
        was_put_back = literal(subscriber.told_transaction_id) > next_transaction()
        if session.scalar(select(or_(func.now() - subscriber.told_at > KEPT * 0.9, was_put_back))):
            _set_cursor(subscriber, _end(session))
            _tell_at_first(session, viewer, subscriber, hub.clock())
        opened = Opened(Cursor(subscriber.told_transaction_id, subscriber.told_event_id), subscriber.told_going_down)
        subscriber.told_going_down = False
        subscriber.told_at = func.now()
        return opened


def mark_told(hub: Hub, ae_title: str, through: Cursor, *, going_down: bool = False) -> None:
    """Keep how far a subscriber was told; never back."""
    with hub.transaction() as session:
        subscriber = session.get(WorkitemSubscriber, ae_title, with_for_update=True)
        if subscriber is None:
            return
        if through > (subscriber.told_transaction_id, subscriber.told_event_id):
            _set_cursor(subscriber, through)
        subscriber.told_at = func.now()
        subscriber.told_going_down = going_down


def reports_for(hub: Hub, viewer: Viewer, ae_title: str, happened: Sequence[Happened]) -> list[DicomJson]:
    """Return what the subscriber is told of these events: of workitems that it subscribed to and may see now."""
    now = hub.clock()
    mine = [one for one in happened if one.only_for in (None, ae_title)]
    if not mine:
        return []
    with hub.transaction() as session:
        subscriber = session.get(WorkitemSubscriber, ae_title)
        if subscriber is None or subscriber.account_id != viewer.account_id:
            return []
        task_ids = {one.reading_task_id for one in mine}
        found = session.execute(met_workitems(viewer, now).where(ReadingTask.reading_task_id.in_(task_ids)))
        rows = [(task, case, bool(follows)) for task, case, follows in found]
        wanted = _subscribed(session, viewer, subscriber, [task for task, _, _ in rows], now)
        rows = [row for row in rows if row[0].reading_task_id in wanted]
        facts = load_workitems(session, hub, rows, now)
        known = {task.reading_task_id: (one, follows) for (task, _, follows), one in zip(rows, facts, strict=True)}
        return [
            workitem_report(
                known[one.reading_task_id][0],
                one.event_type,
                one.state,
                one.detail,
                follows=known[one.reading_task_id][1],
            )
            for one in mine
            if one.reading_task_id in known
        ]


def _subscribed(
    session: Session, viewer: Viewer, subscriber: WorkitemSubscriber, tasks: Sequence[ReadingTask], now: datetime
) -> set[str]:
    """Return which of the tasks the subscriber is told of; a filter is asked once, and its answer kept."""
    ids = {task.reading_task_id for task in tasks}
    of_subscriber = select(WorkitemSubscription.reading_task_id, WorkitemSubscription.is_subscribed).where(
        WorkitemSubscription.ae_title == subscriber.ae_title, WorkitemSubscription.reading_task_id.in_(ids)
    )
    said = {row.reading_task_id: row.is_subscribed for row in session.execute(of_subscriber)}
    until = subscriber.suspended_at
    others = {
        task.reading_task_id
        for task in tasks
        if task.reading_task_id not in said and (until is None or task.created_at <= until)
    }
    if subscriber.scope == FILTERED_WORKITEMS and others:
        query = parse_workitem_query([(name, value) for name, value in subscriber.filter["query"]])
        others = _keep_matching(session, viewer, subscriber, query, others, now)
    elif subscriber.scope != EVERY_WORKITEM:
        others = set()
    return {task_id for task_id, is_subscribed in said.items() if is_subscribed} | others


def _keep_matching(
    session: Session,
    viewer: Viewer,
    subscriber: WorkitemSubscriber,
    query: WorkitemQuery,
    among: Collection[str] | None,
    now: datetime,
) -> set[str]:
    """Subscribe to the workitems that the filter finds, of `among` or of all that are open; return which."""
    found = met_workitems(viewer, now).where(*query.conditions).with_only_columns(ReadingTask.reading_task_id)
    if query.about_patient:
        found = found.where(may_follow_case(viewer, Case.case_id, Case.site_id, now))
    if among is not None:
        found = found.where(ReadingTask.reading_task_id.in_(among))
    else:
        found = found.where(ReadingTask.state.in_(_OPEN)).order_by(ReadingTask.created_at.desc())
    ids = set(session.scalars(found.limit(TOLD_AT_FIRST_MAX)))
    for task_id in sorted(ids):
        _set_subscription(session, subscriber.ae_title, task_id, is_subscribed=True, lock=subscriber.deletion_lock)
    return ids


def _tell_at_first(session: Session, viewer: Viewer, subscriber: WorkitemSubscriber, now: datetime) -> None:
    """Tell how the open workitems stand that the subscriber is told of, the newest at most."""
    session.flush()
    open_ones = met_workitems(viewer, now).where(ReadingTask.state.in_(_OPEN)).with_only_columns(ReadingTask)
    newest = session.scalars(open_ones.order_by(ReadingTask.created_at.desc()).limit(TOLD_AT_FIRST_MAX)).all()
    wanted = _subscribed(session, viewer, subscriber, newest, now)
    _tell_how_it_stands(session, subscriber.ae_title, wanted)


def _tell_how_it_stands(session: Session, ae_title: str, task_ids: Collection[str]) -> None:
    standing = select(
        ReadingTask.reading_task_id,
        literal(int(EventType.STATE_REPORT)),
        ReadingTask.state,
        literal({}, WorkitemEvent.detail.type),
        literal(ae_title),
    ).where(ReadingTask.reading_task_id.in_(task_ids))
    columns = ["reading_task_id", "event_type", "state", "detail", "only_for"]
    session.execute(insert(WorkitemEvent).from_select(columns, standing))
    wake(session)


def _bind(session: Session, viewer: Viewer, ae_title: str, now: datetime) -> WorkitemSubscriber:
    """Return the subscriber of this title, locked, made now if there was none."""
    if not is_ae_title(ae_title):
        raise Invalid("an application entity title has 1 to 16 printable characters, no backslash, no blanks around it")
    end = _end(session)
    new = upsert(WorkitemSubscriber).values(
        ae_title=ae_title,
        account_id=viewer.account_id,
        subscribed_at=now,
        told_transaction_id=end.transaction_id,
        told_event_id=end.event_id,
    )
    session.execute(new.on_conflict_do_nothing())
    subscriber = _get_own(session, viewer, ae_title)
    count = select(func.count()).where(WorkitemSubscriber.account_id == viewer.account_id)
    if (session.scalar(count) or 0) > SUBSCRIBERS_PER_ACCOUNT_MAX:
        raise Conflict(f"an account subscribes at most {SUBSCRIBERS_PER_ACCOUNT_MAX} application entities")
    return subscriber


def _get_told(session: Session, viewer: Viewer, ae_title: str, workitem_uid: str, now: datetime) -> str:
    """Return the id of a workitem that it is told of, even if the viewer sees it no longer, or that they may see."""
    told = select(ReadingTask.reading_task_id).join(WorkitemSubscription)
    told = told.where(WorkitemSubscription.ae_title == ae_title, ReadingTask.workitem_uid == workitem_uid)
    return session.scalar(told) or get_workitem(session, viewer, workitem_uid, now)[0].reading_task_id


def _get_own(session: Session, viewer: Viewer, ae_title: str) -> WorkitemSubscriber:
    known = is_ae_title(ae_title)
    subscriber = session.get(WorkitemSubscriber, ae_title, with_for_update=True) if known else None
    if subscriber is None:
        raise NotFound("this application entity has subscribed to nothing")
    if subscriber.account_id != viewer.account_id:
        raise AeTitleTaken
    return subscriber


def _set_subscription(session: Session, ae_title: str, task_id: str, *, is_subscribed: bool, lock: bool) -> None:
    values: dict[str, Any] = {"is_subscribed": is_subscribed, "deletion_lock": lock}
    row = upsert(WorkitemSubscription).values(ae_title=ae_title, reading_task_id=task_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=["ae_title", "reading_task_id"], set_=values))


def _has_any(session: Session, ae_title: str) -> bool:
    subscribed = (WorkitemSubscription.ae_title == ae_title, WorkitemSubscription.is_subscribed)
    return session.scalar(select(WorkitemSubscription.ae_title).where(*subscribed).limit(1)) is not None


def _end(session: Session) -> Cursor:
    return Cursor(session.scalar(select(oldest_open())) or 0, 0)


def _set_cursor(subscriber: WorkitemSubscriber, cursor: Cursor) -> None:
    subscriber.told_transaction_id, subscriber.told_event_id = cursor


def _audit(session: Session, viewer: Viewer, now: datetime, what: str, workitem_uid: str) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=_APPLICATION_ACTIVITY,
            action="U",
            account_id=viewer.account_id,
            object_kind="workitems",
            object_id=workitem_uid,
            outcome="success",
            detail={"event": what},
        )
    )
