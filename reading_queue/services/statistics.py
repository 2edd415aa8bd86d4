"""What a coordinator watches: counts per site and hour, who is connected, what is stuck and why, how long queues are.

Reads only. Nothing here is kept: every figure is counted anew from the rows it is about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Date, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy, ReadingTask, Report
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.services.hub import Hub
from reading_queue.services.visibility import Viewer, require, visible_sites
from storage.catalogue.tables import Grant, GrantedPack, Transfer
from storage.contract.hops import Hop
from storage.contract.wire import TransferState
from storage.ledger.tables import CustodyEvent, DeadJob, Gateway, OutboxMessage, Site

HOURS: Final = 24
SILENT_AFTER_S: Final = 300  # a gateway polls all the time; after this long without a word its line is down
UNDELIVERED_AFTER_S: Final = 900  # a signed report should be home long before
STUCK_MAX: Final = 100
UNSIGNED: Final = (
    CaseState.RECEIVING,
    CaseState.READY,
    CaseState.OFFERED,
    CaseState.READING,
    CaseState.PENDING_REVIEW,
    CaseState.REVIEWING,
)
WITH_OVERSIGHT: Final = (Role.COORDINATOR, Role.ADMINISTRATOR)


@dataclass(frozen=True, slots=True)
class SiteToday:
    """One site's studies of today, by the hour of the site in which their first image arrived."""

    site_id: str
    name: str
    by_hour: tuple[int, ...]  # 24 counts
    signed: int  # of those that arrived today

    @property
    def total(self) -> int:
        """All studies that arrived today."""
        return sum(self.by_hour)


class Connection(StrEnum):
    """Whether a site's gateway is heard."""

    CONNECTED = "connected"
    SILENT = "silent"
    NEVER_SEEN = "never_seen"


@dataclass(frozen=True, slots=True)
class SiteConnection:
    """One site and when its gateway was last heard."""

    site_id: str
    name: str
    connection: Connection
    last_seen_at: datetime | None
    clock_offset_ms: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """The sites in view and how many of them are connected."""

    sites: tuple[SiteConnection, ...]

    @property
    def connected(self) -> int:
        """The number of sites heard lately."""
        return sum(site.connection is Connection.CONNECTED for site in self.sites)


class StuckKind(StrEnum):
    """Why something waits for a person."""

    UNROUTABLE = "unroutable"
    LATE = "late"
    UNDELIVERED = "undelivered"
    REFUSED_PACK = "refused_pack"
    DEAD_JOB = "dead_job"


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing that does not move; `reason` is in words and may be empty when the kind says it all."""

    kind: StuckKind
    site_id: str
    site_name: str
    study_uid: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """How much is waiting to be done by machines."""

    due_jobs: int
    oldest_due_at: datetime | None
    dead_jobs: int


def per_site_and_hour(hub: Hub, viewer: Viewer) -> tuple[SiteToday, ...]:
    """Return today's counts of every site that the coordinator oversees, busiest first."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        overseen = visible_sites(session, viewer, now)
        arrived = func.timezone(Site.time_zone, Case.first_instance_at)
        today = cast(func.timezone(Site.time_zone, now), Date)
        hour = func.extract("hour", arrived)
        counted = session.execute(
            select(Site.site_id, hour, func.count(), func.count(Case.signed_at))
            .join(Case, Case.site_id == Site.site_id)
            .where(Site.site_id.in_(overseen), cast(arrived, Date) == today)
            .group_by(Site.site_id, hour)
        ).all()
        named = select(Site.site_id, Site.name).where(Site.site_id.in_(overseen))
        names = dict(session.execute(named).all())
    by_hour: dict[str, list[int]] = defaultdict(lambda: [0] * HOURS)
    signed: dict[str, int] = defaultdict(int)
    for site_id, of_hour, count, count_signed in counted:
        by_hour[site_id][int(of_hour)] += count
        signed[site_id] += count_signed
    sites = [SiteToday(site_id, name, tuple(by_hour[site_id]), signed[site_id]) for site_id, name in names.items()]
    return tuple(sorted(sites, key=lambda site: (-site.total, site.site_id)))


def coverage(hub: Hub, viewer: Viewer) -> Coverage:
    """Return every site that the coordinator oversees with the state of its connection."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        overseen = visible_sites(session, viewer, now)
        newest = (
            select(Gateway)
            .where(Gateway.revoked_at.is_(None))
            .ext(distinct_on(Gateway.site_id))
            .order_by(Gateway.site_id, Gateway.last_seen_at.desc().nulls_last())
            .subquery()
        )
        rows = session.execute(
            select(Site.site_id, Site.name, newest.c.last_seen_at, newest.c.clock_offset_ms)
            .outerjoin(newest, newest.c.site_id == Site.site_id)
            .where(Site.site_id.in_(overseen))
            .order_by(newest.c.last_seen_at.is_(None), Site.site_id)
        ).all()
    return Coverage(tuple(SiteConnection(row[0], row[1], _connection(row[2], now), row[2], row[3]) for row in rows))


def stuck(hub: Hub, viewer: Viewer) -> tuple[Stuck, ...]:
    """Return what waits for a person to act, longest waiting first, at most STUCK_MAX."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        overseen = visible_sites(session, viewer, now)
        found = [
            *_stuck_cases(session, overseen, now),
            *_refused_packs(session, overseen),
            *_dead_jobs(session, overseen),
        ]
    return tuple(sorted(found, key=lambda item: item.since)[:STUCK_MAX])


