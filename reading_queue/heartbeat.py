"""How a role lets its supervisor hear that it lives: it touches a file of its own again and again.

Volatile. Nothing else is needed to tell: a role may be heard while database and broker are down, and one whose loop
stands still is not, however alive its process looks. Times are compared on the listener's own clock alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Protocol

BEAT_EVERY_S: Final = 2.0
SILENT_AFTER_S: Final = 30.0  # a role that was heard and is not heard for so long hangs
STARTING_S: Final = 90.0  # the same for a role that was not heard since its start: a cold disk is slow


class Heartbeat:
    """One role's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def beat(self) -> None:
        """Be heard."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch()

    def last(self) -> float | None:
        """Return when it was last heard, in seconds since the epoch; None when it never was."""
        try:
            return self._path.stat().st_mtime
        except FileNotFoundError:
            return None


class Heard(Protocol):
    """What can be listened to."""

    def last(self) -> float | None:
        """Return when it was last heard, in seconds since the epoch; None when it never was."""


class Listener:
    """Knows whether a role has fallen silent."""

    def __init__(self, heartbeat: Heard) -> None:
        self._heartbeat = heartbeat
        self.begin()

    def begin(self) -> None:
        """Listen to a role that is just being started."""
        self._last = self._heartbeat.last()
        self._changed_at = time.monotonic()
        self._was_heard = False

    @property
    def was_heard(self) -> bool:
        """Whether the role has been heard since its start, as of the last `hears_nothing`."""
        return self._was_heard

    def hears_nothing(self, after_s: float) -> bool:
        """Return whether the role has not been heard for `after_s`, or too long since its start; ask often."""
        last = self._heartbeat.last()
        if last != self._last:
            self._last, self._changed_at, self._was_heard = last, time.monotonic(), True
        patience_s = after_s if self._was_heard else max(after_s, STARTING_S)
        return time.monotonic() - self._changed_at > patience_s
