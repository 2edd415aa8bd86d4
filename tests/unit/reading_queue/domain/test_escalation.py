"""What the running clock asks for, and when it is looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.escalation import (
    WHILE_UNTAKEN,
    Clock,
    Escalation,
    next_look,
    stages_widened,
    steps_reached,
)

BEGAN = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
minutes = st.integers(-600, 6000)
clocks = st.builds(
    Clock, st.just(BEGAN), st.integers(1, 3000).map(lambda minute: BEGAN + timedelta(minutes=minute)), st.booleans()
)


def at(minute: int) -> datetime:
    return BEGAN + timedelta(minutes=minute)


def test_each_third_of_the_limit_asks_for_more():
    clock = Clock(BEGAN, at(90), taken=False)
    assert [steps_reached(clock, at(minute)) for minute in (29, 30, 60, 90)] == [
        [],
        [Escalation.WIDENED],
        [Escalation.WIDENED, Escalation.TWO_THIRDS],
        [Escalation.WIDENED, Escalation.TWO_THIRDS, Escalation.BREACHED],
    ]
    assert [next_look(clock, at(minute)) for minute in (0, 30, 60, 90)] == [at(30), at(60), at(90), None]


def test_what_somebody_reads_is_only_late_once_it_is_late():
    clock = Clock(BEGAN, at(90), taken=True)
    assert steps_reached(clock, at(89)) == []
    assert next_look(clock, at(0)) == at(90)
    assert steps_reached(clock, at(90)) == [Escalation.BREACHED]


@given(clocks, minutes, minutes)
def test_time_never_takes_a_step_back(clock: Clock, one: int, other: int):
    earlier, later = sorted((one, other))
    before, after = steps_reached(clock, at(earlier)), steps_reached(clock, at(later))
    assert after[: len(before)] == before
    assert stages_widened(clock, at(earlier)) <= stages_widened(clock, at(later))


@given(clocks, minutes)
def test_between_two_looks_nothing_is_reached(clock: Clock, minute: int):
    now = at(minute)
    look = next_look(clock, now)
    if look is None:
        assert Escalation.BREACHED in steps_reached(clock, now)
        return
    assert look > now
    assert steps_reached(clock, look - timedelta(microseconds=1)) == steps_reached(clock, now)
    assert len(steps_reached(clock, look)) > len(steps_reached(clock, now))


@given(clocks, minutes)
def test_a_taken_case_is_offered_to_nobody_further(clock: Clock, minute: int):
    if clock.taken:
        assert not WHILE_UNTAKEN & set(steps_reached(clock, at(minute)))
