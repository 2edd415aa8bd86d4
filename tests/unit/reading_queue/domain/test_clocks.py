"""The two clocks of a case: gross, and net of what it waited for its site."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.clocks import COUNTS_GROSS, moved_limit, standing
from storage.contract.lanes import Lane

BEGAN = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
minutes = st.integers(0, 3000).map(lambda value: timedelta(minutes=value))


def hours(value: float) -> timedelta:
    return timedelta(hours=value)


def test_a_routine_case_is_late_by_its_net_clock_and_the_gross_one_says_what_the_patient_waited():
    due_at = moved_limit(BEGAN + hours(4), Lane.ROUTINE, hours(2))
    stands = standing(BEGAN, BEGAN + hours(7), due_at, Lane.ROUTINE, (hours(2), hours(0.5)))
    assert (stands.gross, stands.net, stands.counts_gross) == (hours(7), hours(4.5), False)
    assert (stands.gross_late_by, stands.net_late_by) == (hours(3), hours(0.5))


def test_an_emergency_is_late_by_its_gross_clock_whatever_it_waited_for():
    due_at = moved_limit(BEGAN + hours(1), Lane.STAT, hours(2))
    stands = standing(BEGAN, BEGAN + hours(2), due_at, Lane.STAT, (hours(2), timedelta()))
    assert (stands.gross_late_by, stands.net_late_by, stands.counts_gross) == (hours(1), None, True)


def test_without_a_limit_nothing_is_late():
    stands = standing(BEGAN, BEGAN + hours(9), None, Lane.ROUTINE, (timedelta(), timedelta()))
    assert (stands.gross_late_by, stands.net_late_by) == (None, None)


@given(minutes, minutes, minutes, minutes, st.sampled_from(Lane))
def test_the_net_clock_is_never_further_than_the_gross_one(
    took: timedelta, limit: timedelta, over: timedelta, still_open: timedelta, lane: Lane
):
    due_at = moved_limit(BEGAN + limit, lane, over)
    stands = standing(BEGAN, BEGAN + took, due_at, lane, (over, still_open))
    assert timedelta() <= stands.net <= stands.gross == took
    assert (stands.net_late_by or timedelta()) <= (stands.gross_late_by or timedelta())
    assert stands.gross_late_by == (took - limit if took > limit else None)
    assert stands.counts_gross == (lane in COUNTS_GROSS)
