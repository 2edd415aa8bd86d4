"""Looking at few physicians gives the choice that looking at all gives, at one moment and over whole runs."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import (
    AgreementFacts,
    Candidate,
    CaseFacts,
    Phase,
    PhysicianFacts,
    Ranking,
    choose,
)
from reading_queue.simulation import Demand, Hospital, Network, RosteredPhysician, Rules, TimedAgreement
from reading_queue.simulation.candidates import Candidates
from reading_queue.simulation.day_limits import DayLimits
from reading_queue.simulation.demand import Study
from reading_queue.simulation.engine import Run
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedTask
from reading_queue.simulation.staff import Staff
from reading_queue.simulation.timeline import Timeline
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.county import BEGIN, DAY, ROUND_THE_CLOCK, agreement, county, physician

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
TODAY = date(2026, 3, 2)
PRESENT = ((NOW, NOW + timedelta(hours=1)),)
READING = ("county", "city", "province")
ORGANISATIONS = {
    "clinic": Hospital("clinic", "township", "", "county", True),
    **{one: Hospital(one, "county", "", None, False) for one in READING},
}

agreements = st.builds(
    AgreementFacts,
    agreement_id=st.uuids().map(str),
    requesting_organisation_id=st.sampled_from(["clinic", "county"]),
    assisting_organisation_id=st.sampled_from(READING),
    modalities=st.sampled_from([frozenset(), frozenset({"CT"}), frozenset({"DX"})]),
    body_regions=st.just(frozenset()),
    services=st.sampled_from([frozenset({"interpretation"}), frozenset({"interpretation", "verification"})]),
    stage=st.integers(1, 3),
    valid_from=st.just(TODAY),
    valid_until=st.just(TODAY),
)
physicians = st.builds(
    PhysicianFacts,
    physician_id=st.uuids().map(str),
    organisation_id=st.sampled_from(READING),
    title=st.sampled_from([*Title, Title.CHIEF]),
    licence_valid_until=st.sampled_from([TODAY, TODAY, TODAY - timedelta(days=1)]),
    modalities=st.sampled_from([frozenset(), frozenset({"CT"})]),
    duty=st.sampled_from([(), PRESENT, PRESENT]),
    work_in_progress=st.integers(0, 2),
    work_in_progress_max=st.just(2),
    workload_points=st.integers(0, 3),
    also_at=st.sampled_from([(), (), (), ("county",), ("city", "province")]),
    specialties=st.sampled_from([frozenset(), frozenset({"chest"})]),
).map(lambda one: replace(one, also_at=tuple(set(one.also_at) - {one.organisation_id})))


@settings(max_examples=300)
@given(
    st.lists(agreements, min_size=1, max_size=6),
    st.lists(physicians, max_size=14),
    st.sampled_from(Lane),
    st.sampled_from([Phase.INTERPRETATION, Phase.VERIFICATION]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.data(),
)
def test_choice_is_the_one_of_ranking_everybody(
    known: Sequence[AgreementFacts],
    people: Sequence[PhysicianFacts],
    lane: Lane,
    phase: Phase,
    width: int,
    widened: int,
    data: st.DataObject,
):
    staff, readers = Staff(), []
    for one in people:
        readers.append(Reader(RosteredPhysician(one, ""), one))
        staff.hire(readers[-1])
        if one.duty:
            staff.come(readers[-1])
    network = Network(ORGANISATIONS, [], [TimedAgreement(one, {}) for one in known])
    candidates = Candidates(network, staff, Timeline(NOW), DayLimits(network))
    some = st.sets(st.sampled_from([one.physician_id for one in people])) if people else st.just(set[str]())
    author = data.draw(st.sampled_from(people)).physician_id if people and phase is Phase.VERIFICATION else None
    case = CaseFacts("case", phase, lane, "CT", "", ("clinic", "county"), TODAY, author, ("chest",))
    task = task_of(phase, lane)
    for _ in range(3):  # what is kept of the orders must follow every change
        task.declined, task.let_pass, knows = (frozenset(data.draw(some)) for _ in range(3))
        few = candidates.rank(task, case, knows, width, widened)
        everybody = candidates.rank_everybody(task, case, knows)
        assert choose(few, lane, width, widened) == choose(everybody, lane, width, widened)
        for reader in readers:
            reader.note(workload_points=data.draw(st.integers(0, 3)), work_in_progress=data.draw(st.integers(0, 2)))
            if data.draw(st.booleans()):
                change_shifts(staff, reader)


def task_of(phase: Phase, lane: Lane) -> SimulatedTask:
    study = Study(0.0, "clinic", "CT", lane, 0, 0.0, 1.0, 1.0, False, False, 0.0)
    return SimulatedTask(SimulatedCase(0, study, 3600.0), phase)


def change_shifts(staff: Staff, reader: Reader) -> None:
    """Let who is there leave, and who is not come."""
    if reader.facts.duty:
        reader.note(duty=())
        staff.leave(reader)
    else:
        reader.note(duty=PRESENT)
        staff.come(reader)


def test_nobody_is_looked_at_behind_who_decides():
    """A crowd of a thousand costs a choice no more than three."""
    staff = Staff()
    for number in range(1000):
        facts = PhysicianFacts(f"p{number:04}", "county", Title.CHIEF, TODAY, frozenset(), PRESENT, 0, 2, number)
        reader = Reader(RosteredPhysician(facts, ""), facts)
        staff.hire(reader)
        staff.come(reader)
    network = Network(ORGANISATIONS, [], [replace(agreement("county", "county", 1))])
    case = CaseFacts("case", Phase.INTERPRETATION, Lane.ROUTINE, "CT", "", ("clinic", "county"), TODAY)
    task = task_of(Phase.INTERPRETATION, Lane.ROUTINE)
    ranking = Candidates(network, staff, Timeline(NOW), DayLimits(network)).rank(task, case, set(), 3, 0)
    assert [one.physician_id for one in ranking.candidates] == ["p0000", "p0001", "p0002"]


@dataclass
class Watched:
    """Every choice of a run, and every study's end; the run ranks everybody each time when it is `plain`."""

    run: Run
    plain: bool
    chosen: list[tuple[Any, ...]] = field(default_factory=list)

    def rank(self, task: SimulatedTask, case: CaseFacts, knows: Set[str], width: int, widened: int) -> Ranking:
        finder = self.run.offering.candidates
        if self.plain:
            ranking = finder.rank_everybody(task, case, knows)
        else:
            ranking = finder.rank(task, case, knows, width, widened)
        of: list[Candidate] = choose(ranking, case.lane, width, widened)
        self.chosen.append((self.run._now_s, case.case_id, case.phase, tuple(of)))
        return ranking


