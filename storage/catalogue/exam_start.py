"""When an exam began, from what the scanner wrote and where it stands. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

EARLIEST_BEFORE_RECEIPT: Final = timedelta(days=7)  # older exams are sent too, but say nothing about today's clock
LATEST_AFTER_RECEIPT: Final = timedelta(hours=1)  # a scanner's clock may be a little ahead

_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.\d{1,6})?)?)?")
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)")


def find_exam_start(
    study_date: date | None,
    study_time: str,
    *,
    timezone_offset: str,
    site_time_zone: str,
    first_received_at: datetime,
) -> datetime | None:
    """Return the start of the exam, None when it is missing, no time of day, or implausible.

    `timezone_offset` is (0008,0201); without it the site's time zone counts. Plausible is what lies close enough to the
    receipt of the first instance: a scanner with a reset clock must not start a clock that people are measured by.
    """
    match = _TIME.fullmatch(study_time.strip())
    if study_date is None or match is None:
        return None
    try:
        of_day = time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59))  # 60 is a leap second
    except ValueError:
        return None
    zone = _find_offset(timezone_offset) or ZoneInfo(site_time_zone)
    started_at = datetime.combine(study_date, of_day, zone)
    if not -EARLIEST_BEFORE_RECEIPT <= started_at - first_received_at <= LATEST_AFTER_RECEIPT:
        return None
    return started_at


def _find_offset(text: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if offset >= timedelta(hours=15):
        return None
    return timezone(-offset if match[1] == "-" else offset)
