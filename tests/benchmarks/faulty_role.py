"""One role of the hub that a drill can hurt: `python -m tests.benchmarks.faulty_role CONFIG ROLE NAME FOLDER`.

Its clock is wrong by what FOLDER/clock-NAME says, in seconds. While FOLDER/step-N exists, the first routing that is
about to make its statement number N ends its process there, and removes the file; with FOLDER/step-commit after its
commit.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import current_task
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from reading_queue import bootstrap, cli
from reading_queue.services.cases.casework import ROUTE_JOB

AFTER_COMMIT = "commit"


class StepKiller:
    """Counts the statements of a routing, and dies where it is told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Session, "after_commit", self._committed)

    def _begin(self, _connection: Any) -> None:
        self._count = 0

    def _statement(self, *_: Any) -> None:
        self._count += 1
        self._die_at(str(self._count))

    def _committed(self, _session: Any) -> None:
        self._die_at(AFTER_COMMIT)

    def _die_at(self, step: str) -> None:
        if getattr(current_task, "name", "") == ROUTE_JOB:
            try:
                (self._folder / f"step-{step}").unlink()
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


def moved_clock(path: Path) -> datetime:
    """Return a time that is wrong by the seconds in `path`, where it exists."""
    try:
        wrong_by_s = float(path.read_text())
    except (FileNotFoundError, ValueError):
        wrong_by_s = 0.0
    return datetime.now(UTC) + timedelta(seconds=wrong_by_s)


def main(config: str, role: str, name: str, folder: str) -> None:
    """Run the role until SIGTERM."""
    StepKiller(Path(folder))
    bootstrap.utc_now = lambda: moved_clock(Path(folder) / f"clock-{name}")
    sys.argv = ["counterpart-hub", "--config", config, "serve", role]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
