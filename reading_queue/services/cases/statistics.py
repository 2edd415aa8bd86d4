"""What a coordinator watches: counts per site and hour, who is connected, how long queues are.

Reads only. Nothing here is kept: every figure is counted anew from the rows it is about.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Date, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from reading_queue.db.tables import Case
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from storage.ledger.tables import OPEN_DEAD_JOB, DeadJob, Gateway, OutboxMessage, Site

HOURS: Final = 24
SILENT_AFTER_S: Final = 300  # a gateway polls all the time; after this long without a word its line is down
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
        named = select(Site.site_id, site_name(viewer.language)).where(Site.site_id.in_(overseen))
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
            select(Site.site_id, site_name(viewer.language), newest.c.last_seen_at, newest.c.clock_offset_ms)
            .outerjoin(newest, newest.c.site_id == Site.site_id)
            .where(Site.site_id.in_(overseen))
            .order_by(newest.c.last_seen_at.is_(None), Site.site_id)
        ).all()
    return Coverage(tuple(SiteConnection(row[0], row[1], _connection(row[2], now), row[2], row[3]) for row in rows))


def queue_health(hub: Hub, viewer: Viewer) -> QueueHealth:
    """Return how many launches are due and not yet published, and how many jobs failed for good."""
    require(viewer, *WITH_OVERSIGHT)
    due = select(func.count(), func.min(OutboxMessage.due_at))
    due = due.where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= hub.clock())
    with hub.transaction() as session:
        count, oldest = session.execute(due).one()
        dead = session.scalar(select(func.count()).select_from(DeadJob).where(OPEN_DEAD_JOB))
    return QueueHealth(due_jobs=count, oldest_due_at=oldest, dead_jobs=dead or 0)


def _connection(last_seen_at: datetime | None, now: datetime) -> Connection:
    if last_seen_at is None:
        return Connection.NEVER_SEEN
    recent = last_seen_at > now - timedelta(seconds=SILENT_AFTER_S)
    return Connection.CONNECTED if recent else Connection.SILENT
