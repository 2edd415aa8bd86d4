"""Values of a query by the rules of their kind."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dicomweb.errors import BadQuery
from storage.dicomweb.searching.values import (
    LIST_MAX,
    WILDCARDS_MAX,
    Range,
    escaped,
    like_pattern,
    parse_dates,
    parse_number,
    parse_times,
    parse_uids,
    split_list,
)


def test_list_of_uids_stands_between_backslashes_or_commas() -> None:
    assert parse_uids("1.2,1.3\\1.4", "StudyInstanceUID") == ["1.2", "1.3", "1.4"]
    assert parse_uids("1.2,", "StudyInstanceUID") == ["1.2"]


@pytest.mark.parametrize("text", [",", "1.2,x", "../..", "1" * 65, "1.2,*", ",".join(["1"] * (LIST_MAX + 1))])
def test_list_with_what_is_no_uid_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_uids(text, "StudyInstanceUID")


def test_list_of_words() -> None:
    assert split_list("CT\\MR, DX", "ModalitiesInStudy") == ["CT", "MR", "DX"]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("20260301", Range(date(2026, 3, 1), date(2026, 3, 1))),
        ("20260201-20260301", Range(date(2026, 2, 1), date(2026, 3, 1))),
        ("20260301-", Range(date(2026, 3, 1), None)),
        ("-20260301", Range(None, date(2026, 3, 1))),
    ],
)
def test_dates(text: str, days: Range[date]) -> None:
    assert parse_dates(text, "StudyDate") == days


@pytest.mark.parametrize("text", ["-", "2026", "20260230", "00000101", "2026-03-01", "20260301-x", "２０２６０３０１"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_dates(text, "StudyDate")


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("083000", Range("083000", "083000.999999")),
        ("0830", Range("083000", "083060.999999")),
        ("08", Range("080000", "085960.999999")),
        ("0800-0830", Range("080000", "083060.999999")),
        ("083000.5-", Range("083000.5", None)),
        ("-083000.5", Range(None, "083000.599999")),
        ("083000.00-", Range("083000", None)),
        ("083000.50-", Range("083000.5", None)),
    ],
)
def test_times(text: str, times: Range[str]) -> None:
    assert parse_times(text, "StudyTime") == times


@pytest.mark.parametrize("text", ["-", "8", "0860", "24", "0830.5", "08:30", "now", "083000."])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_times(text, "StudyTime")


@given(st.times(), st.times(), st.integers(0, 6), st.sampled_from([2, 4, 6]))
def test_bounds_of_a_time_order_as_times_do(one: object, other: object, digits: int, length: int) -> None:
    """A time lies in the range from itself on, however short it is written, and before a later one never after it."""
    asked, held = f"{one:%H%M%S}"[:length], f"{other:%H%M%S.%f}"[: 7 + digits].rstrip(".")
    times = parse_times(asked, "StudyTime")
    assert times.first is not None
    assert times.last is not None
    inside = times.first <= held <= times.last
    assert inside == (held[:length] == asked)


def test_number() -> None:
    assert parse_number("-3", "SeriesNumber") == -3
    for text in ("x", "1.5", "9" * 11, "１"):
        with pytest.raises(BadQuery):
            parse_number(text, "SeriesNumber")


def test_only_wildcards_make_a_pattern() -> None:
    assert like_pattern("100%_\\") is None
    assert like_pattern("1?0%_*\\") == "1_0\\%\\_%\\\\"
    assert escaped("50%") == "50\\%"


def test_too_many_wildcards_are_refused() -> None:
    with pytest.raises(BadQuery):
        like_pattern("?" * (WILDCARDS_MAX + 1))
