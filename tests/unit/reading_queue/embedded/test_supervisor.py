"""The supervisor keeps its children alive, and takes them along when it ends."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from reading_queue.embedded.supervisor import ROLES_STOP_S, restart_delay_s
from tests.support.processes import ProcessStarter, RunningProcess
from tests.support.waiting import eventually, keeps

SILENT_AFTER_S = 4.0  # on a machine that does much else a role may be late with its beat

# A role that says its process id, and takes its time to stop when it is told to be stubborn. It is heard until a file
# tells it to hang.
ROLE = """
import os, pathlib, signal, sys, threading
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
stop = threading.Event()
if name != "stubborn":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with (folder / name).open("a") as pids:
    pids.write(f"{os.getpid()}\\n")
while True:
    if not (folder / f"{name}.hang").exists():
        (folder / f"{name}.beat").touch()
    stop.wait(0.05)
"""

SUPERVISOR = """
import pathlib, sys
from reading_queue.heartbeat import Heartbeat
from reading_queue.embedded.role import RoleProcess
from reading_queue.embedded.signals import SignalWaiter
from reading_queue.embedded.supervisor import Supervisor
folder, names = pathlib.Path(sys.argv[1]), sys.argv[4:]
roles = [
    RoleProcess(name, [sys.executable, "-c", sys.argv[2], name, str(folder)], Heartbeat(folder / f"{name}.beat"))
    for name in names
]
with SignalWaiter() as signals:
    Supervisor(folder, servers=[], prepare=lambda: None, roles=roles,
               is_ready=lambda: (folder / names[0]).exists(), silent_after_s=float(sys.argv[3])).run(signals)
"""


def supervise(processes: ProcessStarter, folder: Path, *names: str) -> RunningProcess:
    argv = [sys.executable, "-c", SUPERVISOR, folder, ROLE, str(SILENT_AFTER_S), *names]
    return processes.start(argv, name="supervisor", ready=(folder / "ready").exists)


def pids(folder: Path, name: str, *, count: int = 1) -> list[int]:
    def started() -> list[int]:
        found = [int(line) for line in (folder / name).read_text().split()] if (folder / name).exists() else []
        assert len(found) >= count
        return found

    return eventually(started)


def assert_gone(pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_killed_role_is_back_within_two_seconds(processes: ProcessStarter, tmp_path: Path) -> None:
    numbers = itertools.count(1)

    def back_after_s() -> float:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        supervisor = supervise(processes, folder, "web", "worker")
        (first,) = pids(folder, "worker")
        killed_at = time.monotonic()
        os.kill(first, signal.SIGKILL)
        pids(folder, "worker", count=2)
        took = time.monotonic() - killed_at
        eventually(lambda: _is_told(folder, {"worker": 1, "web": 0}))
        supervisor.stop()
        return took

    keeps(2, back_after_s, in_a_row=1)


def _is_told(folder: Path, restarts: dict[str, int]) -> None:
    children = {child["name"]: child for child in json.loads((folder / "children.json").read_text())}
    assert {name: children[name]["restarts"] for name in restarts} == restarts


def test_a_role_that_lives_and_is_not_heard_is_started_anew(processes: ProcessStarter, tmp_path: Path) -> None:
    supervise(processes, tmp_path, "web", "worker")
    (first,) = pids(tmp_path, "worker")
    (tmp_path / "worker.hang").touch()
    eventually(lambda: assert_gone(first))
    (tmp_path / "worker.hang").unlink()
    eventually(lambda: pids(tmp_path, "worker", count=2))

    def told() -> None:
        children = {child["name"]: child for child in json.loads((tmp_path / "children.json").read_text())}
        assert (children["worker"]["restarts"], children["worker"]["silences"]) == (1, 1)
        assert (children["web"]["restarts"], children["web"]["silences"]) == (0, 0)

    eventually(told)


def test_a_role_that_was_never_heard_is_given_time_to_start(processes: ProcessStarter, tmp_path: Path) -> None:
    (tmp_path / "worker.hang").touch()
    supervise(processes, tmp_path, "web", "worker")
    (slow,) = pids(tmp_path, "worker")
    (hung,) = pids(tmp_path, "web")
    (tmp_path / "web.hang").touch()
    eventually(lambda: assert_gone(hung))
    assert pids(tmp_path, "worker") == [slow]


def test_sigterm_stops_every_role(processes: ProcessStarter, tmp_path: Path) -> None:
    supervisor = supervise(processes, tmp_path, "web", "worker")
    running = pids(tmp_path, "web") + pids(tmp_path, "worker")
    assert supervisor.stop() == 0
    for pid in running:
        assert_gone(pid)
    assert "role_killed" not in supervisor.log()
    assert not (tmp_path / "ready").exists()


def test_a_role_that_does_not_stop_is_killed_within_ten_seconds(processes: ProcessStarter, tmp_path: Path) -> None:
    supervisor = supervise(processes, tmp_path, "stubborn")
    (pid,) = pids(tmp_path, "stubborn")
    assert ROLES_STOP_S < 10
    assert supervisor.stop() == 0
    assert_gone(pid)
    assert "role_killed" in supervisor.log()


def test_roles_die_with_a_supervisor_that_is_killed(processes: ProcessStarter, tmp_path: Path) -> None:
    supervisor = supervise(processes, tmp_path, "web")
    (pid,) = pids(tmp_path, "web")
    supervisor.kill()
    eventually(lambda: assert_gone(pid))


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [
        pytest.param(1, 0.0, id="a single crash is repaired at once"),
        pytest.param(2, 0.5, id="the second waits a little"),
        pytest.param(5, 5.0, id="the longest wait"),
        pytest.param(500, 5.0, id="for as long as it takes"),
    ],
)
def test_restart_delay(failures: int, delay_s: float) -> None:
    assert restart_delay_s(failures) == delay_s
