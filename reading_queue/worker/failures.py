"""What becomes of a job that failed: tried again later, or laid down for a person.

Durable: a retry is an outbox row with a later `due_at`, a final failure a row of `dead_jobs`. The broker plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm.exc import StaleDataError

from reading_queue.errors import Unavailable
from reading_queue.services.hub import Hub, launch
from storage.ledger.tables import DeadJob
from storage.objects.protocol import StoreUnavailable

# What passes by itself is tried for hours; what is probably a defect only a few times.
TRANSIENT: Final = (
    StoreUnavailable,
    Unavailable,
    OperationalError,
    StaleDataError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
TRANSIENT_ATTEMPTS_MAX: Final = 20
OTHER_ATTEMPTS_MAX: Final = 3
RETRY_DELAY_FIRST_S: Final = 1.0
RETRY_DELAY_MAX_S: Final = 600.0

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
    kind = f"{type(failure).__module__}.{type(failure).__qualname__}"
    with hub.transaction() as session:
        if delay_s is None:
            reason = f"{kind}, after {attempt} attempts"
            session.add(_dead_job(job, arguments, now, reason))
            due_at = None
        else:
            due_at = now + timedelta(seconds=delay_s)
            launch(session, now, job, due_at=due_at, **arguments, attempt=attempt + 1)
    event = "job_dead" if due_at is None else "job_failed_will_retry"
    _log.error(event, job=job, attempt=attempt, failure=kind, exc_info=failure, **arguments)
    return due_at


def _dead_job(job: str, arguments: Mapping[str, str], now: datetime, reason: str) -> DeadJob:
    (subject_id,) = arguments.values()
    return DeadJob(
        job=job, subject_id=subject_id, arguments=dict(arguments), failed_at=now, reason=reason, retried_at=None
    )
