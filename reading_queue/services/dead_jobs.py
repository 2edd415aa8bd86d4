"""Jobs that failed for good: shown to a person, launched again when that person says so.

Durable: the row, and with a retry the launch in the same transaction. A row is never deleted: it tells what happened.
"""

from __future__ import annotations

from sqlalchemy import select

from reading_queue.errors import NotFound, WrongState
from reading_queue.services.hub import Hub, launch
from storage.ledger.tables import DeadJob

SHOWN_MAX = 500


def find_dead_jobs(hub: Hub) -> tuple[DeadJob, ...]:
    """Return the jobs that failed for good and were not launched again since, oldest first, at most SHOWN_MAX."""
    dead = select(DeadJob).where(DeadJob.retried_at.is_(None)).order_by(DeadJob.dead_job_id).limit(SHOWN_MAX)
    with hub.transaction() as session:
        return tuple(session.scalars(dead))


def retry(hub: Hub, dead_job_id: int) -> None:
    """Launch a dead job again, with all its attempts before it.

    Raises:
        NotFound: there is no such dead job.
        WrongState: it was launched again already.
    """
    now = hub.clock()
    with hub.transaction() as session:
        dead = session.get(DeadJob, dead_job_id, with_for_update=True)
        if dead is None:
            raise NotFound(f"there is no dead job {dead_job_id}")
        if dead.retried_at is not None:
            raise WrongState(f"job {dead_job_id} was launched again at {dead.retried_at:%Y-%m-%d %H:%M:%S %Z}")
        dead.retried_at = now
        launch(session, now, dead.job, due_at=now, attempt=1, **dead.arguments)
