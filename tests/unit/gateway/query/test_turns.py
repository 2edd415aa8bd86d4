"""Few retrievals at once, in the order of their rank; who no longer waits gets no turn."""

from __future__ import annotations

import threading

from gateway.query.turns import Turns
from tests.support.waiting import eventually


def test_the_urgent_go_first_and_never_more_at_once_than_there_are_places() -> None:
    turns = Turns(1)
    order: list[int] = []
    held, go = threading.Event(), threading.Event()
    asked: set[int] = set()

    def first() -> None:
        with turns.taken(1, lambda: True):
            held.set()
            assert go.wait(60)

    def later(rank: int) -> None:
        def goes_on() -> bool:
            asked.add(rank)
            return True

        with turns.taken(rank, goes_on) as has_turn:
            assert has_turn
            order.append(rank)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert held.wait(60)
    for rank in (2, 1, 0):
        threads.append(threading.Thread(target=later, args=(rank,)))
        threads[-1].start()
    eventually(lambda: _equal(asked, {0, 1, 2}))
    assert order == []
    go.set()
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2]


def test_who_no_longer_waits_gets_no_turn_and_takes_none() -> None:
    turns = Turns(1)
    with turns.taken(0, lambda: True) as first:
        assert first
        with turns.taken(0, lambda: False) as second:
            assert not second
    with turns.taken(0, lambda: False) as third:
        assert third


def _equal(found: object, wanted: object) -> None:
    assert found == wanted
