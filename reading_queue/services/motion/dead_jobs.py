"""Jobs that failed for good: shown to a person, launched again or dismissed when that person says so.

Durable: the row, and with a retry the launch in the same transaction. A row is never deleted: it tells what happened,
and who settled it. Nothing here names a patient: a job's arguments are ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from reading_queue.domain.roles import Role
from reading_queue.errors import NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.holdings.retention import checked_reason
from reading_queue.services.hub import Hub, launch
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author
from storage.ledger.tables import OPEN_DEAD_JOB, AuditEvent, DeadJob, OutboxMessage

SHOWN_MAX = 500
RETRIED_MAX: Final = 500  # launched by one click: no more than one look shows
APPLICATION_ACTIVITY: Final = "110100"  # DICOM Application Activity (PS3.15 A.5)


@dataclass(frozen=True, slots=True)
class DeadJobFilter:
    """Which open dead jobs are meant; what is empty leaves nothing out."""

    job: str = ""
    error: str = ""  # as `error_class` says it
    older_than_h: int = 0


@dataclass(frozen=True, slots=True)
class DeadJobs:
    """The open dead jobs of a filter, oldest first, what there is to filter by, and how launches stand."""

    rows: tuple[DeadJob, ...]
    count: int
    jobs: tuple[str, ...]
    errors: tuple[str, ...]
    launches: LaunchHealth


@dataclass(frozen=True, slots=True)
class LaunchHealth:
    """How many launches are due and not yet with the broker, and how many wait for their time, each with its oldest."""

    late: int
    late_since: datetime | None
    timers: int
    next_timer_at: datetime | None
    dead: int
    dead_since: datetime | None


def error_class() -> ColumnElement[str]:
    """Return the kind of failure: what the reason says before its details."""
    return func.substring(DeadJob.reason, "^[^,:]+")


def error_of(dead: DeadJob) -> str:
    """Return the same of one row."""
    return dead.reason.replace(":", ",").partition(",")[0]


def find_dead_jobs(hub: Hub) -> tuple[DeadJob, ...]:
    """Return the jobs that failed for good and were not settled since, oldest first, at most SHOWN_MAX."""
    dead = select(DeadJob).where(OPEN_DEAD_JOB).order_by(DeadJob.dead_job_id).limit(SHOWN_MAX)
    with hub.transaction() as session:
        return tuple(session.scalars(dead))


def list_dead_jobs(hub: Hub, viewer: Viewer, wanted: DeadJobFilter) -> DeadJobs:
    """Return what an administrator sees of the dead jobs, at most SHOWN_MAX of them."""
    require(viewer, Role.ADMINISTRATOR)
    now = hub.clock()
    meant = _condition(wanted, now)
    shown = select(DeadJob).where(meant).order_by(DeadJob.failed_at, DeadJob.dead_job_id).limit(SHOWN_MAX)
    with hub.transaction() as session:
        return DeadJobs(
            rows=tuple(session.scalars(shown)),
            count=session.scalar(select(func.count()).select_from(DeadJob).where(meant)) or 0,
            jobs=tuple(session.scalars(select(DeadJob.job).where(OPEN_DEAD_JOB).distinct().order_by(DeadJob.job))),
            errors=tuple(sorted(session.scalars(select(error_class()).where(OPEN_DEAD_JOB).distinct()))),
            launches=_launch_health(session, now),
        )


def launch_health(hub: Hub) -> LaunchHealth:
    """Return how launches stand."""
    with hub.transaction() as session:
        return _launch_health(session, hub.clock())


def retry(hub: Hub, dead_job_id: int, by: Viewer | Author = NOBODY_KNOWN) -> None:
    """Launch a dead job again, with all its attempts before it; `by` says so, on the desk or by a command.

    Raises:
        NotFound: there is no such dead job.
        WrongState: it was launched again, or dismissed.
    """
    if isinstance(by, Viewer):
        require(by, Role.ADMINISTRATOR)
        by = Author(by.account_id)
    now = hub.clock()
    with hub.transaction() as session:
        _retry(session, now, [_get_open(session, dead_job_id)], by)


def retry_all(hub: Hub, viewer: Viewer, wanted: DeadJobFilter) -> int:
    """Launch every open dead job of the filter again, at most RETRIED_MAX; return how many."""
    require(viewer, Role.ADMINISTRATOR)
    now = hub.clock()
    meant = select(DeadJob).where(_condition(wanted, now)).order_by(DeadJob.failed_at, DeadJob.dead_job_id)
    with hub.transaction() as session:
        found = session.scalars(meant.limit(RETRIED_MAX).with_for_update(skip_locked=True)).all()
        _retry(session, now, found, Author(viewer.account_id))
    return len(found)


def dismiss(hub: Hub, viewer: Viewer, dead_job_id: int, reason: str) -> None:
    """Take a dead job off the list because nothing is to be done about it, and keep why.

    A sweep that still finds its work undone launches it once it has rested.

    Raises:
        NotFound, WrongState: as of `retry`.
        Invalid: the reason says nothing, or too much.
    """
    require(viewer, Role.ADMINISTRATOR)
    why, now = checked_reason(reason), hub.clock()
    with hub.transaction() as session:
        dead = _get_open(session, dead_job_id)
        dead.dismissed_at, dead.settled_by, dead.note = now, viewer.account_id, why
        _audit(session, now, Author(viewer.account_id), dead, "dismissed")


def _condition(wanted: DeadJobFilter, now: datetime) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [OPEN_DEAD_JOB]
    if wanted.job:
        parts.append(DeadJob.job == wanted.job)
    if wanted.error:
        parts.append(error_class() == wanted.error)
    if wanted.older_than_h:
        parts.append(DeadJob.failed_at <= now - timedelta(hours=wanted.older_than_h))
    return and_(*parts)


def _launch_health(session: Session, now: datetime) -> LaunchHealth:
    waiting = OutboxMessage.published_at.is_(None)
    figures = select(func.count(), func.min(OutboxMessage.due_at)).where(waiting)
    late, late_since = session.execute(figures.where(OutboxMessage.due_at <= now)).one()
    timers, next_at = session.execute(figures.where(OutboxMessage.due_at > now)).one()
    dead, dead_since = session.execute(select(func.count(), func.min(DeadJob.failed_at)).where(OPEN_DEAD_JOB)).one()
    return LaunchHealth(late, late_since, timers, next_at, dead, dead_since)


def _get_open(session: Session, dead_job_id: int) -> DeadJob:
    dead = session.get(DeadJob, dead_job_id, with_for_update=True)
    if dead is None:
        raise NotFound(f"there is no dead job {dead_job_id}")
    if dead.retried_at is not None:
        raise WrongState(f"job {dead_job_id} was launched again at {dead.retried_at:%Y-%m-%d %H:%M:%S %Z}")
    if dead.dismissed_at is not None:
        raise WrongState(f"job {dead_job_id} was dismissed at {dead.dismissed_at:%Y-%m-%d %H:%M:%S %Z}")
    return dead


def _retry(session: Session, now: datetime, found: Sequence[DeadJob], author: Author) -> None:
    for dead in found:
        dead.retried_at = now
        launch(session, now, dead.job, due_at=now, attempt=1, **dead.arguments)
        dead.settled_by = author.account_id
        _audit(session, now, author, dead, "retried")


def _audit(session: Session, now: datetime, author: Author, dead: DeadJob, act: str) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=APPLICATION_ACTIVITY,
            action="E",
            account_id=author.account_id,
            object_kind="dead_job",
            object_id=str(dead.dead_job_id),
            site_id=None,
            detail={"act": act, "job": dead.job, "subject_id": dead.subject_id, **author.audited},
        )
    )
