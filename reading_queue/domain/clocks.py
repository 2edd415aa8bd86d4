"""How long a case has taken and how long it may take: gross, and net of the time in which it waited for its site. Pure.

It waits for its site while a reader's question is open, and while it is held because it is in doubt whose it is.

An emergency's limit counts gross: its norm runs from the start of the examination to the signature, whatever is asked
meanwhile (RQI-RRC-02). Everybody else's stands still while the reader waits for the site.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from storage.contract.lanes import Lane

Moment = TypeVar("Moment", float, datetime)
COUNTS_GROSS = frozenset({Lane.STAT, Lane.URGENT})


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which the case waited for the site; open while `ended_at` is None."""

    began_at: datetime
    ended_at: datetime | None = None


def paused(pauses: Iterable[Pause], now: datetime) -> timedelta:
    """Return how long these pauses were together until `now`, overlapping ones counted once."""
    total, until = timedelta(), None
    for begin, end in sorted((pause.began_at, min(pause.ended_at or now, now)) for pause in pauses):
        counted_from = begin if until is None else max(begin, until)
        total += max(end - counted_from, timedelta())
        until = end if until is None else max(until, end)
    return total


def net(began_at: datetime, ended_at: datetime, pauses: Iterable[Pause]) -> timedelta:
    """Return the time between two moments without the pauses in it; never less than nothing."""
    inside = (
        Pause(max(pause.began_at, began_at), min(pause.ended_at or ended_at, ended_at))
        for pause in pauses
        if pause.began_at < ended_at and (pause.ended_at is None or pause.ended_at > began_at)
    )
    return max(ended_at - began_at - paused(inside, ended_at), timedelta())


@dataclass(frozen=True, slots=True)
class Standing:
    """How a case stands in time, by both clocks. What is late by is None while it is in time, or without a limit.

    `counts_gross`: of an emergency, whose limit no pause moves.
    """

    gross: timedelta
    net: timedelta
    gross_late_by: timedelta | None
    net_late_by: timedelta | None
    counts_gross: bool


def standing(
    began_at: datetime, ended_at: datetime, due_at: datetime | None, lane: Lane, pauses: tuple[timedelta, timedelta]
) -> Standing:
    """Return how a case stands at `ended_at`: its signature, or now.

    `due_at`: as the pauses that have ended moved it. `pauses`: how long those lasted, and the one that is open.
    """
    over, still_open = pauses
    gross = max(ended_at - began_at, timedelta())
    counts_gross = lane in COUNTS_GROSS
    if due_at is None:
        gross_late = net_late = None
    else:
        gross_late = _late_by(ended_at, due_at if counts_gross else due_at - over)
        net_late = _late_by(ended_at, due_at + still_open + (over if counts_gross else timedelta()))
    return Standing(gross, max(gross - over - still_open, timedelta()), gross_late, net_late, counts_gross)


def _late_by(ended_at: datetime, due_at: datetime) -> timedelta | None:
    return ended_at - due_at if ended_at > due_at else None


def pause_of(began_at: datetime, ended_at: datetime) -> timedelta:
    """Return how long a pause was, in whole seconds; nothing where the clock was set back meanwhile."""
    return max(timedelta(seconds=(ended_at - began_at) // timedelta(seconds=1)), timedelta())


def moved_limit(due_at: datetime, lane: Lane, pause: timedelta) -> datetime:
    """Return when a report is due after a pause: an emergency's limit does not move."""
    return due_at if lane in COUNTS_GROSS else due_at + pause


def first_limit_min(usual_min: int, of_channel_min: int | None) -> int:
    """Return the minutes from the start of the examination before anybody is asked: a green channel shortens them."""
    return usual_min if of_channel_min is None else min(usual_min, of_channel_min)


def agreed_due(agreed: Moment, due: Moment, *, in_green_channel: bool) -> Moment:
    """Return when a report is due under an agreement: a green channel's own limit is never made longer by one."""
    return min(agreed, due) if in_green_channel else agreed
