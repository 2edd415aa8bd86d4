"""Tells cheaply whether anything was written into the journal since the last look, by whichever process.

Volatile: a number means nothing to another `ChangeWatch`.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from gateway.journal.database import BUSY_TIMEOUT_S


class ChangeWatch:
    """A connection that never writes: to it, every commit is another connection's. May be asked from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    def version(self) -> int:
        """Return a number that is another one after every commit (`PRAGMA data_version`)."""
        with self._lock:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Look no more."""
        with self._lock:
            self._connection.close()
