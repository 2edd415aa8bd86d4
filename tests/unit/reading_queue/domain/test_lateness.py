"""Where the time of a case went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.lateness import Span, Spent, spans_of

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)


def at(minutes: float | None) -> datetime | None:
    return None if minutes is None else BEGIN + timedelta(minutes=minutes)


def test_each_span_lasts_from_one_moment_to_the_next() -> None:
    moments = [at(minutes) for minutes in (0, 5, 15, 16, 46, 60, 70)]
    assert spans_of(moments, BEGIN) == [
        Spent(span, timedelta(minutes=minutes)) for span, minutes in zip(Span, (5, 10, 1, 30, 14, 10), strict=True)
    ]


def test_the_span_that_lasts_is_counted_until_now() -> None:
    moments = [at(0), at(5), at(15), None, None, None, None]
    found = spans_of(moments, BEGIN + timedelta(minutes=75))
    assert found[-1] == Spent(Span.TO_OFFER, timedelta(minutes=60), is_open=True)


def test_what_is_not_known_goes_into_the_span_after_it() -> None:
    moments = [None, at(5), None, at(20), at(30), None, None]
    found = spans_of(moments, BEGIN + timedelta(minutes=40))
    assert found == [
        Spent(Span.TO_ARRIVE, timedelta()),
        Spent(Span.TO_OFFER, timedelta(minutes=15)),
        Spent(Span.TO_CLAIM, timedelta(minutes=10)),
        Spent(Span.TO_WRITE, timedelta(minutes=10), is_open=True),
    ]


@given(st.lists(st.none() | st.integers(0, 600), min_size=7, max_size=7))
def test_no_time_is_lost_or_counted_twice(minutes: list[int | None]) -> None:
    moments, now = [at(one) for one in minutes], BEGIN + timedelta(minutes=600)
    known = [moment for moment in moments if moment is not None]
    whole = sum((one.lasted for one in spans_of(moments, now)), timedelta())
    end = max(known) if moments[-1] is not None else now
    assert whole == (end - known[0] if known else timedelta())
