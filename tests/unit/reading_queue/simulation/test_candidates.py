"""Looking at few physicians gives the choice that looking at all gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts, choose, rank
from reading_queue.simulation.candidates import rank_by_stages
from storage.contract.lanes import Lane

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
TODAY = date(2026, 3, 2)
PRESENT = ((NOW, NOW + timedelta(hours=1)),)
HOSPITALS = ("county", "city", "province")

agreements = st.builds(
    AgreementFacts,
    agreement_id=st.uuids().map(str),
    requesting_organisation_id=st.sampled_from(["clinic", "county"]),
    assisting_organisation_id=st.sampled_from(HOSPITALS),
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
    organisation_id=st.sampled_from(HOSPITALS),
    title=st.sampled_from(Title),
    licence_valid_until=st.sampled_from([TODAY, TODAY - timedelta(days=1)]),
    modalities=st.sampled_from([frozenset(), frozenset({"CT"})]),
    duty=st.sampled_from([(), PRESENT]),
    work_in_progress=st.integers(0, 2),
    work_in_progress_max=st.just(2),
    workload_points=st.integers(0, 3),
    read_this_patient=st.booleans(),
    declined=st.booleans(),
    let_pass=st.booleans(),
)


@settings(max_examples=400)
@given(
    st.lists(agreements, max_size=6),
    st.lists(physicians, max_size=12),
    st.sampled_from(Lane),
    st.sampled_from([Phase.INTERPRETATION, Phase.VERIFICATION]),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_choice_is_the_one_of_ranking_everybody(
    known: Sequence[AgreementFacts],
    people: Sequence[PhysicianFacts],
    lane: Lane,
    phase: Phase,
    width: int,
    widened: int,
):
    case = CaseFacts("case", phase, lane, "CT", "", ("clinic", "county"), TODAY)
    stages = [[one for one in known if one.stage <= stage] for stage in sorted({one.stage for one in known})]

    def of(organisations: Iterable[str], *, present: bool) -> list[PhysicianFacts]:
        wanted = set(organisations)
        return [one for one in people if one.organisation_id in wanted and (bool(one.duty) or not present)]

    def find_present(organisations: Iterable[str]) -> list[PhysicianFacts]:
        return of(organisations, present=True)

    def find_everybody(organisations: Iterable[str]) -> list[PhysicianFacts]:
        return of(organisations, present=False)

    lazily = rank_by_stages(case, stages, find_present, find_everybody, NOW, width, widened)
    concerned = find_everybody(one.assisting_organisation_id for one in known)
    at_once = rank(case, concerned, known, NOW)
    assert choose(lazily, lane, width, widened) == choose(at_once, lane, width, widened)
    if not at_once.candidates:
        assert lazily.counts() == at_once.counts()
