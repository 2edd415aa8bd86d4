"""The hub's data directory: its lock, and the short directory in which its sockets live.

A socket's path may have 107 bytes, so sockets live in a private directory outside; its path is recorded in
`run/sockets`, where the roles and the command line find it. Volatile: everything here may vanish at a restart.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reading_queue.embedded import EmbeddedServerError

SOCKET_PATH_BYTES_MAX = 107
_LONGEST_SOCKET_NAME = "/counterpart-xxxxxxxx/.s.PGSQL.5432.lock"


class DataDirectoryInUse(EmbeddedServerError):
    """Another `serve` runs on this data directory."""


def run_directory(data_dir: Path) -> Path:
    """Return `data_dir/run`, made if need be, both readable by this user only."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "run"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def owned(data_dir: Path, name: str = "serve") -> Iterator[None]:
    """Own the data directory while the block runs; the kernel releases it however the process ends.

    Raises:
        DataDirectoryInUse: another process owns it.
    """
    path = run_directory(data_dir) / f"{name}.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.seek(0)
            raise DataDirectoryInUse(
                f"{data_dir} is in use by process {lock.read().strip() or 'unknown'}: stop it first, or choose another "
                "data_dir"
            ) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def find_socket_directory(data_dir: Path) -> Path | None:
    """Return the recorded socket directory, or None when there is none that is private to this user."""
    try:
        path = Path((data_dir / "run" / "sockets").read_text().strip())
        found = path.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return path if private and path.is_absolute() else None


def make_socket_directory(data_dir: Path, *, runtime_dir: Path | None) -> Path:
    """Return the recorded socket directory, or make one under `runtime_dir` (else under /tmp) and record it."""
    existing = find_socket_directory(data_dir)
    if existing is not None:
        return existing
    parent = runtime_dir if runtime_dir is not None and _fits(runtime_dir) else Path(tempfile.gettempdir())
    if not _fits(parent):
        raise EmbeddedServerError(
            f"{parent} is too long a path for a socket: set TMPDIR to a shorter one, such as /tmp"
        )
    path = Path(tempfile.mkdtemp(prefix="counterpart-", dir=parent))
    record = run_directory(data_dir) / "sockets"
    written = record.with_suffix(".new")
    written.write_text(str(path))
    written.replace(record)
    return path


def remove_socket_directory(data_dir: Path) -> None:
    """Remove the recorded socket directory and the record; nothing may run in it any more."""
    path = find_socket_directory(data_dir)
    if path is not None:
        shutil.rmtree(path)
    (data_dir / "run" / "sockets").unlink(missing_ok=True)


def _fits(parent: Path) -> bool:
    return parent.is_dir() and len(os.fsencode(parent)) + len(_LONGEST_SOCKET_NAME) <= SOCKET_PATH_BYTES_MAX
