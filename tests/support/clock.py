"""A clock that a test steers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MONDAY_MORNING = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # nine o'clock in Shanghai


@dataclass
class SteerableClock:
    """Stands still until it is told to go on; call it for the time, or read `now`."""

    now: datetime = MONDAY_MORNING

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Move on by `seconds` and return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now
