"""Who is on duty when: nights cross midnight, days off remove, overlaps merge, and every minute is duty or a gap."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.roster import Roster, Shift, gaps, merged

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAY = date(2026, 3, 2)
NIGHT = Shift(time(20), time(8))

clock_times = st.builds(time, st.integers(0, 23), st.sampled_from((0, 30)))
shifts = st.builds(Shift, clock_times, clock_times)
days = st.integers(0, 6).map(lambda number: MONDAY + timedelta(days=number))
rosters = st.builds(
    Roster,
    weekly=st.lists(st.tuples(st.integers(0, 6), shifts), max_size=5).map(tuple),
    days_off=st.frozensets(days, max_size=3),
    extra=st.lists(st.tuples(days, shifts), max_size=3).map(tuple),
)


def local(day: int, hour: int) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=SHANGHAI)


def test_night_of_monday_ends_on_tuesday() -> None:
    assert Roster(weekly=((0, NIGHT),)).periods(SHANGHAI, MONDAY, 7) == [(local(2, 20), local(3, 8))]


def test_day_off_takes_the_night_that_begins_on_it_and_no_other() -> None:
    nights = Roster(weekly=((0, NIGHT), (1, NIGHT)), days_off=frozenset({MONDAY + timedelta(days=1)}))
    assert nights.periods(SHANGHAI, MONDAY, 7) == [(local(2, 20), local(3, 8))]


def test_extra_shift_stands_on_a_day_off() -> None:
    swapped = Roster(weekly=((0, NIGHT),), days_off=frozenset({MONDAY}), extra=((MONDAY, Shift(time(8), time(12))),))
    assert swapped.periods(SHANGHAI, MONDAY, 7) == [(local(2, 8), local(2, 12))]


def expected_on_duty(roster: Roster, moment: datetime) -> bool:
    """Say it anew, from the local clock alone: a shift of today, or one of yesterday that ran past midnight."""
    clock = moment.astimezone(SHANGHAI)
    for day, begins_today in ((clock.date(), True), (clock.date() - timedelta(days=1), False)):
        of_day = [] if day in roster.days_off else [one for weekday, one in roster.weekly if weekday == day.weekday()]
        of_day += [one for its_day, one in roster.extra if its_day == day]
        for shift in of_day:
            night = shift.ends <= shift.starts
            if begins_today and shift.starts <= clock.time() and (night or clock.time() < shift.ends):
                return True
            if not begins_today and night and clock.time() < shift.ends:
                return True
    return False


@given(rosters, st.integers(24 * 4, 24 * 4 * 6))
def test_every_quarter_of_an_hour_agrees_with_the_local_clock(roster: Roster, quarter: int) -> None:
    moment = datetime.combine(MONDAY, time(), SHANGHAI) + timedelta(minutes=15 * quarter)
    periods = roster.periods(SHANGHAI, MONDAY - timedelta(days=1), 9)
    assert any(start <= moment < end for start, end in periods) == expected_on_duty(roster, moment)


@given(st.lists(rosters, max_size=4))
def test_duty_and_gaps_share_the_week_without_rest_or_overlap(several: list[Roster]) -> None:
    begin = datetime.combine(MONDAY, time(), SHANGHAI).astimezone(UTC)
    end = begin + timedelta(days=7)
    on_duty = [period for roster in several for period in roster.periods(SHANGHAI, MONDAY, 7)]
    within = [(max(start, begin), min(stop, end)) for start, stop in on_duty]
    open_hours = gaps(on_duty, begin, end)
    covered, uncovered = (sum((b - a for a, b in some), timedelta()) for some in (merged(within), open_hours))
    assert covered + uncovered == end - begin
    assert merged([*within, *open_hours]) == [(begin, end)]
    assert not any(a < stop and start < b for a, b in within for start, stop in open_hours)
