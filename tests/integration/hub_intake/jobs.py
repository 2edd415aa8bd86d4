"""The worker's part, done at once and in this process."""

from __future__ import annotations

from sqlalchemy import select

from reading_queue.services.arrival.settling import VERIFY_JOB
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.hub import Hub
from storage.ledger.tables import OutboxMessage


def run_jobs(hub: Hub) -> int:
    """Run every verification that the outbox asks for, and return how many."""
    with hub.transaction() as session:
        jobs = session.scalars(select(OutboxMessage).where(OutboxMessage.job == VERIFY_JOB)).all()
    for job in jobs:
        verify_pack(hub, job.arguments["granted_pack_id"])
    return len(jobs)
