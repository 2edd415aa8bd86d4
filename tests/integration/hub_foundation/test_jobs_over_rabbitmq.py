"""The same jobs over RabbitMQ's quorum queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from kombu import Connection

from tests.support.broker import rabbitmq
from tests.support.processes import ProcessStarter
from tests.support.worker import WorkerBench, kill_tree

pytestmark = [pytest.mark.services, pytest.mark.postgres]


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture
def bench(broker_url: str, database_url: sa.URL, processes: ProcessStarter, tmp_path: Path) -> Iterator[WorkerBench]:
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
        channel = connection.channel()
        channel.queue_declare("transfers", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.close()


def test_a_job_whose_worker_is_killed_is_done_by_the_next(bench: WorkerBench) -> None:
    first = bench.start_worker()
    bench.ask("probe.hold", "b")
    bench.await_mark("started-b")
    kill_tree(first)
    bench.release()
    bench.start_worker()
    bench.await_mark("done-b", 20)
