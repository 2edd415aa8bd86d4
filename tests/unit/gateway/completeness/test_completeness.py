"""When a study counts as complete."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completeness import Complete, Patience, StudyEvents, WaitUntil, decide
from storage.contract.manifest import Because

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
PATIENCE = Patience(quiet_period_s=30, open_association_max_s=600, open_step_max_s=1800, missing_instances_max_s=300)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


ARRIVED = StudyEvents(received=10, last_received_at=NOON)


@pytest.mark.parametrize(
    ("events", "now", "decision"),
    [
        (ARRIVED, at(0), WaitUntil(at(30))),
        (ARRIVED, at(29.9), WaitUntil(at(30))),
        (ARRIVED, at(30), Complete(Because.QUIET_PERIOD)),
        (replace(ARRIVED, association_closed_at=at(20)), at(30), WaitUntil(at(50))),
        (replace(ARRIVED, association_closed_at=at(-20)), at(30), Complete(Because.QUIET_PERIOD)),
        (replace(ARRIVED, association_open=True), at(31), WaitUntil(at(600))),
        (replace(ARRIVED, association_open=True, association_closed_at=at(5)), at(40), WaitUntil(at(600))),
        (replace(ARRIVED, association_open=True), at(600), Complete(Because.ASSOCIATION_STAYED_OPEN)),
        (replace(ARRIVED, expected=10), at(0), Complete(Because.EXPECTED_COUNT)),
        (replace(ARRIVED, expected=10, association_open=True), at(0), Complete(Because.EXPECTED_COUNT)),
        (replace(ARRIVED, expected=11), at(30), WaitUntil(at(300))),
        (replace(ARRIVED, expected=11, association_closed_at=at(10)), at(300), WaitUntil(at(310))),
        (replace(ARRIVED, expected=11), at(300), Complete(Because.INSTANCES_MISSING)),
        (replace(ARRIVED, step_began_at=at(-900)), at(600), WaitUntil(at(1800))),
        (replace(ARRIVED, step_began_at=at(100)), at(600), WaitUntil(at(1900))),
        (replace(ARRIVED, step_began_at=at(-900), expected=10), at(600), WaitUntil(at(1800))),
        (replace(ARRIVED, step_began_at=at(-900), association_open=True), at(600), WaitUntil(at(1800))),
        (replace(ARRIVED, step_began_at=at(-900)), at(1800), Complete(Because.STEP_STAYED_OPEN)),
        (replace(ARRIVED, step_began_at=at(-900), forced=True), at(0), Complete(Because.FORCED)),
        (replace(ARRIVED, forced=True, association_open=True), at(0), Complete(Because.FORCED)),
        (ARRIVED, at(-10), WaitUntil(at(30))),
        (ARRIVED, at(-86400), Complete(Because.CLOCK_SET_BACK)),
    ],
)
def test_decision_follows_the_table(events: StudyEvents, now: datetime, decision: Complete | WaitUntil) -> None:
    assert decide(events, now, PATIENCE) == decision


def test_stat_study_waits_less_for_a_step_and_never_longer() -> None:
    held = replace(ARRIVED, step_began_at=at(0))
    assert decide(held, at(299), PATIENCE.for_stat()) == WaitUntil(at(300))
    assert replace(PATIENCE, open_step_max_s=60).for_stat().open_step_max_s == 60


seconds = st.floats(min_value=-1e6, max_value=1e6)
studies = st.builds(
    StudyEvents,
    received=st.integers(1, 1000),
    last_received_at=seconds.map(at),
    association_open=st.booleans(),
    association_closed_at=st.none() | seconds.map(at),
    expected=st.none() | st.integers(1, 1000),
    step_began_at=st.none() | seconds.map(at),
    forced=st.booleans(),
)
patiences = st.builds(
    Patience,
    quiet_period_s=st.floats(min_value=0, max_value=3600),
    open_association_max_s=st.floats(min_value=0, max_value=7200),
    open_step_max_s=st.floats(min_value=0, max_value=7200),
    missing_instances_max_s=st.floats(min_value=0, max_value=7200),
)


@given(studies, seconds.map(at), patiences)
def test_asking_again_at_the_named_time_always_ends_the_wait(
    events: StudyEvents, now: datetime, patience: Patience
) -> None:
    decision = decide(events, now, patience)
    if isinstance(decision, WaitUntil):
        assert decision.at > now
        assert isinstance(decide(events, decision.at, patience), Complete)


@given(studies, seconds.map(at), patiences)
def test_nobody_waits_longer_than_twice_the_longer_patience(
    events: StudyEvents, now: datetime, patience: Patience
) -> None:
    decision = decide(events, now, patience)
    if isinstance(decision, WaitUntil):
        longest = max(asdict(patience).values())
        assert (decision.at - now).total_seconds() <= 2 * longest + 1e-5


@given(studies, seconds.map(at), patiences)
def test_a_study_is_never_complete_by_silence_before_the_quiet_period(
    events: StudyEvents, now: datetime, patience: Patience
) -> None:
    if decide(events, now, patience) == Complete(Because.QUIET_PERIOD):
        assert not events.association_open
        assert now - events.last_received_at >= timedelta(seconds=patience.quiet_period_s) - timedelta(microseconds=1)


@given(studies, seconds.map(at), patiences)
def test_force_wins_over_everything(events: StudyEvents, now: datetime, patience: Patience) -> None:
    assert decide(replace(events, forced=True), now, patience) == Complete(Because.FORCED)
