"""Drives a real worker process and a relay: asks for small jobs through the outbox, and sees what they did."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from reading_queue.heartbeat import Heartbeat
from reading_queue.services.hub import launch
from reading_queue.worker.celery_app import Publisher, make_celery
from reading_queue.worker.relay import Relay
from reading_queue.worker.runtime import RuntimePerProcess
from tests.support.processes import ProcessStarter, RunningProcess
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.worker_process import CREWS, HEARTBEAT, PROBES

READY = "ready."  # Celery says "<crew>@<host> ready." once it consumes
VISIBILITY_S = 4


class WorkerBench:
    """A worker process, its marks, and an outbox to ask it through."""

    def __init__(self, processes: ProcessStarter, database_url: sa.URL, broker_url: str, marks_dir: Path) -> None:
        marks_dir.mkdir(parents=True, exist_ok=True)
        self._processes = processes
        self._database_url = database_url
        self._broker_url = broker_url
        self._marks_dir = marks_dir
        self._engine = sa.create_engine(database_url)
        self._count = 0

    def start_worker(self, *, visibility_s: int = VISIBILITY_S) -> RunningProcess:
        """Start a worker process; it consumes when this returns. Its jobs may run a little less than `visibility_s`."""
        self._count += 1
        database = self._database_url.render_as_string(hide_password=False)
        words = [self._broker_url, database, self._marks_dir, str(visibility_s)]
        argv = [sys.executable, "-m", "tests.support.worker_process", *words]
        worker = self._processes.start(argv, name=f"worker-{self._count}", cwd=Path(__file__).parents[2])
        worker.wait_until(lambda: worker.log().count(READY) == len(CREWS))
        return worker

    def ask(self, job: str, *names: str, attempt: int = 1) -> None:
        """Commit outbox rows, together: a relay that looks meanwhile finds all of them due, or none."""
        now = datetime.now(UTC)
        with Session(self._engine) as session, session.begin():
            for name in names:
                launch(session, now, job, name=name, attempt=attempt)

    @contextmanager
    def relaying(self) -> Iterator[None]:
        """Run a relay to the broker."""
        app = make_celery(self._broker_url, RuntimePerProcess(_never), jobs=PROBES)
        stop = threading.Event()
        with Publisher(app) as publisher:
            together = {name: job.together_max for name, job in PROBES.items()}
            relay = Relay(self._engine, publisher.publish, lambda: datetime.now(UTC), together)
            thread = threading.Thread(target=relay.run, args=(stop,))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join(60)
        self._engine.dispose()

    def await_mark(self, mark: str, within_s: float = PATIENCE_S, *, count: int = 1) -> list[int]:
        """Return the process ids that left this mark, once there are `count`."""

        def marked() -> list[int]:
            path = self._marks_dir / mark
            pids = [int(line) for line in path.read_text().split()] if path.exists() else []
            assert len(pids) >= count, f"{len(pids)} marks {mark}"
            return pids

        return eventually(marked, within_s)

    def started(self) -> int:
        """Return how many jobs have said that they run."""
        return len(list(self._marks_dir.glob("started-*")))

    def await_started(self, count: int) -> None:
        """Return once so many jobs run."""

        def enough() -> None:
            assert self.started() == count

        eventually(enough)

    def last_beat(self) -> float | None:
        """Return when the crew of ordinary queues was last heard."""
        return Heartbeat(self._marks_dir / f"{HEARTBEAT}-ordinary").last()

    def release(self) -> None:
        """Let jobs that hold on go on."""
        (self._marks_dir / "release").touch()


def kill_tree(worker: RunningProcess) -> None:
    """Kill the worker and its children as a power cut would."""
    worker.kill_session()


def _never() -> None:
    raise AssertionError(f"nothing runs in process {os.getpid()}")
