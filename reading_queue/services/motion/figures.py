"""How the network does, in numbers for a monitoring system.

Everything is read from the database, so that it is the same whichever process is asked and however many there are.
Labels are lanes, states, queues and site ids; nothing here can tell of a patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric
from sqlalchemy import ColumnElement, and_, func, select, text
from sqlalchemy.orm import Session

from reading_queue.db.health_tables import SchedulerBeat
from reading_queue.db.tables import Case, Offer, Report
from reading_queue.services.cases.waiting import late_condition
from reading_queue.services.hub import Hub
from reading_queue.services.motion.queue_probes import view_queues
from storage.catalogue.tables import GrantedPack
from storage.contract.lanes import Lane
from storage.ledger.tables import OPEN_DEAD_JOB, DeadJob, Gateway, OutboxMessage
from storage.screens.figures_listener import gauges

RECENTLY: Final = timedelta(minutes=5)
OFFER_LIMITS_S: Final = (0.5, 1, 2, 5, 15, 60, 300)
OPEN: Final = Case.state.not_in(("acknowledged", "cancelled"))

Values = Mapping[str, float]


def figures(hub: Hub) -> list[Metric]:
    """Return every figure of the hub, as of now."""
    now = hub.clock()
    with hub.transaction() as session:
        return [
            *_cases(session, now),
            _commit_to_offer(session, now),
            *_launches(session, now),
            *_queues(session, now),
            *_sites(session, now),
            *_since_ever(session),
        ]


def _cases(session: Session, now: datetime) -> Iterator[Metric]:
    late = Case.signed_at.is_(None) & late_condition(now)
    unoffered = Case.state == "ready"
    columns: dict[str, ColumnElement[Any]] = {
        "open": func.count(),
        "unoffered": func.count().filter(unoffered),
        "oldest_unoffered": func.extract("epoch", now - func.min(Case.ready_at).filter(unoffered)),
        "unclaimed": func.count().filter(Case.state == "offered"),
        "oldest_unclaimed": func.extract("epoch", now - func.min(Case.offered_at).filter(Case.state == "offered")),
        "late": func.count().filter(late),
        "offered": func.count().filter(Case.offered_at >= now - RECENTLY),
        "claimed": func.count().filter(Case.claimed_at >= now - RECENTLY),
    }
    rows = session.execute(
        select(Case.lane, *(column.label(name) for name, column in columns.items())).where(OPEN).group_by(Case.lane)
    )
    found = {row.lane: row for row in rows}

    def by_lane(name: str) -> Values:
        return {lane: float(getattr(found[lane], name) or 0) if lane in found else 0.0 for lane in Lane}

    for name, column, words in _CASE_FIGURES:
        yield gauges(f"counterpart_{name}", words, "lane", by_lane(column))


_CASE_FIGURES: Final = (
    ("cases_open", "open", "Cases that are neither acknowledged nor cancelled."),
    ("cases_unoffered", "unoffered", "Cases that are ready and offered to nobody."),
    ("cases_unoffered_oldest_seconds", "oldest_unoffered", "How long the oldest of them has been ready."),
    ("cases_unclaimed", "unclaimed", "Cases that are offered and claimed by nobody."),
    ("cases_unclaimed_oldest_seconds", "oldest_unclaimed", "How long ago the oldest of them was offered."),
    ("cases_breached", "late", "Open cases whose time limit is over before a signature."),
    ("offers_last_5m", "offered", "Open cases first offered within the last five minutes."),
    ("claims_last_5m", "claimed", "Open cases last claimed within the last five minutes."),
)


def _commit_to_offer(session: Session, now: datetime) -> Metric:
    took_s = func.extract("epoch", Case.offered_at - Case.ready_at)
    limits = [func.count().filter(took_s <= limit_s) for limit_s in OFFER_LIMITS_S]
    recent = and_(OPEN, Case.offered_at >= now - RECENTLY, Case.ready_at.is_not(None))
    *counts, all_of_them = session.execute(select(*limits, func.count()).where(recent)).one()
    bounds = [*(f"{limit_s:g}" for limit_s in OFFER_LIMITS_S), "+Inf"]
    words = "Cases of offers_last_5m by the seconds from their last image's commit to the offer, cumulative."
    spread = dict(zip(bounds, [*counts, all_of_them], strict=True))
    return gauges("counterpart_commit_to_offer_last_5m", words, "le", spread)


def _launches(session: Session, now: datetime) -> Iterator[Metric]:
    due = (OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= now)
    count, oldest = session.execute(select(func.count(), func.min(OutboxMessage.due_at)).where(*due)).one()
    yield Gauge("counterpart_outbox_due", "Launches that are due and not given to the broker.", count)
    yield Gauge("counterpart_outbox_oldest_seconds", "How long the oldest of them has been due.", _age_s(oldest, now))
    dead = session.scalars(select(func.count()).select_from(DeadJob).where(OPEN_DEAD_JOB)).one()
    yield Gauge("counterpart_dead_jobs", "Jobs that failed for good and wait for a person.", dead)
    unproved = session.execute(
        select(func.count(), func.min(GrantedPack.committed_at)).where(GrantedPack.state == "committed")
    ).one()
    yield Gauge("counterpart_packs_unverified", "Packs that were uploaded and are not verified.", unproved[0])
    words = "How long ago the oldest of them was committed."
    yield Gauge("counterpart_packs_unverified_oldest_seconds", words, _age_s(unproved[1], now))


def _queues(session: Session, now: datetime) -> Iterator[Metric]:
    queues = view_queues(session, now)
    workers = {one.queue: float(one.workers) for one in queues}
    yield gauges("counterpart_queue_workers", "Processes that serve a queue of jobs now.", "queue", workers)
    waits = {one.queue: _age_s(one.waits_since, now) for one in queues}
    words = "How long the newest probe of a queue has waited for its answer; 0: answered."
    yield gauges("counterpart_queue_probe_waiting_seconds", words, "queue", waits)
    took = {one.queue: one.took_ms / 1000 for one in queues if one.took_ms is not None}
    words = "How long the last answered probe took through outbox, broker and worker."
    yield gauges("counterpart_queue_probe_seconds", words, "queue", took)
    heard = session.scalars(select(func.max(SchedulerBeat.heard_at))).one()
    yield Gauge("counterpart_scheduler_silent_seconds", "Since when no scheduler was heard.", _age_s(heard, now))


def _sites(session: Session, now: datetime) -> Iterator[Metric]:
    seen = session.execute(
        select(Gateway.site_id, func.max(Gateway.last_seen_at))
        .where(Gateway.site_id.is_not(None), Gateway.revoked_at.is_(None), Gateway.last_seen_at.is_not(None))
        .group_by(Gateway.site_id)
        .order_by(Gateway.site_id)
    )
    ages = {str(site_id): _age_s(last, now) for site_id, last in seen}
    words = "How long ago a site's gateway was last heard."
    yield gauges("counterpart_gateway_silent_seconds", words, "site", ages)


def _since_ever(session: Session) -> Iterator[Metric]:
    """Yield how many rows were ever written, as the database counts them for itself: no table is gone through.

    After a crash of the database they begin anew, which a counter may; one that was taken back is counted.
    """
    tables = {table: (name, words) for name, table, words in _COUNTED}
    written: dict[str, int] = dict(session.execute(_WRITTEN, {"tables": list(tables)}).all())
    for table, (name, words) in tables.items():
        yield Counter(f"counterpart_{name}", words, float(written.get(table, 0)))


_COUNTED: Final = (
    ("cases_declared", Case.__tablename__, "Cases that came."),
    ("offers", Offer.__tablename__, "Offers of a reading task to a physician."),
    ("reports_signed", Report.__tablename__, "Versions of reports that were signed."),
    ("jobs_dead", DeadJob.__tablename__, "Jobs that failed for good, settled ones included."),
)
_WRITTEN: Final = text(
    "SELECT relname, n_tup_ins FROM pg_stat_user_tables"
    " WHERE relname = ANY(:tables) AND schemaname = ANY(current_schemas(false))"
)


def _age_s(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
