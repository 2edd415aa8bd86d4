"""What re-creates lost motion from the database, and ends what has run out of time.

Nothing here is needed while every message arrives; everything here may run at any time, in several processes, any
number of times. Each sweep takes a bounded batch, one transaction per case, and leaves alone what another
transaction is working on: the next round finds it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import ColumnElement, Select, delete, exists, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from reading_queue.db.tables import Case, Offer, ReadingTask, Report, Session
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.transitions import ROUTABLE, Actor, ReadingTaskState
from reading_queue.services.arrival.settling import VERIFY_JOB, VERIFY_LARGE_JOB
from reading_queue.services.cases.casework import RENDER_JOB, ROUTE_JOB, find_task_locked, launch_route
from reading_queue.services.holdings.prepared_metadata import PREPARE_JOB
from reading_queue.services.hub import Hub, launch
from reading_queue.services.patients.identity_doubts import held_condition
from reading_queue.services.reading.claims import end_claim, note_exhausted_offers
from reading_queue.services.routing.routing import expire_offers_of
from storage.catalogue.tables import GrantedPack, Study
from storage.ledger.tables import DeadJob, OutboxMessage, Redelivery, UsedNonce

log = structlog.get_logger(__name__)

BATCH: Final = 200  # rows one run of one sweep takes
GRACE: Final = timedelta(seconds=60)  # how long a job may be on its way before it counts as lost
NONCE_KEEP_FACTOR: Final = 2  # nonces are kept twice as long as they could be accepted
REDELIVERY_KEEP: Final = timedelta(days=1)  # a job that will be delivered again is so long before


def expire_leases(hub: Hub) -> int:
    """End the claims whose lease ran out; drafts stay, replacements are routed. Return how many."""
    now = hub.clock()
    overdue = select(ReadingTask.reading_task_id).where(
        ReadingTask.state == ReadingTaskState.IN_PROGRESS, ReadingTask.lease_expires_at <= now
    )
    ended = 0
    for reading_task_id in _load_ids(hub, overdue.order_by(ReadingTask.lease_expires_at)):
        with hub.transaction() as session:
            found = find_task_locked(session, reading_task_id, skip_locked=True)
            if found is None:
                continue
            task, case = found
            expires_at = task.lease_expires_at
            if task.state == ReadingTaskState.IN_PROGRESS and expires_at is not None and expires_at <= now:
                end_claim(session, case, task, Actor.SYSTEM, DiscontinuationReason.RESOURCE_PREEMPTED, now)
                ended += 1
    return ended


def expire_offers(hub: Hub) -> int:
    """Close the offers that ran out unanswered and ask further physicians. Return how many."""
    now = hub.clock()
    overdue = (
        select(Offer.reading_task_id)
        .where(Offer.state == "open", Offer.expires_at <= now)
        .group_by(Offer.reading_task_id)
        .order_by(Offer.reading_task_id)
    )
    closed = 0
    for reading_task_id in _load_ids(hub, overdue):
        with hub.transaction() as session:
            found = find_task_locked(session, reading_task_id, skip_locked=True)
            if found is None:
                continue
            task, case = found
            closed += expire_offers_of(session, task, now)
            if task.state == ReadingTaskState.SCHEDULED:
                note_exhausted_offers(session, case, task)
                launch_route(session, now, reading_task_id)
    return closed


def relaunch_lost(hub: Hub) -> int:
    """Launch again what should be in motion and is not: routing, verification, rendering, headers. Return how many.

    What failed for good rests first, so that a person can look; see `Policy.dead_job_rest_s`.
    """
    now = hub.clock()
    relaunches = (_relaunch_routing, _relaunch_verification, _relaunch_rendering, _relaunch_metadata)
    return sum(relaunch(hub, now) for relaunch in relaunches)


def prune_expired(hub: Hub) -> int:
    """Delete nonces that could no longer be accepted, sessions that have ended and old counts. Return how many."""
    now = hub.clock()
    nonces_before = now - timedelta(seconds=NONCE_KEEP_FACTOR * hub.policy.nonce_ttl_s)
    old_nonces = select(UsedNonce.nonce).where(UsedNonce.used_at < nonces_before).limit(BATCH)
    ended = or_(Session.expires_at <= now, Session.last_seen_at <= now - timedelta(seconds=hub.policy.session_idle_s))
    old_sessions = select(Session.token_sha256).where(ended).limit(BATCH)
    with hub.transaction() as session:
        nonces = session.execute(
            delete(UsedNonce)
            .where(UsedNonce.nonce.in_(old_nonces.with_for_update(skip_locked=True)))
            .returning(UsedNonce.nonce)
        ).all()
        sessions = session.execute(
            delete(Session)
            .where(Session.token_sha256.in_(old_sessions.with_for_update(skip_locked=True)))
            .returning(Session.token_sha256)
        ).all()
        counts = session.execute(
            delete(Redelivery).where(Redelivery.last_at < now - REDELIVERY_KEEP).returning(Redelivery.job)
        ).all()
        return len(nonces) + len(sessions) + len(counts)


def prune_outbox(hub: Hub) -> int:
    """Delete launches that were published so long ago that nothing asks for them any more. Return how many."""
    published_before = hub.clock() - max(timedelta(seconds=hub.policy.outbox_keep_s), GRACE)
    old = select(OutboxMessage.message_id).where(OutboxMessage.published_at < published_before)
    old = old.order_by(OutboxMessage.published_at).limit(BATCH).with_for_update(skip_locked=True)
    with hub.transaction() as session:
        pruned = delete(OutboxMessage).where(OutboxMessage.message_id.in_(old)).returning(OutboxMessage.message_id)
        return len(session.execute(pruned).all())


def _relaunch_routing(hub: Hub, now: datetime) -> int:
    """Route scheduled tasks that nobody is asked about and no launch is on its way for."""
    offered = exists().where(Offer.reading_task_id == ReadingTask.reading_task_id, Offer.state == "open")
    waiting = (
        select(ReadingTask.reading_task_id)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(
            ReadingTask.state == ReadingTaskState.SCHEDULED,
            Case.state.in_(ROUTABLE),
            ~offered,
            ~held_condition(),
            ~in_hand(hub, ROUTE_JOB, ReadingTask.reading_task_id, now),
        )
        .order_by(ReadingTask.created_at)
    )
    return launch_all(hub, now, waiting, ROUTE_JOB, "reading_task_id")


def _relaunch_verification(hub: Hub, now: datetime) -> int:
    return sum(
        _relaunch_verification_by(hub, now, job, of_kind)
        for job, of_kind in (
            (VERIFY_JOB, GrantedPack.parts.is_(None)),
            (VERIFY_LARGE_JOB, GrantedPack.parts.is_not(None)),
        )
    )


def _relaunch_verification_by(hub: Hub, now: datetime, job: str, of_kind: ColumnElement[bool]) -> int:
    committed = (
        select(GrantedPack.granted_pack_id)
        .where(
            GrantedPack.state == "committed",
            of_kind,
            GrantedPack.committed_at < now - GRACE,
            ~in_hand(hub, job, GrantedPack.granted_pack_id, now),
        )
        .order_by(GrantedPack.committed_at)
    )
    return launch_all(hub, now, committed, job, "granted_pack_id")


def _relaunch_rendering(hub: Hub, now: datetime) -> int:
    unrendered = (
        select(Report.report_id)
        .where(Report.rendered_at.is_(None), ~in_hand(hub, RENDER_JOB, Report.report_id, now))
        .order_by(Report.signed_at)
    )
    return launch_all(hub, now, unrendered, RENDER_JOB, "report_id")


def _relaunch_metadata(hub: Hub, now: datetime) -> int:
    unprepared = (
        select(Study.study_id)
        .where(Study.metadata_due_at < now - GRACE, ~in_hand(hub, PREPARE_JOB, Study.study_id, now))
        .order_by(Study.metadata_due_at)
    )
    return launch_all(hub, now, unprepared, PREPARE_JOB, "study_id")


def in_hand(hub: Hub, job: str, subject_id: InstrumentedAttribute[str], now: datetime) -> ColumnElement[bool]:
    """Return the condition that `job` needs no launch.

    One waits, or was published so recently that it may be running; or the job failed for good and rests.
    """
    on_its_way = exists().where(
        OutboxMessage.job == job,
        OutboxMessage.subject_id == subject_id,
        or_(OutboxMessage.published_at.is_(None), OutboxMessage.published_at > now - GRACE),
    )
    resting = exists().where(
        DeadJob.job == job,
        DeadJob.subject_id == subject_id,
        DeadJob.retried_at.is_(None),
        DeadJob.failed_at > now - timedelta(seconds=hub.policy.dead_job_rest_s),
    )
    return or_(on_its_way, resting)


def launch_all(
    hub: Hub, now: datetime, ids: Select[str], job: str, argument: str, *, limit: int = BATCH, is_lost: bool = True
) -> int:
    """Launch `job` for each of these ids, at most `limit` of them, and return how many; `is_lost`: and say so.

    It asks twice: the rows as they are locked come from before the lock, and a launch by another process that ended
    in between changes no row, so that only a second look finds it.
    """
    with hub.transaction() as session:
        locked = session.scalars(ids.limit(limit).with_for_update(skip_locked=True)).all()
        lost = session.scalars(ids.where(ids.selected_columns[0].in_(locked))).all() if locked else []
        for one in lost:
            launch(session, now, job, due_at=now, attempt=1, **{argument: one})
            if is_lost:
                log.warning("lost_job_relaunched", job=job, id=one)
        rested = update(DeadJob).where(DeadJob.job == job, DeadJob.subject_id.in_(lost), DeadJob.retried_at.is_(None))
        session.execute(rested.values(retried_at=now))
    return len(lost)


def _load_ids(hub: Hub, ids: Select[str]) -> Sequence[str]:
    with hub.transaction() as session:
        return session.scalars(ids.limit(BATCH)).all()
