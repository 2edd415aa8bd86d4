"""Every case is offered exactly once, whatever is killed, wiped, restarted or moved meanwhile.

The same with 5,000 cases: `make bench ONLY=queue.lost,queue.doubled`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.queue_faults import (
    SCHEDULERS,
    Faults,
    await_offers,
    committing,
    count,
    running_faulty_hub,
)

pytestmark = [pytest.mark.services, pytest.mark.postgres]

CASES = 40
PLAN = ("step", "wipe", "step", "worker", "scheduler", "step", "database", "child", "step")


def test_every_case_is_offered_once_while_everything_is_killed_in_turn(tmp_path: Path) -> None:
    with running_faulty_hub(tmp_path) as running:
        running.move_clock(SCHEDULERS[1], 90)  # to it every message is lost that was not handled at once
        arrivals = [running.reading.declare(number) for number in range(CASES)]
        with committing(running, arrivals, rate_per_s=6):
            Faults(running, pause_s=(0.2, 0.6), seed=5).inflict(PLAN)
        assert await_offers(running, arrivals, within_s=90).lost == 0
        running.drain()
        outcome = count(running, arrivals)
    assert (outcome.lost, outcome.doubled, outcome.dead_jobs) == (0, 0, 0)
    assert running.done["broker killed and wiped"] == running.done["database restarted"] == 1
