"""What becomes of a job that failed: tried again later, or laid down for a person.

Durable: a retry is an outbox row with a later `due_at`, a final failure a row of `dead_jobs`. The broker delivers again
what ended without an outcome; how often is counted in `redeliveries`. Whether the job ended its process or only died
with it nobody can tell, so that a death is no defect: the job pauses, longer each time, and is tried for hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from reading_queue.errors import Unavailable
from reading_queue.services.cases.casework import ROUTE_JOB
from reading_queue.services.hub import Hub, launch
from storage.ledger.tables import DeadJob, Redelivery
from storage.objects.protocol import StoreUnavailable


class DeadLettered(Exception):
    """The broker gave the job up: given back too often, or refused by a worker that does not know it."""


class ProcessEnded(Exception):
    """The job was started several times and each time its process ended: out of memory, a crash, a worker killed."""

    def __str__(self) -> str:
        """Return what a person reads of it."""
        return "its process ended each time it was started"


# What passes by itself is tried for hours; what is probably a defect only a few times.
TRANSIENT: Final = (
    StoreUnavailable,
    Unavailable,
    OperationalError,
    StaleDataError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    DeadLettered,
    ProcessEnded,
)
TRANSIENT_ATTEMPTS_MAX: Final = 20
OTHER_ATTEMPTS_MAX: Final = 3
RETRY_DELAY_FIRST_S: Final = 1.0
RETRY_DELAY_MAX_S: Final = 600.0

DELIVERIES_MAX: Final = 3  # a job whose process ended this often without an outcome pauses before the next start

_log = structlog.get_logger(__name__)


def retry_delay_s(attempt: int, *, transient: bool) -> float | None:
    """Return how long to wait after failed attempt number `attempt` (from 1), or None to give up."""
    if attempt >= (TRANSIENT_ATTEMPTS_MAX if transient else OTHER_ATTEMPTS_MAX):
        return None
    return min(RETRY_DELAY_FIRST_S * 2.0 ** (attempt - 1), RETRY_DELAY_MAX_S)


def record_failure(
    hub: Hub, job: str, arguments: Mapping[str, str], attempt: int, failure: BaseException
) -> datetime | None:
    """Write the retry, or the dead job, in one transaction; return when it is due again, None when it is dead."""
    now = hub.clock()
    delay_s = retry_delay_s(attempt, transient=isinstance(failure, TRANSIENT))
    died = isinstance(failure, ProcessEnded)
    kind = str(failure) if died else f"{type(failure).__module__}.{type(failure).__qualname__}"
    due_at = None if delay_s is None else now + timedelta(seconds=delay_s)
    with hub.transaction() as session:
        if due_at is None:
            _lay_down(session, job, arguments, now, f"{kind}, after {attempt} attempts")
        else:
            if not died:
                _forget_deliveries(session, job, arguments)
            launch(session, now, job, due_at=due_at, **arguments, attempt=attempt + 1)
    event = "job_dead" if due_at is None else "job_failed_will_retry"
    _log.error(event, job=job, attempt=attempt, failure=kind, exc_info=failure, **arguments)
    if due_at is None:
        _tell_of_dead(hub, job, arguments)
    return due_at


def launch_each(hub: Hub, job: str, arguments: Mapping[str, Sequence[str]], failure: BaseException | None) -> None:
    """Launch the subjects of a message that brought several each by itself, as their second attempt."""
    now = hub.clock()
    ((name, subject_ids),) = arguments.items()
    with hub.transaction() as session:
        for subject_id in subject_ids:
            launch(session, now, job, due_at=now, attempt=2, **{name: subject_id})
    _log.warning("jobs_launched_each", job=job, count=len(subject_ids), exc_info=failure, **{name: list(subject_ids)})


def count_delivery(hub: Hub, job: str, arguments: Mapping[str, str], attempt: int) -> bool:
    """Count that a job was delivered again; return whether to run it now, False once it pauses or is dead.

    A job comes again when its process ended without an outcome: out of memory, a crash, a worker killed.
    """
    counted = insert(Redelivery).values(subject_id=_subject_of(arguments), job=job, count=1, last_at=hub.clock())
    counted = counted.on_conflict_do_update(
        index_elements=["subject_id", "job"], set_={"count": Redelivery.count + 1, "last_at": hub.clock()}
    )
    with hub.transaction() as session:
        count = session.scalars(counted.returning(Redelivery.count)).one()
    if count < DELIVERIES_MAX:
        return True
    record_failure(hub, job, arguments, attempt, ProcessEnded())
    return False


def forget_deliveries(hub: Hub, job: str, arguments: Mapping[str, str]) -> None:
    """Take note that a job which was delivered again has ended well."""
    with hub.transaction() as session:
        _forget_deliveries(session, job, arguments)


def lay_down(hub: Hub, job: str, arguments: Mapping[str, str], reason: str) -> None:
    """Write a dead job of which there is no attempt to come."""
    with hub.transaction() as session:
        _lay_down(session, job, arguments, hub.clock(), reason)
    _log.error("job_dead", job=job, reason=reason, **arguments)
    _tell_of_dead(hub, job, arguments)


def _lay_down(session: Session, job: str, arguments: Mapping[str, str], now: datetime, reason: str) -> None:
    subject_id = _subject_of(arguments)
    session.add(
        DeadJob(
            job=job, subject_id=subject_id, arguments=dict(arguments), failed_at=now, reason=reason, retried_at=None
        )
    )
    _forget_deliveries(session, job, arguments)


def _tell_of_dead(hub: Hub, job: str, arguments: Mapping[str, str]) -> None:
    """Tell the duty director and the site of a case that nobody is asked about; the dead job stands, whatever fails."""
    if job != ROUTE_JOB or "reading_task_id" not in arguments:
        return
    from reading_queue.services.routing import routing

    try:
        routing.note_failed(hub, arguments["reading_task_id"])
    except Exception:  # noqa: BLE001 -- the dead job is written, and seen on its page
        _log.exception("dead_routing_not_told", job=job, **arguments)


def _forget_deliveries(session: Session, job: str, arguments: Mapping[str, str]) -> None:
    of_job = (Redelivery.subject_id == _subject_of(arguments)) & (Redelivery.job == job)
    session.execute(delete(Redelivery).where(of_job))


def _subject_of(arguments: Mapping[str, str]) -> str:
    (subject_id,) = arguments.values()
    return subject_id
