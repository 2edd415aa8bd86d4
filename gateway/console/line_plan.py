"""What the line page tells beside the figures: the plan by hour, who acted on the line, what compression gained.

Reads the journal only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from gateway.console.studies import start_of_day
from gateway.journal.accounts import names_of
from gateway.journal.controls import Action, list_actions
from gateway.journal.database import Journal, to_text
from gateway.journal.line import LineState
from gateway.line.plan import Limits, LinePlan
from gateway.operations import THE_LINE

ACTIONS_SHOWN: Final = 3
NOTES_SHOWN: Final = 5
BAR_PIXELS: Final = 40
BAR_PIXELS_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class HourBar:
    """One hour of today: what counts, and how high its bar is, at most BAR_PIXELS."""

    hour: int
    limits: Limits
    height: int
    is_now: bool


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan of today, what counts now, and what comes next (None: nothing else within the week)."""

    bars: tuple[HourBar, ...]
    now: Limits
    changes_at: datetime | None
    then: Limits | None


@dataclass(frozen=True, slots=True)
class CompressionToday:
    """What arrived today and was made smaller, and why the rest travels as it came: reason and images."""

    images: int
    bytes_before: int
    bytes_after: int
    as_is: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LineAction:
    """Somebody paused, resumed or limited the line. `name` is empty where the account is not known any more."""

    action: Action
    name: str


def view_plan(plan: LinePlan, line: LineState, now: datetime, zone: ZoneInfo) -> PlanView:
    """Return the plan as the page draws it, by the hours of `zone`; an hour without a limit is of full height."""
    measured, wished = line.measured_bytes_per_s, line.wished_bytes_per_s
    hours = plan.by_hour(now, zone, measured_bytes_per_s=measured, wished_bytes_per_s=wished)
    top = max([measured or 0.0, *(one.bytes_per_s or 0.0 for one in hours)])
    this_hour = now.astimezone(zone).hour
    bars = tuple(HourBar(hour, limits, _height(limits, top), hour == this_hour) for hour, limits in enumerate(hours))
    current = plan.limits_at(now, measured_bytes_per_s=measured, wished_bytes_per_s=wished, paused=False)
    change = plan.next_change(now, measured_bytes_per_s=measured, wished_bytes_per_s=wished)
    return PlanView(bars, current, *(change or (None, None)))


def line_actions(journal: Journal) -> tuple[LineAction, ...]:
    """Return who did what with the whole line last, the newest first."""
    names: Mapping[str, str] = names_of(journal)
    return tuple(LineAction(one, names.get(one.actor, "")) for one in list_actions(journal, ACTIONS_SHOWN, THE_LINE))


def compression_today(journal: Journal, now: datetime, zone: ZoneInfo) -> CompressionToday:
    """Return what compression gained of what has arrived today."""
    start = to_text(start_of_day(now.astimezone(zone).date(), zone))
    gained = journal.read(
        "SELECT count(*) AS images, coalesce(sum(received_size_bytes), 0) AS bytes_before,"
        " coalesce(sum(size_bytes), 0) AS bytes_after FROM instances"
        " WHERE received_at >= ? AND compression = 'compressed' AND received_size_bytes IS NOT NULL",
        (start,),
    )[0]
    notes = journal.read(
        "SELECT compression_note AS note, count(*) AS images FROM instances"
        " WHERE received_at >= ? AND compression = 'as_is' AND compression_note IS NOT NULL"
        " GROUP BY compression_note ORDER BY images DESC, note LIMIT ?",
        (start, NOTES_SHOWN),
    )
    return CompressionToday(**dict(gained), as_is=tuple((row["note"], row["images"]) for row in notes))


def _height(limits: Limits, top: float) -> int:
    if limits.bytes_per_s is None or not top:
        return BAR_PIXELS
    return max(BAR_PIXELS_MIN, round(BAR_PIXELS * limits.bytes_per_s / top))
