"""How fast the line is, and how often the hub is asked for a result. Volatile: measured anew after a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.journal.transfers import TransferKey

PACK_BYTES_MIN: Final = 1024 * 1024
PACK_BYTES_MAX: Final = 16 * 1024 * 1024
PACK_BYTES_UNMEASURED: Final = 2 * 1024 * 1024
SMOOTHING: Final = 0.4  # weight of the newest measurement
SAMPLE_BYTES_MIN: Final = 64 * 1024  # smaller uploads measure the round trip, not the line

POLL_FIRST_S: Final = 0.05
POLL_FACTOR: Final = 1.5
POLL_WORKING_MAX_S: Final = 2.0
POLL_WORKING_COUNT: Final = 40  # after about a minute the hub's workers seem to be away
POLL_IDLE_MAX_S: Final = 30.0


def poll_delay_s(polls: int) -> float:
    """Return the seconds to the next poll after `polls` of them in vain. Pure."""
    if polls > POLL_WORKING_COUNT:
        return min(POLL_WORKING_MAX_S * POLL_FACTOR ** min(polls - POLL_WORKING_COUNT, 10), POLL_IDLE_MAX_S)
    return min(POLL_FIRST_S * POLL_FACTOR ** min(polls - 1, 20), POLL_WORKING_MAX_S)


class LineSpeed:
    """The measured speed of one upload stream."""

    def __init__(self, seconds_per_pack: float) -> None:
        self._seconds_per_pack = seconds_per_pack
        self._lock = threading.Lock()
        self._bytes_per_s: float | None = None

    def observe(self, size_bytes: int, seconds: float) -> None:
        """Learn from one finished upload."""
        if size_bytes < SAMPLE_BYTES_MIN or seconds <= 0:
            return
        rate = size_bytes / seconds
        with self._lock:
            known = self._bytes_per_s
            self._bytes_per_s = rate if known is None else known + SMOOTHING * (rate - known)

    def pack_bytes(self) -> int:
        """Return how large a pack should be to take the configured seconds of the line."""
        with self._lock:
            if self._bytes_per_s is None:
                return PACK_BYTES_UNMEASURED
            return int(min(max(self._bytes_per_s * self._seconds_per_pack, PACK_BYTES_MIN), PACK_BYTES_MAX))


@dataclass(slots=True)
class _Poll:
    count: int
    due_at: float


class Polls:
    """When each transfer is asked about again; used under the forwarder's lock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._polls: dict[TransferKey, _Poll] = {}

    def in_vain(self, key: TransferKey) -> float:
        """Note a poll without result; return the seconds to the next."""
        poll = self._polls.setdefault(key, _Poll(0, 0.0))
        poll.count += 1
        delay = poll_delay_s(poll.count)
        poll.due_at = self._monotonic() + delay
        return delay

    def forget(self, key: TransferKey) -> None:
        """Begin anew with short waits, or be done with the transfer."""
        self._polls.pop(key, None)

    def resting(self) -> frozenset[TransferKey]:
        """Return the transfers whose next poll is not due."""
        now = self._monotonic()
        return frozenset(key for key, poll in self._polls.items() if poll.due_at > now)

    def next_due_in_s(self) -> float | None:
        """Return the seconds until the earliest resting poll is due, None when none rests."""
        now = self._monotonic()
        return min((poll.due_at - now for poll in self._polls.values() if poll.due_at > now), default=None)
