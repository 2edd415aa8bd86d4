"""A loop's thread: woken often, it works once."""

from __future__ import annotations

import threading

from gateway.loops import Loop
from tests.support.waiting import eventually


def test_what_comes_at_nearly_the_same_time_is_one_step_of_work() -> None:
    steps: list[int] = []
    arrived = threading.Semaphore(0)

    def step() -> float:
        steps.append(sum(1 for _ in iter(lambda: arrived.acquire(blocking=False), False)))
        return 3600

    loop = Loop("gathering", step, gather_s=1)
    loop.start()
    eventually(lambda: _has(steps, 1))
    for _ in range(20):
        arrived.release()
        loop.wake()
    eventually(lambda: _has(steps, 2))
    loop.stop()
    assert loop.join(60)
    assert steps[:2] == [0, 20]


def test_a_stop_does_not_wait_for_what_is_gathered() -> None:
    stepped = threading.Event()

    def step() -> float:
        stepped.set()
        return 3600

    loop = Loop("gathering", step, gather_s=3600)
    loop.start()
    assert stepped.wait(60)
    loop.wake()
    loop.stop()
    assert loop.join(60)


def _has(steps: list[int], count: int) -> None:
    assert len(steps) >= count
