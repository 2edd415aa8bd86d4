"""The relay publishes what is due, once, and keeps what the broker did not take."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from reading_queue.services.hub import launch
from reading_queue.worker import relay
from reading_queue.worker.broker import BrokerUnavailable
from reading_queue.worker.relay import BATCH, Relay, back_off_s
from storage.ledger.tables import OutboxMessage
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually, keeps

pytestmark = pytest.mark.postgres


class Broker:
    """Takes messages, or refuses them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.taken_at: list[float] = []
        self.refuse_from: int | None = None

    def publish(self, job: str, arguments: Mapping[str, Any]) -> None:
        if self.refuse_from is not None and len(self.taken) >= self.refuse_from:
            raise BrokerUnavailable
        self.taken_at.append(time.perf_counter())
        self.taken.append(arguments["name"])
        self.messages.append(dict(arguments))


def ask(database: sa.Engine, now: datetime, *names: str, due_at: datetime | None = None) -> None:
    with Session(database) as session, session.begin():
        for name in names:
            launch(session, now, "probe.note", due_at=due_at, name=name)


def unpublished(database: sa.Engine) -> int:
    with Session(database) as session:
        waiting = sa.select(sa.func.count()).where(OutboxMessage.published_at.is_(None))
        return session.scalars(waiting.select_from(OutboxMessage)).one()


@contextmanager
def running(relay: Relay) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_a_message_is_published_once(database: sa.Engine, hub_clock: SteerableClock) -> None:
    broker = Broker()
    relay = Relay(database, broker.publish, hub_clock)
    ask(database, hub_clock.now, "a", "b")
    assert relay.publish_due() == 2
    assert relay.publish_due() == 0
    assert broker.taken == ["a", "b"]


def test_a_message_waits_until_it_is_due(database: sa.Engine, hub_clock: SteerableClock) -> None:
    broker = Broker()
    relay = Relay(database, broker.publish, hub_clock)
    ask(database, hub_clock.now, "later", due_at=hub_clock.now + timedelta(seconds=60))
    assert relay.publish_due() == 0
    hub_clock.advance(60)
    assert relay.publish_due() == 1


def test_what_goes_first_waits_behind_nothing_that_piled_up(database: sa.Engine, hub_clock: SteerableClock) -> None:
    broker = Broker()
    relay = Relay(database, broker.publish, hub_clock, first=["probe.route"])
    ask(database, hub_clock.now, *(f"report-{number}" for number in range(BATCH + 1)))
    hub_clock.advance(1)
    with Session(database) as session, session.begin():
        launch(session, hub_clock.now, "probe.route", name="stroke")
    assert relay.publish_due() == BATCH
    assert broker.taken[:2] == ["stroke", "report-0"]


def test_what_the_broker_refused_stays_and_what_it_took_does_not(
    database: sa.Engine, hub_clock: SteerableClock
) -> None:
    broker = Broker()
    broker.refuse_from = 1
    relay = Relay(database, broker.publish, hub_clock)
    ask(database, hub_clock.now, "a", "b", "c")
    with pytest.raises(BrokerUnavailable):
        relay.publish_due()
    assert unpublished(database) == 2
    broker.refuse_from = None
    assert relay.publish_due() == 2
    assert broker.taken == ["a", "b", "c"]


def test_jobs_that_may_share_a_message_do_and_a_repeated_one_goes_alone(
    database: sa.Engine, hub_clock: SteerableClock
) -> None:
    broker = Broker()
    relay = Relay(database, broker.publish, hub_clock, {"probe.note": 3})
    ask(database, hub_clock.now, "a", "b")
    with Session(database) as session, session.begin():
        launch(session, hub_clock.now, "probe.note", attempt=2, name="again")
        launch(session, hub_clock.now, "probe.other", name="other")
    ask(database, hub_clock.now, "c", "d")
    assert relay.publish_due() == 6
    assert unpublished(database) == 0
    assert broker.messages == [
        {"name": ["a", "b", "c"]},
        {"name": "again", "attempt": 2},
        {"name": "other"},
        {"name": "d"},
    ]


def test_a_shared_message_that_the_broker_refused_stays_whole(database: sa.Engine, hub_clock: SteerableClock) -> None:
    broker = Broker()
    broker.refuse_from = 1
    relay = Relay(database, broker.publish, hub_clock, {"probe.note": 2})
    ask(database, hub_clock.now, "a", "b", "c", "d")
    with pytest.raises(BrokerUnavailable):
        relay.publish_due()
    assert unpublished(database) == 2


def test_two_relays_share_the_work_and_repeat_nothing(database: sa.Engine, hub_clock: SteerableClock) -> None:
    broker = Broker()
    ask(database, hub_clock.now, *(str(n) for n in range(3 * BATCH)))
    with running(Relay(database, broker.publish, hub_clock)), running(Relay(database, broker.publish, hub_clock)):
        eventually(lambda: none_waits(database))
    assert sorted(broker.taken, key=int) == [str(n) for n in range(3 * BATCH)]


def test_a_relay_whose_broker_keeps_it_waiting_holds_up_no_other(
    database: sa.Engine, hub_clock: SteerableClock
) -> None:
    ask(database, hub_clock.now, *(str(n) for n in range(BATCH + 5)))
    waits, goes_on = threading.Event(), threading.Event()

    def publish_slowly(*_: object) -> None:
        waits.set()
        if not goes_on.wait(60):
            raise BrokerUnavailable

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(Relay(database, publish_slowly, hub_clock).publish_due)
        assert waits.wait(60)
        assert Relay(database, Broker().publish, hub_clock).publish_due() == 5
        goes_on.set()
        assert slow.result(60) == BATCH
    assert unpublished(database) == 0


def test_it_publishes_within_milliseconds_of_the_commit(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LOOK_AGAIN_S", 3600.0)  # it is told, and never looks by itself
    broker, numbers = Broker(), itertools.count(1)

    def took_s() -> float:
        n = next(numbers)
        ask(database, datetime.now(UTC), str(n))
        committed = time.perf_counter()
        eventually(lambda: taken(broker, n), every_s=0.001)
        return broker.taken_at[-1] - committed

    with running(Relay(database, broker.publish, lambda: datetime.now(UTC))):
        keeps(0.1, took_s)


def test_it_goes_on_after_the_broker_and_the_database_connection_were_gone(database: sa.Engine) -> None:
    broker = Broker()
    broker.refuse_from = 0
    with running(Relay(database, broker.publish, lambda: datetime.now(UTC))):
        ask(database, datetime.now(UTC), "a")
        with database.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        broker.refuse_from = None
        eventually(lambda: taken(broker, 1))


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [
        pytest.param(1, 0.2, id="at first a moment"),
        pytest.param(3, 0.8, id="then doubling"),
        pytest.param(6, 5.0, id="never longer than this"),
        pytest.param(10_000, 5.0, id="even after a long night"),
    ],
)
def test_back_off(failures: int, wait_s: float) -> None:
    assert back_off_s(failures) == pytest.approx(wait_s)


def none_waits(database: sa.Engine) -> None:
    assert unpublished(database) == 0


def taken(broker: Broker, count: int) -> None:
    assert len(broker.taken) == count
