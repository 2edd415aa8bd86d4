"""Decides whether a study has arrived completely. Pure: no clock, no I/O.

Nothing is final: an instance that comes after the decision opens the study again, as its next transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from storage.contract.manifest import Because


@dataclass(frozen=True, slots=True)
class StudyEvents:
    """What has happened to one arriving study.

    `received` counts the instances that wait in incoming. `association_open`: one that brought some of them has not
    ended. `association_closed_at`: the latest end among those that did. `expected`: how many are to wait here, where
    somebody said so. `step_began_at`: when the scanner reported the latest performed step (MPPS) of the study that it
    has not ended.
    """

    received: int
    last_received_at: datetime
    association_open: bool = False
    association_closed_at: datetime | None = None
    expected: int | None = None
    step_began_at: datetime | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: after the last event; and after the last instance while an association or a step stays open, or
    while fewer instances are here than were announced.
    """

    quiet_period_s: float
    open_association_max_s: float
    open_step_max_s: float = 1800.0
    missing_instances_max_s: float = 300.0

    def for_stat(self) -> Patience:
        """Return the patience with a stat study, which no scanner that forgets to end its steps may keep for long."""
        return replace(self, open_step_max_s=min(self.open_step_max_s, self.missing_instances_max_s))


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

    A known count completes at once, but not while the scanner says that the examination goes on; otherwise the study is
    complete when nothing has happened for the quiet period after the last instance and the end of its associations. An
    association or a performed step that stays open, and announced instances that do not come, hold it for limits of
    their own after the last instance; the longest wait counts. Times after `now` by more than the wait mean that the
    clock was set back.
    """
    if events.forced:
        return Complete(Because.FORCED)
    if events.step_began_at is None and events.expected is not None and events.received >= events.expected:
        return Complete(Because.EXPECTED_COUNT)
    last, wait_s, because = max(_awaited(events, patience), key=lambda wait: wait[0] + timedelta(seconds=wait[1]))
    if last - now > timedelta(seconds=wait_s):
        return Complete(Because.CLOCK_SET_BACK)
    due = last + timedelta(seconds=wait_s)
    return Complete(because) if now >= due else WaitUntil(due)


def _awaited(events: StudyEvents, patience: Patience) -> Iterator[tuple[datetime, float, Because]]:
    """Yield the last event, how long to wait after it, and what the end of that wait means, for each thing awaited."""
    last = max(events.last_received_at, events.association_closed_at or events.last_received_at)
    if events.association_open:
        yield events.last_received_at, patience.open_association_max_s, Because.ASSOCIATION_STAYED_OPEN
    if events.step_began_at is not None:
        yield max(events.last_received_at, events.step_began_at), patience.open_step_max_s, Because.STEP_STAYED_OPEN
    if events.expected is not None and events.received < events.expected:
        yield last, patience.missing_instances_max_s, Because.INSTANCES_MISSING
    if not events.association_open:
        yield last, patience.quiet_period_s, Because.QUIET_PERIOD
