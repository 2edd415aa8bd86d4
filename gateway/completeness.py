"""Decides whether a study has arrived completely. Pure: no clock, no I/O.

Nothing is final: an instance that comes after the decision opens the study again, as its next transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Because(StrEnum):
    """Why a study was judged complete; part of its manifest and of its custody event."""

    FORCED = "forced"
    EXPECTED_COUNT = "expected_count"
    QUIET_PERIOD = "quiet_period"
    ASSOCIATION_STAYED_OPEN = "association_stayed_open"
    CLOCK_SET_BACK = "clock_set_back"


@dataclass(frozen=True, slots=True)
class StudyEvents:
    """What has happened to one arriving study.

    `received` counts the instances that wait in incoming. `association_open`: one that brought some of them has not
    ended. `association_closed_at`: the latest end among those that did. `expected`: how many are to wait here, where
    somebody said so.
    """

    received: int
    last_received_at: datetime
    association_open: bool = False
    association_closed_at: datetime | None = None
    expected: int | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: after the last event, and after the last instance of an association that stays open."""

    quiet_period_s: float
    open_association_max_s: float


@dataclass(frozen=True, slots=True)
class Complete:
    """Nothing more is awaited."""

    because: Because


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Ask again at this time, or when something happens before."""

    at: datetime


def decide(events: StudyEvents, now: datetime, patience: Patience) -> Complete | WaitUntil:
    """Return whether the study is complete at `now`, or when to ask again if nothing happens.

    A known count completes at once; otherwise the study is complete when nothing has happened for the quiet period
    after the last instance and the end of its associations. An association that stays open without bringing anything
    delays it by at most `open_association_max_s`. Times after `now` by more than the wait mean that the clock was set
    back.
    """
    if events.forced:
        return Complete(Because.FORCED)
    if events.expected is not None and events.received >= events.expected:
        return Complete(Because.EXPECTED_COUNT)
    last, wait_s, because = _awaited(events, patience)
    if last - now > timedelta(seconds=wait_s):
        return Complete(Because.CLOCK_SET_BACK)
    due = last + timedelta(seconds=wait_s)
    return Complete(because) if now >= due else WaitUntil(due)


def _awaited(events: StudyEvents, patience: Patience) -> tuple[datetime, float, Because]:
    """Return the last event, how long to wait after it, and what the end of that wait means."""
    if events.association_open:
        return events.last_received_at, patience.open_association_max_s, Because.ASSOCIATION_STAYED_OPEN
    last = max(events.last_received_at, events.association_closed_at or events.last_received_at)
    return last, patience.quiet_period_s, Because.QUIET_PERIOD
