"""Whether the hub's dependencies answer, in words for the person who operates it."""

from __future__ import annotations

from sqlalchemy import func, select, text

from reading_queue.services.holdings.scrubbing import report
from reading_queue.services.hub import Hub
from reading_queue.services.motion.queue_probes import unserved_queues
from storage.ledger.tables import OPEN_DEAD_JOB, DeadJob, OutboxMessage

OUTBOX_LATE_S = 30.0  # a launch that waits longer than this shows that the relay or the broker stands still


class Unhealthy(Exception):
    """A part of the hub does not do its work; the message says which and why."""


def check_database(hub: Hub) -> str:
    """Return words; raises SQLAlchemy's OperationalError when the database does not answer."""
    with hub.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return "answers"


def check_objects(hub: Hub) -> str:
    """Return words; raises ObjectStoreError when the store does not answer."""
    return hub.objects.check()


def check_outbox(hub: Hub) -> str:
    """Return how many launches wait; raises Unhealthy when the oldest has waited too long."""
    now = hub.clock()
    waiting = (OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= now)
    with hub.transaction() as session:
        count, oldest = session.execute(select(func.count(), func.min(OutboxMessage.due_at)).where(*waiting)).one()
    if count == 0:
        return "nothing waits"
    age_s = (now - oldest).total_seconds()
    words = f"{count} launches wait, the oldest for {age_s:.0f} s"
    if age_s > OUTBOX_LATE_S:
        raise Unhealthy(f"{words}: is the scheduler running, does the broker answer?")
    return words


def count_dead_jobs(hub: Hub) -> int:
    """Return how many jobs failed for good and were not tried again since."""
    with hub.transaction() as session:
        dead = select(func.count()).select_from(DeadJob).where(OPEN_DEAD_JOB)
        return session.scalars(dead).one()


def check_queues(hub: Hub) -> str:
    """Return words when every queue has a worker; raises Unhealthy with those that have none."""
    unserved = ",".join(unserved_queues(hub))
    if unserved:
        raise Unhealthy(f"no worker serves {unserved}: start `counterpart-hub serve worker --queues {unserved}`")
    return "each has a worker"


def check_stored_bytes(hub: Hub) -> str:
    """Return how many packs there are and how long ago each was read at the latest; raises Unhealthy for damage."""
    found = report(hub)
    words = f"{found.packs} packs, each read within the last {found.oldest_check_days + 1} days"
    if found.is_halted:
        raise Unhealthy(
            f"{words}; so many were damaged or missing within an hour that no more are read: is [objects] the right "
            "store, and is it whole?"
        )
    if found.unsound_packs:
        raise Unhealthy(
            f"{words}; {found.lost_instances} instances in {found.unsound_packs} packs cannot be given any more: "
            "`counterpart-hub storage verify` names them"
        )
    return words
