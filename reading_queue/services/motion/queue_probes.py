"""Whether each queue is worked off: a probe goes the way of every job and says how long that took.

Durable: the newest probe of each queue, and when each scheduler was heard. A probe is launched like a job, through
outbox, relay and broker to a worker, so that its answer proves all of them, whichever broker it is; where one stands
still, the page says which queue has not answered and since when. Any number of schedulers may ask.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from reading_queue.db.health_tables import QueueProbe, SchedulerBeat
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub, launch

ASK_EVERY: Final = timedelta(seconds=15)
ASK_AGAIN: Final = timedelta(minutes=5)  # a probe may be lost with its broker
STANDS_AFTER: Final = timedelta(minutes=1)
SILENT_AFTER: Final = timedelta(seconds=30)
FORGOTTEN_AFTER: Final = timedelta(minutes=10)  # one that another has replaced; the last one stays: nobody forgets it


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue: its last answer, and since when one is waited for; it stands still when that is too long."""

    queue: str
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


def work_health(hub: Hub, viewer: Viewer) -> WorkHealth:
    """Return how queues and schedulers do, for an administrator."""
    require(viewer, Role.ADMINISTRATOR)
    now = hub.clock()
    with hub.transaction() as session:
        probes = session.scalars(select(QueueProbe).order_by(QueueProbe.queue)).all()
        beats = session.scalars(select(SchedulerBeat).order_by(SchedulerBeat.heard_at.desc())).all()
    return WorkHealth(
        queues=tuple(_view_queue(probe, now) for probe in probes),
        schedulers=tuple(
            SchedulerView(one.place, one.since, one.heard_at, one.heard_at < now - SILENT_AFTER) for one in beats
        ),
    )


def here() -> str:
    """Return which machine and process this is."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _view_queue(probe: QueueProbe, now: datetime) -> QueueView:
    return QueueView(
        queue=probe.queue,
        took_ms=probe.took_ms,
        answered_at=probe.answered_at,
        answered_by=probe.answered_by or "",
        waits_since=probe.asked_at if probe.waits else None,
        stands_still=probe.waits and probe.asked_at < now - STANDS_AFTER,
    )
