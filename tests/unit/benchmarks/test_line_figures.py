from __future__ import annotations

from typing import Any

from tests.benchmarks.clinic import Resent, event_time, resent_after


def event(seconds: float, pack: str, part: int | None = None) -> dict[str, Any]:
    return {"timestamp": f"1970-01-01T00:00:{seconds:09.6f}Z", "pack_sha256": pack, "part": part}


UPLOADED = [event(3, "a"), event(9, "b"), event(9, "c")]


def test_packs_in_flight_that_are_begun_again_cost_one_each() -> None:
    begun = [event(1, "a"), event(2, "b"), event(3, "c"), event(6, "b"), event(6, "c"), event(7, "d")]
    assert resent_after(5, begun, UPLOADED) == Resent(in_flight=2, again=2, others_again=0)
    assert resent_after(5, begun, UPLOADED).per_stream == 1


def test_pack_that_was_through_is_never_lost_in_the_count() -> None:
    begun = [event(1, "a"), event(2, "b"), event(3, "c"), event(6, "b"), event(6, "a")]
    resent = resent_after(5, begun, UPLOADED)
    assert resent == Resent(in_flight=2, again=1, others_again=1)
    assert resent.per_stream > 1


def test_pack_that_is_begun_twice_more_counts_twice() -> None:
    begun = [event(1, "b"), event(6, "b"), event(7, "b")]
    assert resent_after(5, begun, []).per_stream == 2
    assert resent_after(5, [event(6, "d"), event(7, "d")], []) == Resent(0, 0, 1)


def test_parts_of_one_pack_are_told_apart() -> None:
    begun = [event(1, "a", 1), event(2, "a", 2), event(6, "a", 2)]
    assert resent_after(5, begun, [event(2, "a", 1)]) == Resent(in_flight=1, again=1, others_again=0)


def test_cut_between_two_packs_costs_nothing() -> None:
    assert resent_after(5, [event(1, "a"), event(6, "b")], [event(2, "a")]).per_stream == 0


def test_time_of_a_log_event_is_utc() -> None:
    assert event_time({"timestamp": "1970-01-01T00:00:01.5Z"}) == 1.5
