"""How long images are kept, by how the patient came and when they last did."""

from __future__ import annotations

from datetime import date

import pytest

from reading_queue.domain.retention import (
    Facts,
    RetentionClass,
    Rules,
    WhyKept,
    class_of,
    find_obstacle,
    keep_until,
)

VISIT = date(2026, 3, 2)


def facts(*kinds: str, last_visit: date = VISIT, is_held: bool = False, is_being_read: bool = False) -> Facts:
    return Facts(frozenset(kinds), last_visit, is_held, is_being_read)


@pytest.mark.parametrize(
    ("kinds", "expected", "years"),
    [
        (("O",), RetentionClass.OUTPATIENT, 15),
        (("E",), RetentionClass.EMERGENCY, 15),
        (("I",), RetentionClass.INPATIENT, 30),
        ((), RetentionClass.UNKNOWN, 30),
        (("O", "I"), RetentionClass.INPATIENT, 30),
        (("?",), RetentionClass.UNKNOWN, 30),
    ],
)
def test_class_of_the_orders_decides_for_how_long(kinds: tuple[str, ...], expected: RetentionClass, years: int) -> None:
    assert class_of(kinds) is expected
    assert keep_until(facts(*kinds), Rules()) == date(2026 + years, 3, 2)


def test_study_is_kept_to_the_last_day_and_no_hold_or_reading_is_overruled() -> None:
    last, after = date(2041, 3, 1), date(2041, 3, 2)
    assert find_obstacle(facts("O"), last, Rules()) is WhyKept.NOT_DUE
    assert find_obstacle(facts("O"), after, Rules()) is None
    assert find_obstacle(facts("I"), after, Rules()) is WhyKept.NOT_DUE
    assert find_obstacle(facts("O", is_held=True), after, Rules()) is WhyKept.HELD
    assert find_obstacle(facts("O", is_being_read=True), after, Rules()) is WhyKept.BEING_READ


def test_leap_day_is_kept_to_its_end() -> None:
    assert keep_until(facts("O", last_visit=date(2024, 2, 29)), Rules()) == date(2039, 3, 1)


def test_rules_may_be_longer_than_the_law_and_never_shorter() -> None:
    assert keep_until(facts("O"), Rules(outpatient_years=20)) == date(2046, 3, 2)
    for short in ({"outpatient_years": 14}, {"inpatient_years": 29}):
        with pytest.raises(ValueError, match="at least"):
            Rules(**short)
