"""Whether each queue is worked off: a probe goes the way of every job and says how long that took.

Durable: the newest probe of each queue, and when each scheduler, and each worker for each of its queues, was heard. A
probe is launched like a job, through outbox, relay and broker to a worker, so that its answer proves all of them,
whichever broker it is; where one stands still, the page says which queue has not answered and since when, and whether
any worker serves it at all. Any number of schedulers may ask.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.health_tables import QueueProbe, SchedulerBeat, WorkerBeat
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub, launch

ASK_EVERY: Final = timedelta(seconds=15)
ASK_AGAIN: Final = timedelta(minutes=5)  # a probe may be lost with its broker
STANDS_AFTER: Final = timedelta(minutes=1)
BUSY_FOR: Final[Mapping[str, timedelta]] = {"large": timedelta(minutes=30)}  # one job may hold a child for so long
SILENT_AFTER: Final = timedelta(seconds=30)
FORGOTTEN_AFTER: Final = timedelta(minutes=10)  # one that another has replaced; the last one stays: nobody forgets it


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue: its last answer, and since when one is waited for; it stands still when that is too long.

    `workers` are the processes that serve it now; it is unserved when there are none and a probe waits.
    """

    queue: str
    workers: int
    unserved: bool
    took_ms: int | None
    answered_at: datetime | None
    answered_by: str
    waits_since: datetime | None
    stands_still: bool


@dataclass(frozen=True, slots=True)
class SchedulerView:
    """One scheduler; it is silent when it was not heard for too long."""

    place: str
    since: datetime
    heard_at: datetime
    is_silent: bool


@dataclass(frozen=True, slots=True)
class WorkHealth:
    """How the hub's queues and schedulers do."""

    queues: tuple[QueueView, ...]
    schedulers: tuple[SchedulerView, ...]


def ask(hub: Hub, jobs: Mapping[str, str]) -> int:
    """Launch a probe of each queue that is due for one, and be heard; return how many. `jobs` are by queue."""
    now = hub.clock()
    answered = QueueProbe.answered_at >= QueueProbe.asked_at
    due = or_(answered & (QueueProbe.asked_at <= now - ASK_EVERY), QueueProbe.launched_at <= now - ASK_AGAIN)
    first = insert(QueueProbe).values([{"queue": queue, "asked_at": now, "launched_at": now} for queue in jobs])
    with hub.transaction() as session:
        asked = list(session.scalars(first.on_conflict_do_nothing().returning(QueueProbe.queue)))
        for row in session.scalars(select(QueueProbe).where(due).with_for_update(skip_locked=True)):
            if not row.waits:
                row.asked_at = now
            row.launched_at = now
            asked.append(row.queue)
        for queue in asked:
            launch(session, now, jobs[queue], queue=queue)
        beat = insert(SchedulerBeat).values(place=here(), since=now, heard_at=now)
        session.execute(beat.on_conflict_do_update(index_elements=["place"], set_={"heard_at": now}))
        session.execute(delete(SchedulerBeat).where(SchedulerBeat.heard_at < now - FORGOTTEN_AFTER))
    return len(asked)


def answer(hub: Hub, queue: str) -> None:
    """Take note that a worker has come to the probe. The second time it changes nothing."""
    now = hub.clock()
    with hub.transaction() as session:
        row = session.get(QueueProbe, queue, with_for_update=True)
        if row is None or not row.waits:
            return
        row.answered_at, row.answered_by = max(now, row.asked_at), here()
        row.took_ms = max(0, round((now - row.asked_at).total_seconds() * 1000))


def hear_worker(hub: Hub, place: str, queues: Collection[str]) -> None:
    """Take note that a worker's process at `place` serves these queues now."""
    now = hub.clock()
    with hub.transaction() as session:
        if queues:
            rows = [{"place": place, "queue": queue, "since": now, "heard_at": now} for queue in sorted(queues)]
            beat = insert(WorkerBeat).values(rows)
            session.execute(beat.on_conflict_do_update(index_elements=["place", "queue"], set_={"heard_at": now}))
        session.execute(delete(WorkerBeat).where(WorkerBeat.heard_at < now - FORGOTTEN_AFTER))


def unserved_queues(hub: Hub) -> list[str]:
    """Return the queues in which a probe waits and which no worker serves."""
    with hub.transaction() as session:
        return [one.queue for one in view_queues(session, hub.clock()) if one.unserved]


def work_health(hub: Hub, viewer: Viewer) -> WorkHealth:
    """Return how queues and schedulers do, for an administrator."""
    require(viewer, Role.ADMINISTRATOR)
    now = hub.clock()
    with hub.transaction() as session:
        queues = view_queues(session, now)
        beats = session.scalars(select(SchedulerBeat).order_by(SchedulerBeat.heard_at.desc())).all()
    return WorkHealth(
        queues=queues,
        schedulers=tuple(
            SchedulerView(one.place, one.since, one.heard_at, one.heard_at < now - SILENT_AFTER) for one in beats
        ),
    )


def here() -> str:
    """Return which machine and process this is."""
    return f"{socket.gethostname()}/{os.getpid()}"


def view_queues(session: Session, now: datetime) -> tuple[QueueView, ...]:
    """Return how each queue does, by name."""
    heard = select(WorkerBeat.queue, func.count().label("workers")).where(WorkerBeat.heard_at >= now - SILENT_AFTER)
    workers: dict[str, int] = {row.queue: row.workers for row in session.execute(heard.group_by(WorkerBeat.queue))}
    probes = session.scalars(select(QueueProbe).order_by(QueueProbe.queue))
    return tuple(_view_queue(probe, workers.get(probe.queue, 0), now) for probe in probes)


def _view_queue(probe: QueueProbe, workers: int, now: datetime) -> QueueView:
    patience = BUSY_FOR.get(probe.queue, STANDS_AFTER) if workers else STANDS_AFTER
    return QueueView(
        queue=probe.queue,
        workers=workers,
        unserved=not workers and probe.waits and probe.asked_at < now - SILENT_AFTER,
        took_ms=probe.took_ms,
        answered_at=probe.answered_at,
        answered_by=probe.answered_by or "",
        waits_since=probe.asked_at if probe.waits else None,
        stands_still=probe.waits and probe.asked_at < now - patience,
    )
