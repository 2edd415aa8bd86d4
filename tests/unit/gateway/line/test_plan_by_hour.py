"""The plan as a page shows it: the lowest limit of each hour, and when another begins."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from gateway.line.plan import Hours, LinePlan

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAY_NINE = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # nine o'clock in Shanghai
CLINIC_HOURS = Hours(time(8, 30), time(17), weekdays=frozenset(range(5)), bytes_per_s=250_000.0)
PLAN = LinePlan(hours=(CLINIC_HOURS,), zone=SHANGHAI)
UNKNOWN = {"measured_bytes_per_s": None, "wished_bytes_per_s": None}


def test_hour_in_which_a_limit_begins_shows_it():
    limits = [one.bytes_per_s for one in PLAN.by_hour(MONDAY_NINE, SHANGHAI, **UNKNOWN)]
    assert limits == [None] * 8 + [250_000.0] * 9 + [None] * 7


def test_next_change_is_told_in_the_zone_of_the_plan():
    change = PLAN.next_change(MONDAY_NINE, **UNKNOWN)
    assert change is not None
    assert change[0] == datetime(2026, 3, 2, 17, 0, tzinfo=SHANGHAI)
    assert change[1].bytes_per_s is None


def test_next_change_after_a_weekend_is_found():
    friday_evening = datetime(2026, 3, 6, 18, 0, tzinfo=SHANGHAI)
    change = PLAN.next_change(friday_evening, **UNKNOWN)
    assert change is not None
    assert change[0] == datetime(2026, 3, 9, 8, 30, tzinfo=SHANGHAI)


def test_plan_without_hours_stays():
    assert LinePlan(zone=SHANGHAI).next_change(MONDAY_NINE, **UNKNOWN) is None
