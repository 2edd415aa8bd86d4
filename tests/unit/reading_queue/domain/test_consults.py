"""The table of consultations against one typed apart from it."""

from __future__ import annotations

from itertools import product

import pytest

from reading_queue.domain.consults import (
    CONSULT_ENDS,
    ConsultActor,
    ConsultEvent,
    ConsultEventNotAllowed,
    ConsultState,
    apply_to_consult,
)

# state, event, the state it leads to, who may cause it. Typed apart from the product's table: change both or none.
EXPECTED = """
asked     accept    accepted   consultant
asked     decline   declined   consultant
asked     expire    expired    system
asked     withdraw  withdrawn  asker
accepted  answer    answered   accepted_by
accepted  decline   declined   accepted_by
accepted  expire    expired    system
accepted  withdraw  withdrawn  asker
"""


def test_every_state_event_and_actor_is_allowed_or_refused_as_expected() -> None:
    rows = [line.split() for line in EXPECTED.strip().splitlines()]
    expected = {(state, event, actor): to for state, event, to, actor in rows}
    for state, event, actor in product(ConsultState, ConsultEvent, ConsultActor):
        to = expected.get((state.value, event.value, actor.value))
        if to is None:
            with pytest.raises(ConsultEventNotAllowed):
                apply_to_consult(state, event, actor)
        else:
            assert apply_to_consult(state, event, actor) == to


def test_nothing_happens_after_an_end() -> None:
    for state, event, actor in product(CONSULT_ENDS, ConsultEvent, ConsultActor):
        with pytest.raises(ConsultEventNotAllowed):
            apply_to_consult(state, event, actor)
