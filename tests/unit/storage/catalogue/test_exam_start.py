"""The start of an exam is believed where it can be true, and never made up."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from storage.catalogue.exam_start import find_exam_start

RECEIVED = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # nine o'clock in Shanghai
TODAY = date(2026, 3, 2)


def start(study_date: date | None, study_time: str, timezone_offset: str = "") -> datetime | None:
    return find_exam_start(
        study_date,
        study_time,
        timezone_offset=timezone_offset,
        site_time_zone="Asia/Shanghai",
        first_received_at=RECEIVED,
    )


@pytest.mark.parametrize("text", ["0855", "085500", "085500.123456", "08:55:00", " 085500 "])
def test_time_is_read_in_the_sites_zone_however_it_is_written(text: str) -> None:
    assert start(TODAY, text) == datetime(2026, 3, 2, 0, 55, tzinfo=UTC)


def test_offset_of_the_object_wins_over_the_sites_zone() -> None:
    assert start(TODAY, "0055", "+0000") == datetime(2026, 3, 2, 0, 55, tzinfo=UTC)
    assert start(date(2026, 3, 1), "195500", "-0500") == datetime(2026, 3, 2, 0, 55, tzinfo=UTC)


def test_leap_second_is_the_last_second() -> None:
    assert start(TODAY, "085560") == datetime(2026, 3, 2, 0, 55, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("study_date", "study_time"),
    [
        (None, "0855"),
        (TODAY, ""),
        (TODAY, "8:55"),
        (TODAY, "2500"),
        (date(1997, 4, 24), "0855"),
        (date(2026, 2, 22), "0855"),
        (TODAY, "1001"),
        (date(2026, 3, 3), "0000"),
    ],
)
def test_missing_illegal_and_implausible_starts_are_none(study_date: date | None, study_time: str) -> None:
    assert start(study_date, study_time) is None


def test_exam_of_a_week_ago_and_a_clock_a_little_ahead_are_plausible() -> None:
    assert start(date(2026, 2, 23), "0900") is not None
    assert start(TODAY, "1000") is not None
