"""How often the hub is asked for a result. Volatile: begins anew after a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.journal.transfers import TransferKey

POLL_FIRST_S: Final = 0.05
POLL_FACTOR: Final = 1.5
POLL_WORKING_MAX_S: Final = 2.0
POLL_WORKING_COUNT: Final = 40  # after about a minute the hub's workers seem to be away
POLL_IDLE_MAX_S: Final = 30.0


def poll_delay_s(polls: int, waiting: int = 1) -> float:
    """Return the seconds to the next poll after `polls` of them in vain, while so many transfers wait. Pure.

    Many that wait together are asked about no more often than one: the hub that answers is the one that works for them.
    """
    if polls > POLL_WORKING_COUNT:
        return min(POLL_WORKING_MAX_S * POLL_FACTOR ** min(polls - POLL_WORKING_COUNT, 10), POLL_IDLE_MAX_S)
    return min(waiting * POLL_FIRST_S * POLL_FACTOR ** min(polls - 1, 20), POLL_WORKING_MAX_S)


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
        delay = poll_delay_s(poll.count, len(self._polls))
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
