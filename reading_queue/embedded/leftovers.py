"""Ends processes that a crashed server left behind in its data directory.

A server whose postmaster was killed may leave a busy backend alive, and no new server starts beside it. Called only
while the data directory is owned (`directories.owned`), so that a living server of somebody else is never touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

POLL_S = 0.02
READ_S = 10


def find_leftovers(directory: Path, program: str, *, reader: Sequence[str] = ()) -> Iterator[int]:
    """Yield the ids of the processes named `program` that work in `directory`.

    Seen are this user's processes, and those that a command after the words `reader` may see.
    """
    wanted = directory.resolve()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        links = _read_links(entry, program, reader)
        if links is not None and links[0] == wanted and links[1].name.removesuffix(" (deleted)") == program:
            yield int(entry.name)


def end_leftovers(
    directory: Path, program: str, *, gently: signal.Signals, patience_s: float, reader: Sequence[str] = ()
) -> int:
    """Send `gently` to every leftover, then SIGKILL to those alive after `patience_s`; return how many there were."""
    find = partial(find_leftovers, directory, program, reader=reader)
    first = list(find())
    _signal_each(first, gently)
    if not _gone(find, within_s=patience_s):
        _signal_each(find(), signal.SIGKILL)
        _gone(find, within_s=patience_s)
    return len(first)


def _read_links(entry: Path, program: str, reader: Sequence[str]) -> tuple[Path, Path] | None:
    """Return where a process works and what it runs, or None when it ended meanwhile or belongs to somebody else."""
    try:
        return (entry / "cwd").readlink(), (entry / "exe").readlink()
    except PermissionError:
        return _read_links_by(reader, entry, program) if reader else None
    except OSError:
        return None


def _read_links_by(reader: Sequence[str], entry: Path, program: str) -> tuple[Path, Path] | None:
    try:
        if (entry / "comm").read_text().strip() != program:
            return None
    except OSError:
        return None
    argv = [*reader, "readlink", "-z", str(entry / "cwd"), str(entry / "exe")]
    told = subprocess.run(argv, capture_output=True, timeout=READ_S, check=False, cwd="/").stdout
    links = [Path(os.fsdecode(name)) for name in told.split(b"\0")[:-1]]
    return (links[0], links[1]) if len(links) == 2 else None


def _signal_each(pids: Iterator[int] | list[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def _gone(find: Callable[[], Iterator[int]], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while any(True for _ in find()):
        if time.monotonic() > deadline:
            return False
        pause.wait(POLL_S)
    return True
