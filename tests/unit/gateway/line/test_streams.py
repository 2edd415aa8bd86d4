from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from gateway.line.streams import REST_MAX_S, Choice, after_sample

SAMPLE_S = 3.0


def settle(line: Callable[[int], float], *, streams_max: int = 8, start: int = 2, samples: int = 60) -> list[int]:
    """Return the number of streams at each sample of a line that carries `line(streams)`."""
    choice, found = Choice(streams=start), []
    for count in range(samples):
        choice = after_sample(choice, line(choice.streams), count * SAMPLE_S, streams_max=streams_max)
        found.append(choice.streams)
    return found


def lossy(streams: int) -> float:
    """A line of 20 Mbit/s and 80 ms on which one stream in the wait for a lost segment leaves room for others."""
    return 2_500_000 * [0, 0.594, 0.878, 0.973, 0.996, 1, 1, 1, 1][streams]


def most(found: list[int]) -> int:
    return max(set(found), key=found.count)


def test_slow_line_is_filled_by_one_stream() -> None:
    assert most(settle(lambda _: 50_000)) == 1


def test_lossy_line_gets_as_many_streams_as_fill_it() -> None:
    assert most(settle(lossy)) == 3
    assert most(settle(lossy, start=1)) == 3
    assert most(settle(lossy, start=8)) in (3, 4)


def test_long_line_gets_all_streams_that_are_allowed() -> None:
    assert most(settle(lambda streams: 100_000 * streams, streams_max=6)) == 6


@pytest.mark.parametrize("streams_max", [1, 2, 6])
def test_streams_stay_between_one_and_the_most_allowed(streams_max: int) -> None:
    for line in (lossy, lambda _: 50_000.0, lambda streams: 100_000.0 * streams):
        assert all(1 <= streams <= streams_max for streams in settle(line, streams_max=streams_max)[1:])


def test_trials_become_rare_on_a_line_that_stays_as_it_is() -> None:
    found = settle(lossy, samples=1000)
    trials = sum(1 for one, other in itertools.pairwise(found[200:]) if one != other)
    assert trials <= 2 * 800 * SAMPLE_S / REST_MAX_S + 2


def test_line_that_becomes_better_is_found_out() -> None:
    choice = Choice(streams=1)
    for count in range(30):
        choice = after_sample(choice, 50_000, count * SAMPLE_S, streams_max=8)
    for count in range(30, 400):
        choice = after_sample(choice, lossy(choice.streams), count * SAMPLE_S, streams_max=8)
    assert choice.streams >= 3
