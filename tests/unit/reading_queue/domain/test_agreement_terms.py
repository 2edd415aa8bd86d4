"""What two agreements may not both say, and what follows when one is changed from a day on."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.agreement_terms import find_overlapping, last_day_of, split_at, successor

TODAY = date(2026, 3, 2)
TERMS = {
    "requesting_organisation_id": "clinic",
    "assisting_organisation_id": "city",
    "stage": 1,
    "modalities": [],
    "body_regions": [],
    "services": ["interpretation"],
    "valid_from": date(2026, 1, 1),
    "valid_until": date(2026, 12, 31),
}


@pytest.mark.parametrize(
    ("change", "overlaps"),
    [
        ({}, True),
        ({"modalities": ["CT"], "valid_from": date(2026, 12, 31), "valid_until": date(2027, 1, 1)}, True),
        ({"body_regions": ["chest"]}, True),
        ({"body_regions": ["abdomen"]}, False),
        ({"valid_until": TODAY}, True),
        ({"valid_until": TODAY - timedelta(days=1)}, False),  # what was agreed until yesterday chooses nothing any more
        ({"stage": 2}, False),
        ({"assisting_organisation_id": "province"}, False),
        ({"services": ["consultation"]}, False),
        ({"valid_from": date(2027, 1, 1), "valid_until": date(2027, 12, 31)}, False),
    ],
)
def test_only_the_same_pair_stage_work_and_days_overlap(change: dict[str, object], overlaps: bool) -> None:
    terms = {**TERMS, "body_regions": ["CHEST"]}
    assert find_overlapping(terms, [("other", {**TERMS, **change})], TODAY) == ("other" if overlaps else None)


days = st.dates(date(2026, 1, 1), date(2027, 6, 1))


@given(days, days)
def test_no_day_is_lost_and_none_has_two_terms_when_terms_change_from_a_day_on(from_day: date, day: date) -> None:
    after = {**TERMS, "stage": 2, "valid_until": date(2028, 1, 1)}
    rest, following = split_at(TERMS, after, from_day, TODAY)
    in_force = [
        one["stage"] for one in (rest, following) if one is not None and one["valid_from"] <= day <= one["valid_until"]
    ]
    if from_day <= TODAY:
        assert (rest, following) == (None, after), "at once"
    elif day < from_day and day <= TERMS["valid_until"]:
        assert in_force == [1]
    elif day >= from_day:
        assert in_force == [2]


def test_what_has_not_begun_never_comes_in_force_when_it_ends() -> None:
    assert last_day_of(TERMS, TODAY) == TODAY
    later = {**TERMS, "valid_from": TODAY + timedelta(days=9)}
    assert last_day_of(later, TODAY) == TODAY + timedelta(days=8)


def test_terms_that_follow_get_the_next_free_id() -> None:
    assert successor("first:clinic", {"first:clinic"}) == "first-v2:clinic"
    assert successor("first-v2:clinic", {"first:clinic", "first-v2:clinic"}) == "first-v3:clinic"
    assert successor("first", {"first"}) == "first-v2"
