"""How this gateway does, in numbers for a monitoring system; read from journal and disk, about no patient."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric

from gateway.console.line_health import LineHealth, load_health
from gateway.journal.database import Journal
from gateway.spool.spool import Spool
from storage.screens.figures_listener import gauges


def figures(journal: Journal, spool: Spool, disk_floor_bytes: int, now: datetime) -> list[Metric]:
    """Return every figure of the gateway, as of now."""
    health = load_health(journal, spool, disk_floor_bytes)
    return [*_spool(journal, health), *_line(health, now), *_returns(journal, health)]


def _spool(journal: Journal, health: LineHealth) -> Iterator[Metric]:
    yield Gauge("counterpart_gateway_disk_bytes", "Size of the disk that holds the spool.", health.disk_bytes)
    yield Gauge("counterpart_gateway_disk_free_bytes", "What is free of it.", health.disk_free_bytes)
    words = "How much must stay free; below it scanners are refused."
    yield Gauge("counterpart_gateway_disk_floor_bytes", words, health.disk_floor_bytes)
    words = "What has arrived and is not confirmed by the hub."
    yield Gauge("counterpart_gateway_spool_waiting_bytes", words, health.waiting_bytes)
    yield Gauge("counterpart_gateway_spool_kept_bytes", "What the hub has confirmed and is kept.", health.kept_bytes)
    arriving = _count(journal, "SELECT count(DISTINCT study_uid) AS n FROM instances WHERE state = 'incoming'")
    yield Gauge("counterpart_gateway_studies_arriving", "Studies that are not judged complete.", arriving)
    aside = _count(journal, "SELECT count(*) AS n FROM quarantine")
    yield Gauge("counterpart_gateway_quarantined", "Objects that were set aside.", aside)


def _line(health: LineHealth, now: datetime) -> Iterator[Metric]:
    words = "Measured speed of the line; 0: not measured."
    yield Gauge("counterpart_gateway_line_bytes_per_second", words, health.line.bytes_per_s or 0.0)
    reached = health.line.reached_at
    silent_s = max(0.0, (now - reached).total_seconds()) if reached is not None else 0.0
    yield Gauge("counterpart_gateway_hub_silent_seconds", "How long ago the hub was last reached; 0: never.", silent_s)
    studies = {queue.lane: float(queue.studies) for queue in health.queues}
    left = {queue.lane: float(queue.bytes_left) for queue in health.queues}
    yield gauges("counterpart_gateway_line_waiting_studies", "Studies that wait for the line.", "lane", studies)
    yield gauges("counterpart_gateway_line_waiting_bytes", "What of them is not yet uploaded.", "lane", left)
    words = "Custody events that the hub has not been told."
    yield Gauge("counterpart_gateway_custody_unreported", words, health.custody_unreported)


def _returns(journal: Journal, health: LineHealth) -> Iterator[Metric]:
    waiting = _count(journal, "SELECT count(*) AS n FROM deliveries WHERE state = 'due'")
    yield Gauge("counterpart_gateway_deliveries_waiting", "Signed documents on their way to a target.", waiting)
    words = "Receipts of documents that the hub has not been told."
    yield Gauge("counterpart_gateway_receipts_unreported", words, health.receipts_unreported)


def _count(journal: Journal, query: str) -> int:
    return int(journal.read(query)[0]["n"])
