"""Jobs over RabbitMQ's quorum queues; and what is tried over either broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from kombu import Connection
from sqlalchemy.orm import Session

from reading_queue.worker.celery_app import (
    DELIVERY_LIMIT,
    QUORUM_ARGUMENTS,
    QUORUM_PREFIX,
    Publisher,
    TimeLimitsClash,
    make_celery,
)
from reading_queue.worker.dead_letters import DeadLetters
from reading_queue.worker.jobs import JOBS, Job
from reading_queue.worker.runtime import RuntimePerProcess
from storage.ledger.tables import DeadJob, OutboxMessage
from storage.objects.protocol import ObjectStore
from tests.support.broker import rabbitmq, redis
from tests.support.hub import make_hub
from tests.support.processes import ProcessStarter
from tests.support.waiting import eventually, keeps
from tests.support.worker import WorkerBench, kill_tree
from tests.support.worker_process import PROBES, note

pytestmark = [pytest.mark.services, pytest.mark.postgres, pytest.mark.xdist_group("RabbitMQ")]

OFFERED_WITHIN_S = 2
LONG_S = 60
TRANSFERS = f"{QUORUM_PREFIX}transfers"


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with redis(tmp_path / "redis") as server:
        yield server.url()


@pytest.fixture
def bench(broker_url: str, database_url: sa.URL, processes: ProcessStarter, tmp_path: Path) -> Iterator[WorkerBench]:
    yield from working_bench(processes, database_url, broker_url, tmp_path)


@pytest.fixture(params=["broker_url", "redis_url"])
def either_bench(
    request: pytest.FixtureRequest, database_url: sa.URL, processes: ProcessStarter, tmp_path: Path
) -> Iterator[WorkerBench]:
    yield from working_bench(processes, database_url, request.getfixturevalue(request.param), tmp_path)


def working_bench(
    processes: ProcessStarter, database_url: sa.URL, broker_url: str, tmp_path: Path
) -> Iterator[WorkerBench]:
    bench = WorkerBench(processes, database_url, broker_url, tmp_path / "marks")
    with bench.relaying():
        yield bench
    processes.end_all()


def test_a_committed_request_is_done_over_a_quorum_queue(bench: WorkerBench, broker_url: str) -> None:
    bench.start_worker()
    bench.ask("probe.note", "a")
    bench.await_mark("done-a")
    with Connection(broker_url) as connection:
        # Declaring it again as anything but a quorum queue would be refused.
        channel: Any = connection.channel()
        channel.queue_declare(TRANSFERS, durable=True, auto_delete=False, arguments=QUORUM_ARGUMENTS)
        channel.close()


def test_a_job_whose_whole_worker_is_killed_is_done_by_the_next(either_bench: WorkerBench) -> None:
    bench = either_bench
    first = bench.start_worker()
    bench.ask("probe.hold", "b")
    bench.await_mark("started-b")
    kill_tree(first)
    bench.release()
    bench.start_worker()
    bench.await_mark("done-b")


def test_an_emergency_is_offered_while_long_jobs_hold_every_other_child(either_bench: WorkerBench) -> None:
    bench = either_bench
    bench.start_worker(visibility_s=LONG_S)
    for_all = ("a", "b", "c", "d", "e", "f")
    bench.ask("probe.hold", *for_all)
    bench.ask("probe.large", "g", "h", "i")
    bench.await_started(3)
    numbers = itertools.count(1)

    def offered_after_s() -> float:
        stroke = f"stroke-{next(numbers)}"
        bench.ask("probe.offer", stroke)
        asked = time.monotonic()
        bench.await_mark(f"done-{stroke}")
        return time.monotonic() - asked

    keeps(OFFERED_WITHIN_S, offered_after_s, in_a_row=1)
    assert bench.started() == 3, "the children were held all the while"
    bench.release()
    for name in for_all:
        bench.await_mark(f"done-{name}")


@pytest.fixture
def letters(broker_url: str, database: sa.Engine, tmp_path: Path) -> Iterator[DeadLetters]:
    """What a scheduler collects with; it knows the jobs of these tests."""
    hub = make_hub(database, cast(ObjectStore, None), tmp_path / "key", lambda: datetime.now(UTC))
    collector = DeadLetters(hub, lambda: Connection(broker_url), PROBES)
    collector.collect()  # declares the queue
    yield collector
    collector.close()


def publish(broker_url: str, job: str, **arguments: str) -> None:
    app = make_celery(broker_url, RuntimePerProcess(never), jobs={**PROBES, "probe.unheard": Job("transfers", note)})
    with Publisher(app) as publisher:
        publisher.publish(job, arguments)


def never() -> Any:
    raise AssertionError


def collected(letters: DeadLetters) -> Callable[[], None]:
    def one() -> None:
        assert letters.collect() == 1

    return one


def test_a_message_that_is_given_back_for_ever_ends_as_an_attempt(
    broker_url: str, letters: DeadLetters, database: sa.Engine
) -> None:
    with Connection(broker_url) as connection:
        channel: Any = connection.channel()
        channel.queue_declare(TRANSFERS, durable=True, auto_delete=False, arguments=QUORUM_ARGUMENTS)
        channel.queue_purge(TRANSFERS)  # what workers of other tests had done and not yet acknowledged when they ended
        publish(broker_url, "probe.note", name="c")
        for _ in range(DELIVERY_LIMIT + 1):
            message = eventually(lambda: found(channel.basic_get(TRANSFERS)))
            channel.basic_reject(message.delivery_tag, requeue=True)
        channel.close()
    eventually(collected(letters))
    with Session(database) as session:
        again = session.scalars(sa.select(OutboxMessage)).one()
    assert (again.job, again.arguments) == ("probe.note", {"name": "c", "attempt": 2})
    assert again.due_at > again.created_at


def found(message: Any) -> Any:
    assert message is not None
    return message


def test_a_job_that_no_worker_knows_is_laid_down_for_a_person(
    bench: WorkerBench, broker_url: str, letters: DeadLetters, database: sa.Engine
) -> None:
    bench.start_worker()
    publish(broker_url, "probe.unheard", name="d")
    eventually(collected(letters))
    with Session(database) as session:
        dead = session.scalars(sa.select(DeadJob)).one()
    assert (dead.job, dead.arguments) == ("probe.unheard", {"name": "d"})
    assert "(rejected): this version knows no such job" in dead.reason
    bench.ask("probe.note", "e")
    bench.await_mark("done-e")


def test_limits_that_outlast_the_patience_of_rabbitmq_are_refused() -> None:
    make_celery("amqp://guest@localhost//", RuntimePerProcess(never), jobs=JOBS)
    slow = {"probe.slow": Job("large", note, time_limit_s=1800)}
    with pytest.raises(TimeLimitsClash, match="run 1800 s, but RabbitMQ"):
        make_celery("amqp://guest@localhost//", RuntimePerProcess(never), jobs=slow)
