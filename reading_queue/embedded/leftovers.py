"""Ends processes that a crashed server left behind in its data directory.

A server whose postmaster was killed may leave a busy backend alive, and no new server starts beside it. Called only
while the data directory is owned (`directories.owned`), so that a living server of somebody else is never touched.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.02


def find_leftovers(directory: Path, program: str) -> Iterator[int]:
    """Yield the ids of this user's processes named `program` that work in `directory`."""
    wanted = directory.resolve()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            cwd, executable = (entry / "cwd").readlink(), (entry / "exe").readlink()
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        if cwd == wanted and executable.name.removesuffix(" (deleted)") == program:
            yield int(entry.name)


def end_leftovers(directory: Path, program: str, *, gently: signal.Signals, patience_s: float) -> int:
    """Send `gently` to every leftover, then SIGKILL to those alive after `patience_s`; return how many there were."""
    first = list(find_leftovers(directory, program))
    _signal_each(first, gently)
    if not _gone(directory, program, within_s=patience_s):
        _signal_each(find_leftovers(directory, program), signal.SIGKILL)
        _gone(directory, program, within_s=patience_s)
    return len(first)


def _signal_each(pids: Iterator[int] | list[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def _gone(directory: Path, program: str, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while any(True for _ in find_leftovers(directory, program)):
        if time.monotonic() > deadline:
            return False
        pause.wait(POLL_S)
    return True
