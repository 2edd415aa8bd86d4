"""Who is on duty when: weekly shifts in the hospital's own time, days off, single exceptions. Pure.

A shift that ends at or before its beginning ends on the next day: 20:00 to 08:00 is a night. A day off removes the
shifts that begin on it; an extra shift stands on its day whatever else does. Shifts that overlap or adjoin are one
period.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

Period = tuple[datetime, datetime]  # UTC, the end excluded


@dataclass(frozen=True, slots=True)
class Shift:
    """From one local time to another; past midnight when it does not end later than it begins."""

    starts: time
    ends: time

    def on(self, day: date, zone: ZoneInfo) -> Period:
        """Return the shift that begins on the local day."""
        last_day = day if self.ends > self.starts else day + timedelta(days=1)
        return (
            datetime.combine(day, self.starts, zone).astimezone(UTC),
            datetime.combine(last_day, self.ends, zone).astimezone(UTC),
        )


@dataclass(frozen=True, slots=True)
class Roster:
    """The shifts of one physician: by weekday (Monday is 0), without the days off, with the extra ones."""

    weekly: tuple[tuple[int, Shift], ...] = ()
    days_off: frozenset[date] = frozenset()
    extra: tuple[tuple[date, Shift], ...] = ()

    def periods(self, zone: ZoneInfo, first_day: date, days: int) -> list[Period]:
        """Return when the physician is on duty by the shifts that begin on these local days, in order and apart."""
        weekly = [[shift for weekday, shift in self.weekly if weekday == number] for number in range(7)]
        last_day = first_day + timedelta(days=days - 1)
        shifts = [shift.on(day, zone) for day, shift in self.extra if first_day <= day <= last_day]
        for day in (first_day + timedelta(days=number) for number in range(days)):
            if day not in self.days_off:
                shifts += [shift.on(day, zone) for shift in weekly[day.weekday()]]
        return merged(shifts)


def merged(periods: Iterable[Period]) -> list[Period]:
    """Return the same time as the fewest periods, in order."""
    apart: list[Period] = []
    for start, end in sorted(period for period in periods if period[0] < period[1]):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def gaps(on_duty: Sequence[Period], begin: datetime, end: datetime) -> list[Period]:
    """Return the time between two moments in which none of these periods has anybody on duty, in order."""
    open_since, found = begin, []
    for start, stop in merged(on_duty):
        if start >= end:
            break
        if start > open_since:
            found.append((open_since, start))
        open_since = max(open_since, stop)
    if open_since < end:
        found.append((open_since, end))
    return found
