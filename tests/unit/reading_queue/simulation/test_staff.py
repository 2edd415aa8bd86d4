"""Of those who are there, the few that are looked at are those whom looking at all would choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts, choose, rank
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedTask
from reading_queue.simulation.network import RosteredPhysician
from reading_queue.simulation.staff import Staff
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.test_candidates import HOSPITALS, NOW, PRESENT, TODAY, agreements, physicians

people_there = st.builds(
    lambda facts, also_at: replace(
        facts,
        duty=PRESENT,
        licence_valid_until=TODAY,
        title=Title.CHIEF,
        also_at=tuple(also_at - {facts.organisation_id}),
    ),
    physicians,
    st.frozensets(st.sampled_from(HOSPITALS), max_size=2).map(lambda some: some if len(some) > 1 else frozenset()),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(people_there, min_size=4, max_size=14),
    st.lists(agreements, min_size=1, max_size=6),
    st.sampled_from(Lane),
    st.sampled_from([Phase.INTERPRETATION, Phase.VERIFICATION]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.data(),
)
def test_the_few_that_are_looked_at_hold_every_choice(
    people: Sequence[PhysicianFacts],
    known: Sequence[AgreementFacts],
    lane: Lane,
    phase: Phase,
    width: int,
    widened: int,
    data: st.DataObject,
) -> None:
    staff, readers = Staff(), []
    for one in people:
        reader = Reader(
            RosteredPhysician(one, ""), replace(one, read_this_patient=False, declined=False, let_pass=False)
        )
        staff.hire(reader)
        staff.come(reader)
        readers.append(reader)
    own = [one.physician_id for one in people]
    author = data.draw(st.sampled_from(own)) if phase is Phase.VERIFICATION and own else None
    case = CaseFacts("case", phase, lane, "CT", "", ("clinic", "county"), TODAY, author_id=author)
    task = SimulatedTask(cast("SimulatedCase", None), phase)
    for _ in range(2):  # what was kept of the order must follow every change
        some = st.sets(st.sampled_from(own)) if own else st.just(set())
        task.declined, task.let_pass, knows = data.draw(some), data.draw(some), data.draw(some)
        hospitals = list(dict.fromkeys(agreement.assisting_organisation_id for agreement in known))
        few = staff.foremost(hospitals, task, knows, case, width, NOW)
        concerned = [reader for reader in readers if set(reader.facts.hospitals) & set(hospitals)]
        everybody = [reader.facts_for(task, knows) for reader in concerned]
        chosen = [choose(rank(case, some_of, known, NOW), lane, width, widened) for some_of in (few, everybody)]
        assert chosen[0] == chosen[1]
        for reader in readers:
            reader.note(workload_points=data.draw(st.integers(0, 3)), work_in_progress=data.draw(st.integers(0, 2)))


def test_the_author_takes_nobodys_place() -> None:
    author, other = (physician(name, points) for name, points in (("author", 0), ("other", 5)))
    staff = Staff()
    for one in (author, other):
        reader = Reader(RosteredPhysician(one, ""), one)
        staff.hire(reader)
        staff.come(reader)
    case = CaseFacts("case", Phase.VERIFICATION, Lane.ROUTINE, "CT", "", ("clinic",), TODAY, author_id="author")
    task = SimulatedTask(cast("SimulatedCase", None), Phase.VERIFICATION)
    assert staff.foremost(["county"], task, set(), case, 1, NOW) == [other]


def physician(name: str, points: int) -> PhysicianFacts:
    return PhysicianFacts(name, "county", Title.CHIEF, TODAY, frozenset(), PRESENT, 0, 2, points)
