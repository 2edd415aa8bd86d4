"""A job asked for in a transaction is done, whatever dies on the way."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from reading_queue.embedded.redis import EmbeddedRedis
from reading_queue.worker.celery_app import RECONNECT_MAX_S, RESTORE_LOCK_S, TimeLimitsClash, make_celery
from reading_queue.worker.failures import DELIVERIES_MAX, RETRY_DELAY_MAX_S, TRANSIENT_ATTEMPTS_MAX
from reading_queue.worker.runtime import Runtime, RuntimePerProcess
from storage.ledger.tables import DeadJob, OutboxMessage, Redelivery
from tests.support.broker import redis
from tests.support.processes import ProcessStarter
from tests.support.waiting import eventually
from tests.support.worker import WorkerBench
from tests.support.worker_process import CREWS

pytestmark = [pytest.mark.services, pytest.mark.postgres]


ATTEMPTS = 5  # of each crew to reach a broker that is gone
DEATH_IS_SEEN_S = 20  # Celery sees a child's death after at most 5 s, the time limit of a job must be longer


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with redis(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def bench(
    broker: EmbeddedRedis, database_url: sa.URL, processes: ProcessStarter, tmp_path: Path
) -> Iterator[WorkerBench]:
    bench = WorkerBench(processes, database_url, broker.url(), tmp_path / "marks")
    with bench.relaying():
        yield bench
    processes.end_all()


def test_a_committed_request_is_done(bench: WorkerBench) -> None:
    bench.start_worker()
    bench.ask("probe.note", "a")
    bench.await_mark("done-a")


def test_a_job_that_finds_the_store_unavailable_is_tried_again(bench: WorkerBench) -> None:
    bench.start_worker()
    bench.ask("probe.stumble", "a")
    bench.await_mark("stumbled-a")
    bench.await_mark("done-a")


def test_a_job_whose_child_is_killed_is_done_by_another(bench: WorkerBench) -> None:
    bench.start_worker()
    bench.ask("probe.hold", "a")
    (child,) = bench.await_mark("started-a")
    os.kill(child, signal.SIGKILL)
    bench.await_mark("started-a", count=2)
    bench.release()
    bench.await_mark("done-a")


def test_a_job_that_never_ends_is_cut_off_and_recorded(bench: WorkerBench, database: sa.Engine) -> None:
    bench.start_worker()
    bench.ask("probe.hang", "a")
    bench.await_mark("started-a")

    def attempts() -> list[int | None]:
        with Session(database) as session:
            launches = session.scalars(sa.select(OutboxMessage).order_by(OutboxMessage.message_id))
            return [message.arguments.get("attempt") for message in launches]

    def asked_again() -> None:
        assert 3 in attempts()

    eventually(asked_again)
    assert attempts() == [None, 2, 3], "one launch for each time limit"


def test_a_job_whose_process_ends_every_time_pauses_and_is_laid_down_after_its_last_attempt(
    bench: WorkerBench, database: sa.Engine
) -> None:
    bench.start_worker(visibility_s=DEATH_IS_SEEN_S)
    bench.ask("probe.die", "a", attempt=TRANSIENT_ATTEMPTS_MAX - 1)
    pause_s = eventually(lambda: pause_before(database, TRANSIENT_ATTEMPTS_MAX))
    assert pause_s == pytest.approx(RETRY_DELAY_MAX_S, abs=1)
    assert len(bench.await_mark("started-a")) == DELIVERIES_MAX
    bench.ask("probe.note", "b")
    bench.await_mark("done-b")

    bench.ask("probe.die", "a", attempt=TRANSIENT_ATTEMPTS_MAX)  # as when the pause is over
    dead = eventually(lambda: laid_down(database))
    assert (dead.job, dead.arguments) == ("probe.die", {"name": "a"})
    assert dead.reason == f"its process ended each time it was started, after {TRANSIENT_ATTEMPTS_MAX} attempts"
    assert len(bench.await_mark("started-a")) == DELIVERIES_MAX + 1, "those deaths are not forgotten"


def pause_before(database: sa.Engine, attempt: int) -> float:
    with Session(database) as session:
        later = [row for row in session.scalars(sa.select(OutboxMessage)) if row.arguments["attempt"] == attempt]
    assert later
    return (later[0].due_at - datetime.now(UTC)).total_seconds()


def laid_down(database: sa.Engine) -> DeadJob:
    with Session(database) as session:
        dead = session.scalars(sa.select(DeadJob)).one_or_none()
    assert dead is not None
    return dead


def test_a_job_that_ended_well_after_all_begins_anew(bench: WorkerBench, database: sa.Engine) -> None:
    bench.start_worker(visibility_s=DEATH_IS_SEEN_S)
    bench.ask("probe.hold", "a")
    (child,) = bench.await_mark("started-a")
    os.kill(child, signal.SIGKILL)
    bench.await_mark("started-a", count=2)
    assert redeliveries(database) == [1]
    bench.release()

    def forgotten() -> None:
        assert redeliveries(database) == []

    eventually(forgotten)


def test_jobs_that_came_together_are_done_together(bench: WorkerBench) -> None:
    bench.start_worker()
    bench.ask("probe.each", "a", "b", "c")
    for name in ("a", "b", "c"):
        assert len(bench.await_mark(f"done-{name}")) == 1
    bench.await_mark("together-3")


@pytest.mark.parametrize(("bad", "failure"), [("fail", "LookupError"), ("die", "its process ended")])
def test_one_bad_job_among_several_takes_nobody_with_it(
    bench: WorkerBench, database: sa.Engine, bad: str, failure: str
) -> None:
    worker = bench.start_worker(visibility_s=DEATH_IS_SEEN_S)
    bench.ask("probe.each", "a", bad, "b")
    bench.await_mark("together-3")
    for name in ("a", "b"):
        assert len(bench.await_mark(f"done-{name}", 2 * DEATH_IS_SEEN_S)) == 1  # the dead child may have been given it

    def tried_again() -> list[str]:
        with Session(database) as session:
            later = [row for row in session.scalars(sa.select(OutboxMessage)) if row.arguments.get("attempt") == 3]
        assert later
        return [row.arguments["name"] for row in later]

    assert eventually(tried_again) == [bad]

    def told() -> None:
        assert failure in worker.log()

    eventually(told)  # it is committed before it is told


def test_a_crew_that_dies_or_hangs_is_started_again_and_takes_no_other_with_it(bench: WorkerBench) -> None:
    worker = bench.start_worker(visibility_s=DEATH_IS_SEEN_S)
    bench.ask("probe.large", "a")
    (large_child,) = bench.await_mark("started-a")
    bench.ask("probe.offer", "before")
    (child,) = bench.await_mark("done-before")
    crew = parent_of(child)
    os.kill(crew, signal.SIGKILL)
    for pid in (crew, child):  # what a dying crew is handed is lost to Redis: see `celery_app`
        eventually(lambda pid=pid: assert_ended(pid))
    bench.ask("probe.offer", "after")
    bench.await_mark("done-after")
    bench.release()
    assert bench.await_mark("done-a") == [large_child]
    assert worker.stop() == 0


def test_nothing_of_a_worker_outlives_it(bench: WorkerBench) -> None:
    worker = bench.start_worker(visibility_s=DEATH_IS_SEEN_S)
    bench.ask("probe.hold", "a")
    (child,) = bench.await_mark("started-a")
    crew = parent_of(child)
    worker.kill()
    for pid in (child, crew):
        eventually(lambda pid=pid: assert_ended(pid))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def assert_ended(pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def redeliveries(database: sa.Engine) -> list[int]:
    with Session(database) as session:
        return list(session.scalars(sa.select(Redelivery.count)))


def test_requests_made_while_the_broker_is_down_are_done_when_it_is_back(
    bench: WorkerBench, broker: EmbeddedRedis
) -> None:
    bench.start_worker()
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    bench.ask("probe.note", "a")
    broker.start()
    bench.await_mark("done-a")


def test_a_worker_whose_broker_is_long_gone_is_back_within_seconds(bench: WorkerBench, broker: EmbeddedRedis) -> None:
    worker = bench.start_worker()
    bench.ask("probe.note", "before")
    bench.await_mark("done-before")
    broker.stop()

    def waits_s() -> list[float]:
        found = [float(wait) for wait in re.findall(r"Trying again in ([\d.]+) second", worker.log())]
        assert len(found) >= ATTEMPTS * len(CREWS)
        return found

    assert max(eventually(waits_s)) == RECONNECT_MAX_S
    bench.ask("probe.note", "after")
    broker.start()
    bench.await_mark("done-after")


def test_the_worker_is_heard_also_after_its_broker_was_gone(bench: WorkerBench, broker: EmbeddedRedis) -> None:
    bench.start_worker()
    first = eventually(lambda: heard_since(bench, None))
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    broker.start()
    bench.ask("probe.note", "a")
    bench.await_mark("done-a")
    second = eventually(lambda: heard_since(bench, first))
    eventually(lambda: heard_since(bench, second))


def heard_since(bench: WorkerBench, before: float | None) -> float:
    last = bench.last_beat()
    assert last is not None
    assert before is None or last > before
    return last


def never() -> Runtime:
    raise AssertionError


def test_a_worker_killed_while_it_gives_messages_back_keeps_the_others_from_it_for_seconds(
    broker: EmbeddedRedis,
) -> None:
    with make_celery(broker.url(), RuntimePerProcess(never)).connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.client.lock(channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire).acquire()
        assert 0 < channel.client.pttl(channel.unacked_mutex_key) <= RESTORE_LOCK_S * 1000


def test_limits_that_let_a_job_run_twice_are_refused() -> None:
    with pytest.raises(TimeLimitsClash, match="jobs may run 30 s"):
        make_celery("redis+socket:///x", RuntimePerProcess(never), hard_time_limit_s=30)
