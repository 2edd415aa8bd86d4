"""Arrivals share a study's directory, a move has it alone, and neither waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from gateway.spool.turns import Turns
from tests.support.waiting import eventually


def test_arrivals_are_there_at_the_same_moment() -> None:
    turns, together = Turns(), threading.Barrier(2)

    def arrive() -> None:
        with turns.shared():
            together.wait(60)

    with ThreadPoolExecutor(2) as pool:
        for arriving in [pool.submit(arrive) for _ in range(2)]:
            arriving.result()


def test_move_waits_for_arrivals_under_way_and_goes_before_later_ones() -> None:
    turns, order, may_end = Turns(), list[str](), threading.Event()

    def first() -> None:
        with turns.shared():
            assert may_end.wait(60)
            order.append("first arrival")

    def move() -> None:
        with turns.alone(), turns.alone():
            order.append("move")

    def second() -> None:
        with turns.shared():
            order.append("second arrival")

    def is_there(arriving: int, waiting: int) -> None:
        assert (turns._arriving, turns._movers_waiting) == (arriving, waiting)

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(first)]
        eventually(lambda: is_there(1, 0))
        threads.append(pool.submit(move))
        eventually(lambda: is_there(1, 1))
        threads.append(pool.submit(second))
        may_end.set()
        for thread in threads:
            thread.result()
    assert order == ["first arrival", "move", "second arrival"]
