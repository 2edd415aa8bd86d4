"""What a worker says of itself: which queues it serves, in the database where the page of queues finds it.

Durable: a row for each queue that was served lately. A process of its own, so that a database which does not answer
holds up no job and nobody who looks after the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from prometheus_client.metrics_core import Metric
from sqlalchemy.exc import SQLAlchemyError

from reading_queue.embedded.signals import SignalWaiter
from reading_queue.heartbeat import BEAT_EVERY_S, SILENT_AFTER_S, Heard
from reading_queue.services.motion import queue_probes
from reading_queue.worker.queues import Crew
from reading_queue.worker.runtime import RuntimePerProcess
from storage.screens.figures_listener import gauges, registry_of, serving_figures

TELL_EVERY_S: Final = 8.0

_log = structlog.get_logger(__name__)


def tell_of(
    process: RuntimePerProcess, heard: Mapping[Crew, Heard], beat: Callable[[], None], metrics_address: str = ""
) -> int:
    """Tell again and again, until SIGTERM, of the crews that are heard; answer scrapers at `metrics_address`."""
    with serving_figures(metrics_address, registry_of(lambda: crew_figures(heard))):
        _tell(process, heard, beat)
    return 0


def crew_figures(heard: Mapping[Crew, Heard]) -> list[Metric]:
    """Return the crews in numbers; one that was never heard has been silent for ever."""
    silent = {crew.name: time.time() - (one.last() or 0.0) for crew, one in heard.items()}
    children = {crew.name: float(crew.children) for crew in heard}
    return [
        gauges("counterpart_crew_silent_seconds", "How long ago a crew of this worker was last heard.", "crew", silent),
        gauges("counterpart_crew_children", "How many jobs a crew of this worker can do at once.", "crew", children),
    ]


def _tell(process: RuntimePerProcess, heard: Mapping[Crew, Heard], beat: Callable[[], None]) -> None:
    place = queue_probes.here()
    told: set[str] = set()
    due_at, failing = 0.0, False
    with SignalWaiter() as signals:
        while not signals.wait(BEAT_EVERY_S):
            beat()
            serving = {queue for crew, one in heard.items() if _is_heard(one) for queue in crew.queues}
            if serving <= told and time.monotonic() < due_at:
                continue
            try:
                queue_probes.hear_worker(process.get().hub, place, serving)
            except SQLAlchemyError as exc:
                if not failing:
                    _log.warning("worker_not_told_of", reason=type(exc).__name__)
                failing = True
                continue
            failing, told, due_at = False, serving, time.monotonic() + TELL_EVERY_S


def _is_heard(one: Heard) -> bool:
    last = one.last()
    return last is not None and time.time() - last < SILENT_AFTER_S