def watch(network: Network, demand: Demand, rules: Rules, seed: int, *, plain: bool) -> Watched:
    watched = Watched(Run(network, demand, rules, BEGIN, 1, seed), plain)
    watched.run.offering.rank = watched.rank
    watched.run.to_the_end()
    watched.chosen += [(one.number, one.state, one.claimed_s, one.signed_s) for one in watched.run.offering.cases]
    return watched


staff_of_a_county = st.lists(
    st.builds(
        lambda one, also_at, read, points: replace(
            one,
            facts=replace(
                one.facts,
                also_at=tuple({also_at} - {"", one.facts.organisation_id}),
                modalities=read,
                weekly_points_max=points,
            ),
        ),
        st.builds(
            physician,
            st.uuids().map(str),
            st.sampled_from(["county", "county", "city"]),
            title=st.sampled_from([Title.RESIDENT, Title.ATTENDING, Title.CHIEF]),
            hours=st.sampled_from([DAY, ROUND_THE_CLOCK, (20, 32), (0, 8), (8, 17)]),
            wip_max=st.integers(1, 3),
            days=st.just(1),
        ),
        st.sampled_from(["", "", "", "county"]),
        st.sampled_from([frozenset(), frozenset({"CT", "DX"})]),
        st.sampled_from([None, None, 900]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25)
@given(
    staff_of_a_county,
    st.sampled_from([(1, 2), (1, 1), (2, 1)]),
    st.integers(1, 3),
    st.sampled_from([300.0, 900.0]),
    st.sampled_from([{}, {}, {"all": 5}, {"DX": 2, "all": 10}]),
    st.integers(0, 99),
)
def test_run_decides_as_one_that_ranks_everybody_each_time(
    people: list[RosteredPhysician],
    stages: tuple[int, int],
    width: int,
    offer_ttl_s: float,
    per_day_max: dict[str, int],
    seed: int,
):
    own, behind = agreement("county", "county", stages[0]), agreement("county", "city", stages[1])
    limited = replace(own, facts=replace(own.facts, cases_per_day_max=per_day_max))
    network = county(*people, agreements=[limited, behind])
    demand = Demand(studies_per_site_per_day={"township": 25}, same_patient_rate=0.4, decline_rate=0.1)
    rules = Rules(width, offer_ttl_s)
    few, plain = (watch(network, demand, rules, seed, plain=plain) for plain in (False, True))
    assert few.chosen == plain.chosen