def queue_health(hub: Hub, viewer: Viewer) -> QueueHealth:
    """Return how many launches are due and not yet published, and how many jobs failed for good."""
    require(viewer, *WITH_OVERSIGHT)
    due = select(func.count(), func.min(OutboxMessage.due_at))
    due = due.where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= hub.clock())
    with hub.transaction() as session:
        count, oldest = session.execute(due).one()
        dead = session.scalar(select(func.count()).select_from(DeadJob).where(DeadJob.retried_at.is_(None)))
    return QueueHealth(due_jobs=count, oldest_due_at=oldest, dead_jobs=dead or 0)


def _connection(last_seen_at: datetime | None, now: datetime) -> Connection:
    if last_seen_at is None:
        return Connection.NEVER_SEEN
    recent = last_seen_at > now - timedelta(seconds=SILENT_AFTER_S)
    return Connection.CONNECTED if recent else Connection.SILENT


def _stuck_cases(session: Session, sites: frozenset[str], now: datetime) -> Iterator[Stuck]:
    still_open = Case.state.in_(UNSIGNED)
    home_late = Case.signed_at < now - timedelta(seconds=UNDELIVERED_AFTER_S)
    kinds: tuple[tuple[StuckKind, ColumnElement[bool], Any], ...] = (
        (StuckKind.UNROUTABLE, still_open & Case.unroutable_reason.is_not(None), Case.created_at),
        (StuckKind.LATE, still_open & Case.unroutable_reason.is_(None) & (Case.due_at < now), Case.due_at),
        (StuckKind.UNDELIVERED, Case.state.in_((CaseState.FINAL, CaseState.DELIVERED)) & home_late, Case.signed_at),
    )
    for kind, condition, since in kinds:
        rows = session.execute(
            select(Site.site_id, Site.name, CaseStudy.study_uid, since, Case)
            .join(Case, Case.site_id == Site.site_id)
            .join(CaseStudy, CaseStudy.case_id == Case.case_id)
            .where(Site.site_id.in_(sites), condition)
            .order_by(since)
            .limit(STUCK_MAX)
        )
        for site_id, name, study_uid, moment, case in rows:
            reason = case.unroutable_reason or ""
            if kind is StuckKind.UNDELIVERED:
                reason = _why_undelivered(session, case)
            yield Stuck(kind, site_id, name, study_uid, moment, reason)


def _why_undelivered(session: Session, case: Case) -> str:
    """Return the clinic's own words about the last failed delivery, if it sent any."""
    failed = select(CustodyEvent.detail["reason"].as_string())
    failed = failed.where(CustodyEvent.case_id == case.case_id, CustodyEvent.hop == Hop.DELIVERY_FAILED)
    return session.scalar(failed.order_by(CustodyEvent.event_id.desc()).limit(1)) or ""


def _refused_packs(session: Session, sites: frozenset[str]) -> Iterator[Stuck]:
    """Yield packs that did not prove, of transfers that are still not whole."""
    rows = session.execute(
        select(
            Site.site_id,
            Site.name,
            Transfer.study_uid,
            func.coalesce(GrantedPack.committed_at, Grant.created_at),
            GrantedPack.refusal_reason,
        )
        .join(Transfer, Transfer.site_id == Site.site_id)
        .join(Grant, Grant.transfer_id == Transfer.transfer_id)
        .join(GrantedPack, GrantedPack.grant_id == Grant.grant_id)
        .where(
            Site.site_id.in_(sites),
            GrantedPack.state == "refused",
            Transfer.state != TransferState.VERIFIED,
        )
        .order_by(GrantedPack.committed_at)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, since, reason in rows:
        yield Stuck(StuckKind.REFUSED_PACK, site_id, name, study_uid, since, reason or "")


def _dead_jobs(session: Session, sites: frozenset[str]) -> Iterator[Stuck]:
    """Yield the studies that wait for a job which failed for good; no id is that of a pack, a task and a report."""
    of_pack = (
        select(DeadJob, Transfer.site_id, Transfer.study_uid)
        .join(GrantedPack, GrantedPack.granted_pack_id == DeadJob.subject_id)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
        .where(Transfer.site_id.in_(sites))
    )
    of_task = (
        select(DeadJob, CaseStudy.site_id, CaseStudy.study_uid)
        .join(ReadingTask, ReadingTask.reading_task_id == DeadJob.subject_id)
        .join(CaseStudy, CaseStudy.case_id == ReadingTask.case_id)
        .where(CaseStudy.site_id.in_(sites))
    )
    of_report = (
        select(DeadJob, CaseStudy.site_id, CaseStudy.study_uid)
        .join(Report, Report.report_id == DeadJob.subject_id)
        .join(CaseStudy, CaseStudy.case_id == Report.case_id)
        .where(CaseStudy.site_id.in_(sites))
    )
    names = dict(session.execute(select(Site.site_id, Site.name).where(Site.site_id.in_(sites))).all())
    for about in (of_pack, of_task, of_report):
        waiting = about.where(DeadJob.retried_at.is_(None)).order_by(DeadJob.failed_at).limit(STUCK_MAX)
        for dead, site_id, study_uid in session.execute(waiting):
            reason = f"{dead.job} ({dead.dead_job_id}): {dead.reason}"
            yield Stuck(StuckKind.DEAD_JOB, site_id, names[site_id], study_uid, dead.failed_at, reason)
