"""`counterpart-hub serve` as an operator runs it: real processes, killed and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import sqlalchemy as sa
import urllib3
from sqlalchemy.orm import Session

from reading_queue.db.health_tables import QueueProbe, SchedulerBeat, WorkerBeat
from reading_queue.embedded.postgres import find_postgres_url
from reading_queue.embedded.redis import find_redis_url
from reading_queue.services.hub import launch
from reading_queue.worker.jobs import PROBES
from storage.ledger.tables import DeadJob, OutboxMessage
from tests.support.processes import ProcessStarter, RunningProcess
from tests.support.waiting import eventually, keeps

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("serve")]

READY_S = 240  # on a machine that does much else
BACK_S = 60  # on a machine that does much else
FIGURES = {  # one of those that each role tells
    "web": "counterpart_web_requests_total",
    "worker": "counterpart_crew_silent_seconds",
    "scheduler": "counterpart_outbox_due",
}


@dataclass
class ServedHub:
    """A data directory on which `serve` runs."""

    config: Path
    data_dir: Path
    process: RunningProcess

    def cli(self, *words: str, expected: int = 0) -> str:
        argv = [sys.executable, "-m", "reading_queue", "--config", str(self.config), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == expected, done.stderr + done.stdout
        return done.stdout if expected == 0 else done.stdout + done.stderr

    def children(self) -> dict[str, Any]:
        path = self.data_dir / "run" / "children.json"
        return {child["name"]: child for child in json.loads(path.read_text())}

    def kill_child(self, name: str) -> None:
        """Kill a child, and return when it runs again and all is well."""
        before = self.children()[name]
        os.kill(before["pid"], signal.SIGKILL)

        def back() -> None:
            assert self.children()[name]["restarts"] == before["restarts"] + 1
            assert self.health()[0] == 200

        eventually(back, BACK_S, logs=[self.process])

    def health(self) -> tuple[int, dict[str, Any]]:
        port = int((self.data_dir / "run" / "web.port").read_text())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError as exc:
            raise AssertionError("the web role does not answer") from exc
        finally:
            connection.close()

    def address(self) -> str:
        return f"http://127.0.0.1:{int((self.data_dir / 'run' / 'web.port').read_text())}"

    def is_ready(self) -> bool:
        return (self.data_dir / "run" / "ready").exists()


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStarter]:
    starter = ProcessStarter(tmp_path_factory.mktemp("logs"))
    yield starter
    starter.end_all()


@pytest.fixture(scope="module")
def hub(starter: ProcessStarter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    folder = tmp_path_factory.mktemp("served")
    folder.chmod(0o700)
    data_dir = folder / "青禾 hub"
    config = folder / "hub.toml"
    metrics = "".join(f'{role} = "127.0.0.1:0"\n' for role in FIGURES)
    config.write_text(f'data_dir = "{data_dir}"\n[web]\nport = 0\n[metrics]\n{metrics}', encoding="utf-8")
    hub = ServedHub(config, data_dir, serve(starter, config))
    hub.process.wait_until(hub.is_ready, READY_S)
    yield hub
    hub.process.stop()


def serve(starter: ProcessStarter, config: Path) -> RunningProcess:
    return starter.start([sys.executable, "-m", "reading_queue", "--config", config, "serve"], name="serve")


def test_everything_answers(hub: ServedHub) -> None:
    status, health = hub.health()
    assert status == 200
    assert set(health["checks"]) == {"database", "broker", "objects", "outbox"}
    told = hub.cli("status")
    for name in ("postgres", "redis", "web", "worker", "scheduler", "schema: current"):
        assert name in told
    hub.cli("check")


def test_every_queue_answers_its_probe_and_the_scheduler_is_heard(hub: ServedHub) -> None:
    url = find_postgres_url(hub.data_dir)
    assert url is not None
    engine = sa.create_engine(url)

    def answered() -> None:
        with Session(engine) as session:
            probes = session.scalars(sa.select(QueueProbe)).all()
            assert {probe.queue for probe in probes if probe.answered_at is not None} == set(PROBES)
            assert len(session.scalars(sa.select(SchedulerBeat)).all()) == 1
            assert set(session.scalars(sa.select(WorkerBeat.queue))) == set(PROBES)

    eventually(answered, BACK_S, logs=[hub.process])
    engine.dispose()


@pytest.mark.parametrize("role", FIGURES)
def test_each_role_tells_its_figures_on_a_listener_of_its_own(hub: ServedHub, role: str) -> None:
    def port() -> int:
        ports = [line for line in hub.process.log().splitlines() if "figures_served" in line and f"role={role}" in line]
        assert ports
        return int(ports[-1].partition("port=")[2].split()[0])

    def told() -> None:
        answer = urllib3.request("GET", f"http://127.0.0.1:{eventually(port)}/metrics", retries=False, timeout=60)
        assert answer.status == 200
        assert FIGURES[role] in answer.data.decode()

    eventually(told, BACK_S, logs=[hub.process])
    assert urllib3.request("GET", f"{hub.address()}/metrics", retries=False, timeout=60).status == 404


@pytest.mark.parametrize("role", ["web", "worker", "scheduler"])
def test_a_killed_role_comes_back(hub: ServedHub, role: str) -> None:
    hub.kill_child(role)


def test_the_web_role_comes_back_on_the_port_that_gateways_know(hub: ServedHub) -> None:
    port = (hub.data_dir / "run" / "web.port").read_text()
    hub.kill_child("web")
    assert (hub.data_dir / "run" / "web.port").read_text() == port


def test_no_other_program_can_answer_in_place_of_a_killed_web_role(hub: ServedHub) -> None:
    port = int((hub.data_dir / "run" / "web.port").read_text())
    before = hub.children()["web"]
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> None:
        with socket.socket() as foreign:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                foreign.bind(("127.0.0.1", port))
        assert hub.health()[0] == 200  # who asks in between waits for the answer
        assert hub.children()["web"]["restarts"] == before["restarts"] + 1

    eventually(back, BACK_S, logs=[hub.process])


def test_a_port_that_another_program_has_is_refused_in_words(hub: ServedHub, tmp_path: Path) -> None:
    port = (hub.data_dir / "run" / "web.port").read_text().strip()
    config = tmp_path / "second.toml"
    config.write_text(f'data_dir = "{tmp_path / "second"}"\n[web]\nport = {port}\n', encoding="utf-8")
    for words in (["serve"], ["serve", "web"]):
        argv = [sys.executable, "-m", "reading_queue", "--config", str(config), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {port}: another program listens there" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_killed_database_comes_back_with_its_rows_and_the_roles_go_on(hub: ServedHub) -> None:
    roles = {name: child["pid"] for name, child in hub.children().items() if name in ("web", "worker", "scheduler")}
    url = find_postgres_url(hub.data_dir)
    assert url is not None
    with psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    hub.kill_child("postgres")
    with psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database) as connection:
        connection.execute("DROP TABLE kept")
    assert {name: hub.children()[name]["pid"] for name in roles} == roles


def test_a_broker_wiped_clean_is_used_again(hub: ServedHub) -> None:
    broker = find_redis_url(hub.data_dir)
    assert broker is not None
    with redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://").split("?")[0]) as client:
        client.flushall()
    hub.kill_child("redis")
    # A job for a reading task that does not exist ends well: published means that relay and broker work again.
    url = find_postgres_url(hub.data_dir)
    assert url is not None
    engine = sa.create_engine(url)
    with Session(engine) as session, session.begin():
        launch(session, session.scalars(sa.select(sa.func.now())).one(), "cases.route", reading_task_id="none")

    def published() -> None:
        with Session(engine) as session:
            launched = sa.select(OutboxMessage).where(OutboxMessage.subject_id == "none")
            assert session.scalars(launched).one().published_at is not None

    eventually(published, BACK_S, logs=[hub.process])
    eventually(lambda: assert_in("routing_of_unknown_task", hub.process.log()), BACK_S)
    engine.dispose()


def test_a_second_serve_on_the_same_data_is_refused_in_words(hub: ServedHub) -> None:
    said = hub.cli("serve", expected=1)
    assert "is in use by process" in said


def test_commands_refuse_in_words(hub: ServedHub) -> None:
    assert "there is no site" in hub.cli("site", "enrol", "nowhere", expected=1)
    assert "nothing is known of a study" in hub.cli("custody", "1.2.3", expected=1)
    assert "there is no dead job 99" in hub.cli("jobs", "retry", "99", expected=1)


def test_a_dead_job_is_shown_and_launched_again(hub: ServedHub) -> None:
    url = find_postgres_url(hub.data_dir)
    assert url is not None
    engine = sa.create_engine(url)
    # Launched again it ends well. One that fails would be dead anew within seconds, perhaps before the last look.
    with Session(engine) as session, session.begin():
        now = session.scalars(sa.select(sa.func.now())).one()
        arguments = {"reading_task_id": "dead-once"}
        dead = {"subject_id": "dead-once", "arguments": arguments, "failed_at": now, "reason": "probe.Failure"}
        session.add(DeadJob(job="cases.route", **dead, retried_at=None))
    engine.dispose()
    told = hub.cli("jobs", "dead")
    assert "probe.Failure" in told
    assert "1 jobs failed for good" in hub.cli("status", expected=1)
    number = told.split()[0]
    assert f"job {number} is launched again" in hub.cli("jobs", "retry", number)
    eventually(lambda: assert_in("dead-once", hub.process.log()), BACK_S)
    assert "none" in hub.cli("jobs", "dead")


def test_it_stops_within_ten_seconds_and_leaves_nothing_behind(processes: ProcessStarter, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "hub"}"\n[web]\nport = 0\n', encoding="utf-8")

    def stopped_after_s() -> float:
        hub = ServedHub(config, tmp_path / "hub", serve(processes, config))
        hub.process.wait_until(hub.is_ready, READY_S)
        pids = [child["pid"] for child in hub.children().values()]
        told_at = time.monotonic()
        assert hub.process.stop() == 0
        took = time.monotonic() - told_at
        for pid in pids:
            assert_gone(pid)
        assert find_postgres_url(hub.data_dir) is None
        assert "no hub runs on" in hub.cli("check")
        return took

    keeps(10, stopped_after_s, in_a_row=1, attempts=3)


def test_children_end_with_a_killed_supervisor_and_the_next_serve_goes_on(
    processes: ProcessStarter, tmp_path: Path
) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "hub"}"\n[web]\nport = 0\n', encoding="utf-8")
    hub = ServedHub(config, tmp_path / "hub", serve(processes, config))
    hub.process.wait_until(hub.is_ready, READY_S)
    pids = [child["pid"] for child in hub.children().values()]
    hub.process.kill()
    hub.process = serve(processes, config)
    hub.process.wait_until(lambda: hub.is_ready() and hub.children()["web"]["pid"] not in pids, READY_S)
    for pid in pids:
        eventually(lambda pid=pid: assert_gone(pid))
    hub.process.stop()


def test_wrong_settings_are_said_together_and_nothing_starts(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("[web]\nport = -1\n[broker]\nurl = 'x'\n", encoding="utf-8")
    argv = [sys.executable, "-m", "reading_queue", "--config", str(config), "serve"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "web.port" in done.stderr
    assert "broker.url" in done.stderr


def test_queues_that_nobody_can_serve_are_refused_in_words(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "hub"}"\n', encoding="utf-8")
    argv = [sys.executable, "-m", "reading_queue", "--config", str(config), "serve"]

    def refusal(*words: str) -> str:
        done = subprocess.run([*argv, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        return done.stderr

    assert "--queues: there is no queue returns; the queues are routing, transfers" in refusal(
        "worker", "--queues", "routing,returns"
    )
    assert "--queues: large is named twice" in refusal("worker", "--queues", "large,large")
    assert "only `serve worker` serves queues" in refusal("--queues", "large")


HASTY_SERVE = """
from reading_queue.cli import main
from reading_queue.embedded.supervisor import Supervisor
Supervisor.__init__.__kwdefaults__["silent_after_s"] = 5.0
main()
"""


def test_roles_that_hang_are_started_anew(processes: ProcessStarter, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'data_dir = "{tmp_path / "hub"}"\n[web]\nport = 0\n', encoding="utf-8")
    argv = [sys.executable, "-c", HASTY_SERVE, "--config", config, "serve"]
    hub = ServedHub(config, tmp_path / "hub", processes.start(argv, name="serve"))
    hub.process.wait_until(hub.is_ready, READY_S)
    before = hub.children()
    roles = ("web", "worker", "scheduler")
    for role in roles:
        hung = tmp_path / "hub" / "run" / f"{role}.heartbeat"
        eventually(lambda hung=hung: exists(hung))
        os.kill(before[role]["pid"], signal.SIGSTOP)

    def back() -> None:
        assert [hub.children()[role]["silences"] for role in roles] == [1, 1, 1]
        assert hub.health()[0] == 200

    eventually(back, BACK_S, logs=[hub.process])
    told = hub.cli("status")
    assert told.count("restarted 1 times, 1 of them because it hung") == 3
    assert told.count("last heard") == 3
    assert hub.process.stop() == 0


def exists(path: Path) -> None:
    assert path.exists()


def assert_gone(pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def assert_in(part: str, whole: str) -> None:
    assert part in whole
