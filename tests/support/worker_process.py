"""A real worker process with small jobs: `python -m tests.support.worker_process BROKER DATABASE DIR VISIBILITY`.

Each job leaves a mark in DIR, so that a test sees what ran and how often.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from reading_queue.heartbeat import Heartbeat
from reading_queue.worker.celery_app import make_celery, run_crew
from reading_queue.worker.crews import Member, SharedHeartbeat, run_members
from reading_queue.worker.jobs import Job
from reading_queue.worker.queues import Crew, crews_of
from reading_queue.worker.runtime import Runtime, RuntimePerProcess
from storage.objects.protocol import ObjectStore, StoreUnavailable
from tests.support.hub import make_hub
from tests.support.plain_logs import say_plainly

POLL_S = 0.02
HEARTBEAT = "heartbeat"


def note(runtime: Runtime, *, name: str) -> None:
    """Leave a mark."""
    _mark(runtime, f"done-{name}")


def hold(runtime: Runtime, *, name: str) -> None:
    """Say that it runs, wait until the file `release` is there, leave a mark."""
    _mark(runtime, f"started-{name}")
    while not (runtime.fonts_dir / "release").exists():
        threading.Event().wait(POLL_S)
    _mark(runtime, f"done-{name}")


def stumble(runtime: Runtime, *, name: str) -> None:
    """Find the store unavailable the first time, succeed the second."""
    if not (runtime.fonts_dir / f"stumbled-{name}").exists():
        _mark(runtime, f"stumbled-{name}")
        raise StoreUnavailable(name)
    _mark(runtime, f"done-{name}")


def hang(runtime: Runtime, *, name: str) -> None:
    """Ignore the soft time limit and never end."""
    _mark(runtime, f"started-{name}")
    while True:
        try:
            threading.Event().wait(60)
        except Exception:  # noqa: BLE001 -- a job that does not want to end
            continue


def die(runtime: Runtime, *, name: str) -> None:
    """End the process as the kernel does when memory runs out."""
    _mark(runtime, f"started-{name}")
    os.kill(os.getpid(), signal.SIGKILL)


def crowd(runtime: Runtime, names: Sequence[str]) -> None:
    """Do the same as `each` of several at once; none is done where one fails."""
    _mark(runtime, f"together-{len(names)}")
    for name in names:
        _stop_at(name)
    for name in names:
        _mark(runtime, f"done-{name}")


def each(runtime: Runtime, *, name: str) -> None:
    """Leave a mark, but fail or end the process where the name says so."""
    _mark(runtime, f"alone-{name}")
    _stop_at(name)
    _mark(runtime, f"done-{name}")


def _stop_at(name: str) -> None:
    if name.startswith("fail"):
        raise LookupError(name)
    if name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)


CREWS = crews_of(
    ("routing", "transfers", "documents", "large"), {"routing": 1, "ordinary": 2, "large": 1, "background": 1}
)

PROBES = {
    "probe.offer": Job("routing", note),
    "probe.large": Job("large", hold),
    "probe.note": Job("transfers", note),
    "probe.hold": Job("transfers", hold),
    "probe.stumble": Job("routing", stumble),
    "probe.hang": Job("documents", hang),
    "probe.die": Job("documents", die),
    "probe.each": Job("transfers", each, run_together=crowd, together_max=4),
}


def _mark(runtime: Runtime, name: str) -> None:
    with (runtime.fonts_dir / name).open("a") as marks:
        marks.write(f"{os.getpid()}\n")


def main(broker_url: str, database_url: str, folder: str, visibility_s: str) -> int:
    """Run the worker until SIGTERM."""
    say_plainly()

    def open_runtime() -> Runtime:
        engine = sa.create_engine(database_url, hide_parameters=True)
        hub = make_hub(engine, cast(ObjectStore, _NoStore()), Path(folder) / "hub.key", lambda: datetime.now(UTC))
        return Runtime(hub, Path(folder))

    process = RuntimePerProcess(open_runtime)
    seconds = int(visibility_s)
    app = make_celery(
        broker_url, process, jobs=PROBES, visibility_timeout_s=seconds, hard_time_limit_s=min(seconds - 1, 17)
    )

    def member(crew: Crew) -> Member:
        shared, kept = SharedHeartbeat(), Heartbeat(Path(folder) / f"{HEARTBEAT}-{crew.name}")

        def beat() -> None:
            shared.beat()
            kept.beat()

        return Member(crew.name, lambda: run_crew(app, process, crew, beat=beat), shared)

    return run_members([member(crew) for crew in CREWS], beat=lambda: None)


class _NoStore:
    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable(name)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
