"""A hub of separate parts, PostgreSQL, RabbitMQ, two schedulers and a worker, and everything that can be done to them.

What is lost and what is doubled is counted afterwards in the database alone.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import psutil
import sqlalchemy as sa
from kombu import Connection
from sqlalchemy.exc import OperationalError

from gateway.clock import utc_now
from reading_queue import bootstrap
from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.postgres import EmbeddedPostgres
from reading_queue.settings import load_settings
from reading_queue.worker.celery_app import QUORUM_PREFIX
from storage.ledger.tables import Gateway
from storage.objects.protocol import ObjectStore
from tests.benchmarks.faulty_role import AFTER_COMMIT
from tests.benchmarks.reading_pool import GATEWAY_ID, Arrival, ReadingHub
from tests.support.broker import rabbitmq
from tests.support.hub import make_hub
from tests.support.network import ASSETS, CHECKOUT, COUNTY, SITE, hub_command
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

SCHEDULERS: Final = ("scheduler-1", "scheduler-2")
WORKER: Final = "worker-1"
STATEMENTS: Final = 24  # the routing of one case makes about so many
CLOCK_WRONG_BY_S: Final = (90, -90, 0)  # more than the sweeps' patience with a message
PATIENCE_S: Final = 60


@dataclass
class FaultyHub:
    """The running parts."""

    folder: Path
    postgres: EmbeddedPostgres
    reading: ReadingHub
    parts: dict[str, RunningProcess] = field(default_factory=dict)
    broker_url: str = ""
    done: Counter[str] = field(default_factory=Counter)
    _broker: ExitStack = field(default_factory=ExitStack)

    def start(self, name: str) -> None:
        """Start a role, or start it again."""
        role = name.partition("-")[0]
        argv: list[str | Path] = [sys.executable, "-m", "tests.benchmarks.faulty_role"]
        argv += [self.folder / "hub.toml", role, name, self.folder]
        self.parts[name] = RunningProcess(argv, log_path=self.folder / "log" / f"{name}.log", name=name, cwd=CHECKOUT)

    def start_broker(self, port: int | None = None) -> None:
        """Start an empty RabbitMQ."""
        self.broker_url = self._broker.enter_context(rabbitmq(self.folder / "rabbitmq", port))

    def end(self) -> None:
        """End every part."""
        for process in self.parts.values():
            process.kill_session()
        self._broker.close()

    def kill(self, name: str) -> None:
        """Kill a role with all its processes, and start it again."""
        self.parts[name].kill_session()
        self.start(name)
        self.done[f"{name.partition('-')[0]} killed"] += 1

    def kill_a_child(self, chance: random.Random) -> None:
        """Kill one of the processes in which jobs run; the worker goes on."""
        children = psutil.Process(self.parts[WORKER].pid).children(recursive=True)
        if children:
            os.kill(chance.choice(children).pid, signal.SIGKILL)
            self.done["child killed"] += 1

    def wipe_broker(self) -> None:
        """Kill RabbitMQ, delete all that it has, and start it empty where it was."""
        port = Connection(self.broker_url).port
        self._broker.close()
        shutil.rmtree(self.folder / "rabbitmq" / "mnesia")
        self.start_broker(port)
        self.done["broker killed and wiped"] += 1

    def restart_database(self) -> None:
        """Stop PostgreSQL under everybody, and start it again."""
        self.postgres.stop()
        self.postgres.start()
        self.done["database restarted"] += 1

    def move_clock(self, name: str, wrong_by_s: int) -> None:
        """Let a role's clock be wrong."""
        (self.folder / f"clock-{name}").write_text(str(wrong_by_s))
        self.done["clock moved"] += 1

    def kill_at(self, step: str) -> None:
        """Let the next routing die at this statement, or after its commit; nothing where the last one still waits."""
        if not list(self.folder.glob("step-*")):
            (self.folder / f"step-{step}").touch()
            self.done["routings to die at a step"] += 1

    def drain(self) -> None:
        """Let everything that is under way come to its end, and stop every role in order."""
        for path in self.folder.glob("step-*"):
            path.unlink()
        for still in (self._assert_published, self._assert_consumed, self._assert_published, self._assert_consumed):
            eventually(still, PATIENCE_S)
        for name in (*SCHEDULERS, WORKER):
            self.parts[name].stop(PATIENCE_S)

    def _assert_published(self) -> None:
        with self.reading.hub.engine.connect() as connection:
            assert connection.scalar(sa.text(WAITING)) == 0

    def _assert_consumed(self) -> None:
        with Connection(self.broker_url) as connection:
            channel: Any = connection.default_channel
            assert channel.queue_declare(f"{QUORUM_PREFIX}routing", passive=True).message_count == 0


@contextmanager
def running_faulty_hub(folder: Path) -> Iterator[FaultyHub]:
    """Run the parts in `folder`, with the demonstration's network."""
    data_dir = folder / "hub"
    data_dir.mkdir(parents=True)
    with owned(data_dir), ExitStack() as ending:
        postgres = EmbeddedPostgres(data_dir, make_socket_directory(data_dir, runtime_dir=None))
        ending.callback(remove_socket_directory, data_dir)
        ending.callback(postgres.stop)
        postgres.start()
        engine = sa.create_engine(postgres.url(), pool_pre_ping=True)
        ending.callback(engine.dispose)
        hub = make_hub(engine, cast(ObjectStore, None), folder / "drill.key", utc_now)
        running = FaultyHub(folder, postgres, ReadingHub(hub, cast(RunningProcess, None), folder))
        ending.callback(running.end)
        running.start_broker()
        write_configuration(running)
        bootstrap.migrate(load_settings(folder / "hub.toml"))
        hub_command(folder, "network", "load", str(COUNTY))
        with hub.transaction() as session:
            key = {"public_key": b"k" * 32, "software_version": "drill", "enrolled_at": hub.clock()}
            session.add(Gateway(gateway_id=GATEWAY_ID, site_id=SITE, **key))
        for name in (*SCHEDULERS, WORKER):
            running.start(name)
        yield running


