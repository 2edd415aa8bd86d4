"""The outbox relay: launches what committed transactions asked for.

Durable: the rows of `outbox`. A row is marked in the transaction that holds it, after the broker has confirmed the
message: a crash in between publishes it twice, never not at all. Several relays share the work (SKIP LOCKED). NOTIFY
only wakes; rows that fall due, and rows whose NOTIFY was lost, are found by looking again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from reading_queue.services.hub import OUTBOX_CHANNEL
from reading_queue.worker.broker import BrokerUnavailable
from storage.ledger.tables import OutboxMessage

BATCH: Final = 100
LOOK_AGAIN_S: Final = 0.5
BACK_OFF_FIRST_S: Final = 0.2
BACK_OFF_MAX_S: Final = 5.0

Publish = Callable[[str, Mapping[str, Any]], None]

_log = structlog.get_logger(__name__)


def back_off_s(failures: int) -> float:
    """Return how long to wait after this many failures in a row (from 1)."""
    return min(BACK_OFF_FIRST_S * 2.0 ** min(failures - 1, 10), BACK_OFF_MAX_S)


class Relay:
    """Publishes due outbox rows until it is told to stop."""

    def __init__(self, engine: Engine, publish: Publish, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._publish = publish
        self._clock = clock
        self.rounds = 0  # how often it has looked, or tried to: a relay that stands still does not count on

    def publish_due(self) -> int:
        """Publish one batch of due rows and return how many.

        Raises:
            BrokerUnavailable: the broker failed; what it took before is marked, the rest stays.
        """
        published = 0
        failure: BrokerUnavailable | None = None
        with Session(self._engine) as session, session.begin():
            due = (
                select(OutboxMessage)
                .where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= self._clock())
                .order_by(OutboxMessage.due_at, OutboxMessage.message_id)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            for message in session.scalars(due).all():
                try:
                    self._publish(message.job, message.arguments)
                except BrokerUnavailable as exc:
                    failure = exc
                    break
                message.published_at = self._clock()
                published += 1
        if failure is not None:
            raise failure
        return published

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set; outlives failures of the database and of the broker."""
        failures = 0
        while not stop.is_set():
            self.rounds += 1
            try:
                with self._listening() as notices:
                    while not stop.is_set():
                        self.rounds += 1
                        while self.publish_due() == BATCH:
                            self.rounds += 1
                        failures = 0
                        _await_notice(notices)
            except (BrokerUnavailable, OperationalError, psycopg.OperationalError) as exc:
                failures += 1
                if failures == 1:
                    _log.warning("outbox_relay_waits", reason=type(exc).__name__)
            except Exception:  # noqa: BLE001 -- the border of a thread: whatever it is, the outbox goes on
                failures += 1
                _log.exception("outbox_relay_failed")
            if failures:
                stop.wait(back_off_s(failures))

    @contextmanager
    def _listening(self) -> Iterator[psycopg.Connection[Any]]:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"LISTEN {OUTBOX_CHANNEL}")
            driver: Any = connection.connection.driver_connection
            try:
                yield driver
            finally:
                connection.invalidate()  # a listening connection never goes back to the pool


def _await_notice(notices: psycopg.Connection[Any]) -> None:
    for _ in notices.notifies(timeout=LOOK_AGAIN_S, stop_after=1):
        return
