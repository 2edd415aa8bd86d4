from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import DELAY_MAX_S, FIRST_DELAY_S, OLD_DELAY_FACTOR, delay_s

FRESH = timedelta(0)


def test_first_attempt_waits_for_nothing() -> None:
    assert delay_s(0, FRESH, 0.5) == 0.0


def test_delays_double_until_the_clamp() -> None:
    delays = [delay_s(n, FRESH, 1.0) for n in range(1, 12)]
    assert delays[:3] == [FIRST_DELAY_S, FIRST_DELAY_S * 2, FIRST_DELAY_S * 4]
    assert delays[-1] == DELAY_MAX_S


def test_what_waited_for_half_a_day_waits_longer() -> None:
    assert delay_s(1000, timedelta(hours=13), 1.0) == DELAY_MAX_S * OLD_DELAY_FACTOR


@given(st.integers(0, 10**9), st.timedeltas(FRESH, timedelta(days=3650)), st.floats(0, 1))
def test_delay_is_bounded_for_days_of_failures(attempts: int, in_queue: timedelta, jitter: float) -> None:
    assert 0 <= delay_s(attempts, in_queue, jitter) <= DELAY_MAX_S * OLD_DELAY_FACTOR
