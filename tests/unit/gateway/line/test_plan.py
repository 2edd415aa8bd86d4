from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from gateway.line.plan import Hours, Limits, LinePlan
from storage.contract.lanes import Lane

SHANGHAI = ZoneInfo("Asia/Shanghai")
WORK = Hours(time(8), time(18), frozenset(range(5)), bytes_per_s=250_000)
NIGHT = Hours(time(22), time(6), frozenset({4}), bytes_per_s=1_000_000)  # the night from Friday to Saturday


def limits(plan: LinePlan, now: datetime, **changes: object) -> Limits:
    given = {"measured_bytes_per_s": None, "wished_bytes_per_s": None, "paused": False} | changes
    return plan.limits_at(now, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("local", "hold"),
    [
        ((2026, 3, 2, 8, 0), True),  # a Monday
        ((2026, 3, 2, 7, 59, 59), False),
        ((2026, 3, 2, 17, 59), True),
        ((2026, 3, 2, 18, 0), False),
        ((2026, 3, 7, 12, 0), False),  # a Saturday
    ],
)
def test_hours_hold_from_their_beginning_to_before_their_end(local: tuple[int, ...], hold: bool) -> None:
    assert WORK.hold(datetime(*local, tzinfo=SHANGHAI)) is hold


@pytest.mark.parametrize(
    ("local", "hold"),
    [
        ((2026, 3, 6, 22, 0), True),  # Friday evening
        ((2026, 3, 7, 5, 59), True),  # Saturday morning
        ((2026, 3, 7, 6, 0), False),
        ((2026, 3, 6, 5, 0), False),  # Friday morning belongs to Thursday's night
        ((2026, 3, 7, 23, 0), False),
    ],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_begin(local: tuple[int, ...], hold: bool) -> None:
    assert NIGHT.hold(datetime(*local, tzinfo=SHANGHAI)) is hold


def test_plan_speaks_of_the_clinics_own_time() -> None:
    plan = LinePlan((WORK,), zone=SHANGHAI)
    assert limits(plan, datetime(2026, 3, 2, 0, 30, tzinfo=UTC)).bytes_per_s == 250_000  # 08:30 there
    assert limits(plan, datetime(2026, 3, 2, 10, 30, tzinfo=UTC)).bytes_per_s is None  # 18:30 there


def test_lower_of_two_limits_counts() -> None:
    plan = LinePlan((WORK,), zone=UTC)
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert limits(plan, noon, wished_bytes_per_s=100_000.0).bytes_per_s == 100_000
    assert limits(plan, noon, wished_bytes_per_s=900_000.0).bytes_per_s == 250_000
    assert limits(LinePlan(), noon, wished_bytes_per_s=900_000.0).bytes_per_s == 900_000


def test_share_is_of_the_measured_line_and_no_limit_before_it_was_measured() -> None:
    plan = LinePlan((Hours(time(0), time(0), share=0.5),), zone=UTC)
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert limits(plan, now).bytes_per_s is None
    assert limits(plan, now, measured_bytes_per_s=2_000_000.0).bytes_per_s == 1_000_000


def test_exempt_lane_has_the_whole_line_and_lanes_keep_their_hours() -> None:
    quiet = Hours(time(0), time(0), bytes_per_s=100_000, lanes=frozenset({Lane.STAT, Lane.URGENT}))
    found = limits(LinePlan((quiet,), zone=UTC), datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert found.of(Lane.STAT) is None
    assert found.of(Lane.URGENT) == 100_000
    assert found.allow(Lane.URGENT)
    assert not found.allow(Lane.BACKGROUND)


def test_pause_stops_every_lane() -> None:
    found = limits(LinePlan(), datetime(2026, 3, 2, 12, tzinfo=UTC), paused=True)
    assert not any(found.allow(lane) for lane in Lane)
