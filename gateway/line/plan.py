"""How much of the line uploads may use at which hour. Pure: the time is an argument, hours are those of a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

from storage.contract.lanes import Lane

ALL_LANES = frozenset(Lane)
WHOLE_WEEK = frozenset(range(7))
QUARTERS: Final = (0, 15, 30, 45)
LOOK_AHEAD_DAYS: Final = 8  # the plan repeats by the week


@dataclass(frozen=True, slots=True)
class Hours:
    """One line of the plan: from `begins` to before `ends` on `weekdays` (Monday is 0), perhaps over midnight.

    A span over midnight belongs to the day on which it begins; one that ends when it begins is the whole day.
    """

    begins: time
    ends: time
    weekdays: frozenset[int] = WHOLE_WEEK
    bytes_per_s: float | None = None  # all uploads and returns together, None: no limit of its own
    share: float | None = None  # of the fastest that the line was measured
    lanes: frozenset[Lane] = ALL_LANES  # which may begin an upload at all
    exempt: frozenset[Lane] = frozenset({Lane.STAT})  # for which the limit does not count

    def hold(self, local: datetime) -> bool:
        """Return whether a local time lies within these hours."""
        at, day = local.time(), local.weekday()
        if self.begins < self.ends:
            return day in self.weekdays and self.begins <= at < self.ends
        if at >= self.begins:
            return day in self.weekdays
        return at < self.ends and (day - 1) % 7 in self.weekdays


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts at one moment. `bytes_per_s` None: the whole line."""

    bytes_per_s: float | None = None
    exempt: frozenset[Lane] = frozenset()
    lanes: frozenset[Lane] = ALL_LANES
    paused: bool = False

    def of(self, lane: Lane) -> float | None:
        """Return the limit for an upload of this lane."""
        return None if lane in self.exempt else self.bytes_per_s

    def allow(self, lane: Lane) -> bool:
        """Return whether an upload of this lane may begin."""
        return not self.paused and lane in self.lanes


@dataclass(frozen=True, slots=True)
class LinePlan:
    """The hours of the plan, the first that hold count; `otherwise` counts at every other time.

    `zone` None: the zone of the machine.
    """

    hours: Sequence[Hours] = ()
    otherwise: Limits = Limits()
    zone: tzinfo | None = None

    def limits_at(
        self, now: datetime, *, measured_bytes_per_s: float | None, wished_bytes_per_s: float | None, paused: bool
    ) -> Limits:
        """Return what counts at `now`.

        `wished_bytes_per_s` is a person's limit over the plan's own; of two limits the lower counts. A share of a line
        that was never measured is no limit yet.
        """
        local = now.astimezone(self.zone)
        current = next((hours for hours in self.hours if hours.hold(local)), None)
        if current is None:
            limit, exempt, lanes = self.otherwise.bytes_per_s, self.otherwise.exempt, self.otherwise.lanes
        else:
            of_share = current.share * measured_bytes_per_s if current.share and measured_bytes_per_s else None
            limit, exempt, lanes = _lower(current.bytes_per_s, of_share), current.exempt, current.lanes
        return Limits(_lower(limit, wished_bytes_per_s), exempt, lanes, paused)

    def by_hour(
        self, now: datetime, zone: tzinfo, *, measured_bytes_per_s: float | None, wished_bytes_per_s: float | None
    ) -> tuple[Limits, ...]:
        """Return for each of the 24 hours of the day of `now` in a zone the lowest limit that counts within it."""
        today = now.astimezone(zone).date()
        hours = []
        for hour in range(24):
            found = [
                self.limits_at(
                    datetime.combine(today, time(hour, minute), tzinfo=zone),
                    measured_bytes_per_s=measured_bytes_per_s,
                    wished_bytes_per_s=wished_bytes_per_s,
                    paused=False,
                )
                for minute in QUARTERS
            ]
            hours.append(min(found, key=lambda one: (one.bytes_per_s or float("inf"), len(one.lanes))))
        return tuple(hours)

    def next_change(
        self, now: datetime, *, measured_bytes_per_s: float | None, wished_bytes_per_s: float | None
    ) -> tuple[datetime, Limits] | None:
        """Return when other limits begin to count, and which; None: they stay."""

        def limits(at: datetime) -> Limits:
            return self.limits_at(
                at, measured_bytes_per_s=measured_bytes_per_s, wished_bytes_per_s=wished_bytes_per_s, paused=False
            )

        today, current = now.astimezone(self.zone).date(), limits(now)
        times = {time(0), *(one.begins for one in self.hours), *(one.ends for one in self.hours)}
        days = [today + timedelta(days=ahead) for ahead in range(LOOK_AHEAD_DAYS)]
        moments = sorted(self._moment(day, at) for day in days for at in times)
        return next(((at, limits(at)) for at in moments if at > now and limits(at) != current), None)

    def _moment(self, day: date, at: time) -> datetime:
        local = datetime.combine(day, at)
        return local.replace(tzinfo=self.zone) if self.zone is not None else local.astimezone()


def _lower(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
