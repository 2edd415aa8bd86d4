"""The outbox relay: launches what committed transactions asked for.

Durable: the rows of `outbox`. A row is marked in the transaction that holds it, after the broker has confirmed the
message: a crash in between publishes it twice, never not at all. Several relays share the work (SKIP LOCKED). NOTIFY
only wakes; rows that fall due, and rows whose NOTIFY was lost, are found by looking again. While work keeps coming it
looks twenty times in a second and not after every commit: what came meanwhile goes out together, and jobs that may
share a message do. What goes first waits for one batch at most, however much has piled up while the broker was away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import ARRAY, BigInteger, Engine, Text, any_, bindparam, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from reading_queue.services.hub import OUTBOX_CHANNEL
from reading_queue.worker.broker import BrokerUnavailable
from storage.ledger.tables import OutboxMessage

BATCH: Final = 100
LOOK_AGAIN_S: Final = 0.5
GATHER_S: Final = 0.05  # after a look that found something
BACK_OFF_FIRST_S: Final = 0.2
BACK_OFF_MAX_S: Final = 5.0

Publish = Callable[[str, Mapping[str, Any]], None]

_DUE: Final = (
    select(OutboxMessage.message_id, OutboxMessage.job, OutboxMessage.arguments)
    .where(OutboxMessage.published_at.is_(None), OutboxMessage.due_at <= bindparam("now"))
    .order_by(
        (OutboxMessage.job == any_(bindparam("first", type_=ARRAY(Text)))).desc(),
        OutboxMessage.due_at,
        OutboxMessage.message_id,
    )
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
_MARK: Final = (
    update(OutboxMessage)
    .where(OutboxMessage.message_id == any_(bindparam("row_ids", type_=ARRAY(BigInteger))))
    .values(published_at=bindparam("now"))
    .execution_options(synchronize_session=False)
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Message:
    job: str
    arguments: dict[str, Any]
    row_ids: list[int]

    def join(self, row_id: int, arguments: Mapping[str, Any]) -> None:
        """Bring the subject of another row, too: the one argument becomes a list."""
        ((name, subject),) = arguments.items()
        held = self.arguments[name]
        self.arguments[name] = [*(held if isinstance(held, list) else [held]), subject]
        self.row_ids.append(row_id)


def back_off_s(failures: int) -> float:
    """Return how long to wait after this many failures in a row (from 1)."""
    return min(BACK_OFF_FIRST_S * 2.0 ** min(failures - 1, 10), BACK_OFF_MAX_S)


class Relay:
    """Publishes due outbox rows until it is told to stop."""

    def __init__(
        self,
        engine: Engine,
        publish: Publish,
        clock: Callable[[], datetime],
        together_max: Mapping[str, int] | None = None,
        first: Sequence[str] = (),
    ) -> None:
        """Publish with `publish`, the jobs `first` before all others.

        `together_max` says by job how many of its subjects one message may bring.
        """
        self._first = list(first)
        self._together_max = together_max or {}
        self._engine = engine
        self._publish = publish
        self._clock = clock
        self.rounds = 0  # how often it has looked, or tried to: a relay that stands still does not count on

    def publish_due(self) -> int:
        """Publish one batch of due rows and return how many.

        Raises:
            BrokerUnavailable: the broker failed; what it took before is marked, the rest stays.
        """
        published: list[int] = []
        failure: BrokerUnavailable | None = None
        with Session(self._engine) as session, session.begin():
            for message in self._gather(session.execute(_DUE, {"now": self._clock(), "first": self._first}).all()):
                try:
                    self._publish(message.job, message.arguments)
                except BrokerUnavailable as exc:
                    failure = exc
                    break
                published += message.row_ids
            if published:
                session.execute(_MARK, {"row_ids": published, "now": self._clock()})
        if failure is not None:
            raise failure
        return len(published)

    def _gather(self, rows: Iterable[Any]) -> list[_Message]:
        """Return what is to be published: a row each, or several of a job whose subjects may share a message.

        A row that says which attempt it is goes alone.
        """
        messages: list[_Message] = []
        filling: dict[str, _Message] = {}
        for row in rows:
            most = 1 if "attempt" in row.arguments else self._together_max.get(row.job, 1)
            before = filling.get(row.job)
            if most > 1 and before is not None and len(before.row_ids) < most:
                before.join(row.message_id, row.arguments)
                continue
            messages.append(_Message(row.job, dict(row.arguments), [row.message_id]))
            if most > 1:
                filling[row.job] = messages[-1]
        return messages

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set; outlives failures of the database and of the broker."""
        failures = 0
        while not stop.is_set():
            self.rounds += 1
            try:
                with self._listening() as notices:
                    while not stop.is_set():
                        self.rounds += 1
                        found = self.publish_due()
                        failures = 0
                        if found == 0:
                            _await_notice(notices)
                        elif found < BATCH:
                            stop.wait(GATHER_S)
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
