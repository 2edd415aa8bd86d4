"""What a worker says of itself: which queues it serves, in the database where the page of queues finds it.

Durable: a row for each queue that was served lately. A process of its own, so that a database which does not answer
holds up no job and nobody who looks after the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from reading_queue.embedded.signals import SignalWaiter
from reading_queue.heartbeat import BEAT_EVERY_S, SILENT_AFTER_S, Heard
from reading_queue.services.motion import queue_probes
from reading_queue.worker.queues import Crew
from reading_queue.worker.runtime import RuntimePerProcess

TELL_EVERY_S: Final = 8.0

_log = structlog.get_logger(__name__)


def tell_of(process: RuntimePerProcess, heard: Mapping[Crew, Heard], beat: Callable[[], None]) -> int:
    """Tell again and again, until SIGTERM, of the crews that are heard."""
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
    return 0


def _is_heard(one: Heard) -> bool:
    last = one.last()
    return last is not None and time.time() - last < SILENT_AFTER_S
