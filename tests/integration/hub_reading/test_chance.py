"""Whole lives of two studies by chance: readers, leads, consultants, the clinic, sweeps and lost messages.

Only the promised refusals; every change of state is one of the table; nothing that was written is lost; and in the end
every case is signed by two physicians, or by one where that is agreed, withdrawn, joined to another, or declared void.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event

from reading_queue.db.tables import Case
from reading_queue.domain.transitions import CASE_TRANSITIONS
from tests.integration.hub_reading.lives import Life
from tests.integration.hub_reading.promises import Promises
from tests.integration.hub_reading.world import World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STEPS = 150
RESTS_EVERY = 30  # steps
EDGES = {(state.value, step.to.value) for (state, _), step in CASE_TRANSITIONS.items()}


@pytest.fixture
def moves() -> Iterator[list[tuple[str, str]]]:
    """Every change of a case's state that any service makes, as it makes it."""
    made: list[tuple[str, str]] = []

    def note(_case: Case, value: str, old: object, _initiator: object) -> None:
        if isinstance(old, str):
            made.append((str(old), str(value)))

    event.listen(Case.state, "set", note, active_history=True)
    yield made
    event.remove(Case.state, "set", note)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_case_ends_and_nobody_is_forgotten(
    world: World, hub_clock: SteerableClock, moves: list[tuple[str, str]], seed: int
):
    life = Life(world, hub_clock, seed)
    promises = Promises(life)
    if seed % 2:
        life.begin_signed()
    for number in range(1, STEPS + 1):
        life.step()
        promises.check(everywhere=number % 5 == 0)
        if number % RESTS_EVERY == 0:
            promises.check_rest()
            promises.check()
    life.finish()
    promises.check()
    promises.check_rest()
    assert life.is_over()
    assert set(moves) <= EDGES, "no state but by the table"
