"""What has happened to workitems, for those who subscribed: written where it happens, read for who passes it on.

Durable for a day: a row for each event, in the transaction of the change. Order, wake-up and cursor are those of
`desk_events`, so that nothing slips through which commits late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, delete, func, literal, select, tuple_
from sqlalchemy.orm import Session

from reading_queue.db.subscription_tables import WorkitemEvent
from reading_queue.db.tables import ReadingTask
from reading_queue.domain.workitems.reports import EventType
from reading_queue.services.hub import Hub
from reading_queue.services.worklists.desk_events import CHANNEL, Cursor, oldest_open

KEPT: Final = timedelta(days=1)
BATCH: Final = 200
_TOLD: Final = "workitem_events_told"


@dataclass(frozen=True, slots=True)
class Happened:
    """One event; `only_for` names the one subscriber whom it is for."""

    cursor: Cursor
    reading_task_id: str
    event_type: EventType
    state: str
    detail: dict[str, Any]
    only_for: str | None


def report_event(session: Session, task: ReadingTask, event_type: EventType, **detail: Any) -> None:
    """Write that something has happened to a workitem; the same in one transaction is written once."""
    told: set[Any] = session.info.setdefault(_TOLD, set())
    key = (task.reading_task_id, event_type, task.state)
    if key in told:
        return
    told.add(key)
    wake(session)
    row = WorkitemEvent(
        reading_task_id=task.reading_task_id, event_type=event_type, state=str(task.state), detail=detail
    )
    session.add(row)


def wake(session: Session) -> None:
    """Have the readers of all processes look when the transaction commits; several calls are one notification."""
    with session.no_autoflush:
        session.execute(select(func.pg_notify(CHANNEL, "")))


def read_workitem_events(hub: Hub, after: Cursor, limit: int = BATCH) -> Sequence[Happened]:
    """Return what came after the cursor, in the order in which everybody is told of it, at most `limit`."""
    found = (
        select(WorkitemEvent)
        .where(
            tuple_(WorkitemEvent.transaction_id, WorkitemEvent.event_id)
            > tuple_(literal(after.transaction_id, BigInteger), literal(after.event_id, BigInteger)),
            WorkitemEvent.transaction_id < oldest_open(),
        )
        .order_by(WorkitemEvent.transaction_id, WorkitemEvent.event_id)
        .limit(limit)
    )
    with hub.transaction() as session:
        return [
            Happened(
                cursor=Cursor(row.transaction_id, row.event_id),
                reading_task_id=row.reading_task_id,
                event_type=EventType(row.event_type),
                state=row.state,
                detail=row.detail,
                only_for=row.only_for,
            )
            for row in session.scalars(found)
        ]


def prune_workitem_events(hub: Hub) -> int:
    """Forget what is older than a day; return how many rows."""
    old = select(WorkitemEvent.event_id).where(WorkitemEvent.at < func.now() - KEPT)
    with hub.transaction() as session:
        of_old = WorkitemEvent.event_id.in_(old.order_by(WorkitemEvent.at).limit(BATCH))
        return len(session.execute(delete(WorkitemEvent).where(of_old).returning(WorkitemEvent.event_id)).all())