def write_configuration(running: FaultyHub) -> None:
    """Write what every role reads."""
    (running.folder / "hub.toml").write_text(
        f'data_dir = "{running.folder / "hub"}"\nassets_dir = "{ASSETS}"\n\n[network]\nname = "Drill"\n'
        f'audience = "drill"\n\n[database]\nurl = "{running.postgres.url().render_as_string(hide_password=False)}"\n\n'
        f'[broker]\nurl = "{running.broker_url}"\n',
        encoding="utf-8",
    )


class Faults:
    """Hurts the hub by a plan. The thread that does so must live on: a server that it starts ends with it."""

    def __init__(self, running: FaultyHub, pause_s: tuple[float, float], seed: int) -> None:
        self._running = running
        self._pause_s = pause_s
        self._chance = random.Random(seed)
        self._steps = itertools.cycle([AFTER_COMMIT, *map(str, range(1, STATEMENTS + 1))])
        self._clocks = itertools.cycle(CLOCK_WRONG_BY_S)

    def inflict(self, plan: Iterable[str], until: Callable[[], bool] = lambda: False) -> None:
        """Do one after the other, until the plan ends or `until` says so."""
        pause = threading.Event()
        for fault in plan:
            if until():
                return
            pause.wait(self._chance.uniform(*self._pause_s))
            self._do(fault)

    def _do(self, fault: str) -> None:
        running = self._running
        faults: dict[str, Callable[[], None]] = {
            "wipe": running.wipe_broker,
            "database": running.restart_database,
            "worker": lambda: running.kill(WORKER),
            "child": lambda: running.kill_a_child(self._chance),
            "scheduler": lambda: running.kill(self._chance.choice(SCHEDULERS)),
            "clock": lambda: running.move_clock(SCHEDULERS[1], next(self._clocks)),
            "step": lambda: running.kill_at(next(self._steps)),
        }
        faults[fault]()


@contextmanager
def committing(running: FaultyHub, arrivals: Sequence[Arrival], rate_per_s: float) -> Iterator[Future[None]]:
    """Commit the cases at a steady rate, beside what the block does, which ends when the last is committed."""
    with ThreadPoolExecutor(1) as pool:
        commits = pool.submit(commit_through_faults, running, arrivals, rate_per_s)
        yield commits
        commits.result()


def commit_through_faults(running: FaultyHub, arrivals: Sequence[Arrival], rate_per_s: float) -> None:
    """Commit the cases at a steady rate; what the database was not there for is committed again, as a client does."""
    pace = threading.Event()
    for arrival in arrivals:
        eventually(partial(_commit, running, arrival), PATIENCE_S)
        pace.wait(1 / rate_per_s)


def _commit(running: FaultyHub, arrival: Arrival) -> None:
    try:
        running.reading.commit(arrival)
    except OperationalError as exc:
        raise AssertionError("the database is away") from exc


# What is asked again and again must cost little: the drill runs beside it.
NOT_OFFERED = "SELECT count(*) FROM cases WHERE case_id = ANY(:case_ids) AND state <> 'offered'"
WAITING = "SELECT count(*) FROM outbox WHERE published_at IS NULL AND due_at < now()"

# The whole truth about each case, from the rows alone.
COUNTS = """
SELECT c.case_id, c.state,
       (SELECT count(*) FROM reading_tasks t WHERE t.case_id = c.case_id) AS tasks,
       (SELECT count(*) FROM offers o JOIN reading_tasks t USING (reading_task_id)
         WHERE t.case_id = c.case_id AND o.state = 'open') AS offers,
       (SELECT count(*) FROM routing_decisions d JOIN reading_tasks t USING (reading_task_id)
         WHERE t.case_id = c.case_id) AS decisions,
       (SELECT count(*) FROM custody_events e WHERE e.case_id = c.case_id AND e.hop = 'offered') AS told
FROM cases c WHERE c.case_id = ANY(:case_ids)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the cases."""

    cases: int
    lost: int  # nobody is asked
    doubled: int  # asked by more than one decision, told more than once, or with more than one task
    dead_jobs: int


def count(running: FaultyHub, arrivals: Sequence[Arrival]) -> Outcome:
    """Count what was lost and what was doubled."""
    with running.reading.hub.engine.connect() as connection:
        case_ids = [arrival.case_id for arrival in arrivals]
        rows = connection.execute(sa.text(COUNTS), {"case_ids": case_ids}).all()
        dead = connection.scalar(sa.text("SELECT count(*) FROM dead_jobs"))
    lost = len(arrivals) - sum(row.state == "offered" and row.offers > 0 for row in rows)
    doubled = sum(row.tasks > 1 or row.decisions > 1 or row.told > 1 for row in rows)
    return Outcome(len(arrivals), lost, doubled, int(dead or 0))


def await_offers(running: FaultyHub, arrivals: Sequence[Arrival], within_s: float) -> Outcome:
    """Return the outcome once every case is offered, or when the time is up."""
    case_ids = [arrival.case_id for arrival in arrivals]

    def complete() -> None:
        with running.reading.hub.engine.connect() as connection:
            waiting = connection.scalar(sa.text(NOT_OFFERED), {"case_ids": case_ids})
        assert waiting == 0, f"{waiting} cases wait"

    with suppress(AssertionError):
        eventually(complete, within_s, every_s=0.5)
    return count(running, arrivals)
