"""When nobody of a hospital is on duty, told so that who makes the roster knows what to fill. Pure.

Gaps of the same hours are one fault with all its days, so that nights without anybody are one line and not seven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from reading_queue.domain.network_faults import Fault
from reading_queue.domain.roster import Period

WEEKDAYS: Final = {
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
JOINED_BY: Final = {"zh": "、", "en": ", "}


def tell_gaps(
    organisation: str, name: str, zone: ZoneInfo, gaps: Iterable[Period], code: str = "gap"
) -> Iterator[Fault]:
    """Yield a warning for the gaps of each stretch of hours, with the local days on which they begin.

    `code`: "gap" of physicians, "director_gap" of duty directors.
    """
    alike: defaultdict[tuple[str, str, int, timedelta], list[datetime]] = defaultdict(list)
    for start, stop in gaps:
        begin, end = start.astimezone(zone), stop.astimezone(zone)
        begins, ends, days_later = f"{begin:%H:%M}", f"{end:%H:%M}", (end.date() - begin.date()).days
        if ends == "00:00" and days_later > 0:  # midnight belongs to the day that ends
            ends, days_later = "24:00", days_later - 1
        alike[begins, ends, days_later, stop - start].append(begin)
    for (begins, ends, days_later, lasts), days in alike.items():
        params = {
            "organisation": organisation,
            "name": name,
            "hours_zh": f"{begins} 至{_later_zh(days_later)} {ends}",
            "hours_en": f"from {begins} to {ends}{_later_en(days_later)}",
            "lasts": _hours(lasts),
            "days_zh": _days(days, "zh"),
            "days_en": _days(days, "en"),
        }
        yield Fault(code, ("rosters",), params, warning=True)


def _days(days: Iterable[datetime], language: str) -> str:
    return JOINED_BY[language].join(f"{WEEKDAYS[language][one.weekday()]} {one:%Y-%m-%d}" for one in days)


def _later_zh(days: int) -> str:
    return "" if days == 0 else "次日" if days == 1 else f" {days} 天后"


def _later_en(days: int) -> str:
    return "" if days == 0 else " of the next day" if days == 1 else f" {days} days later"


def _hours(lasts: timedelta) -> str:
    """Return 12, 38.5 or, where that is no short number, 1:13."""
    if lasts % timedelta(minutes=6) == timedelta():
        return f"{lasts / timedelta(hours=1):g}"
    minutes = lasts // timedelta(minutes=1)
    return f"{minutes // 60}:{minutes % 60:02}"
