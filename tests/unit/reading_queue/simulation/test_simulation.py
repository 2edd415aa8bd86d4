"""What becomes of synthetic studies in a small county, and what is always true of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reading_queue.commands.simulation_report import sentences
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import CaseState
from reading_queue.simulation import Demand, DemandInvalid, Network, RosteredPhysician, Rules, parse_demand, simulate
from reading_queue.simulation.engine import Run
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.county import (
    BEGIN,
    BUSY,
    DAY,
    DAYS,
    ROUND_THE_CLOCK,
    agreement,
    county,
    on_duty,
    physician,
    run,
)

NAMES = {"county": "清河县医院"}
OPEN = {
    CaseState.RECEIVING,
    CaseState.READY,
    CaseState.OFFERED,
    CaseState.READING,
    CaseState.PENDING_REVIEW,
    CaseState.REVIEWING,
    CaseState.RETURNED,
}


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str, Any]]:
    """Every stretch of reading as it begins: when, who, what."""
    begun: list[tuple[float, str, Any]] = []
    original = Run._go_on_reading

    def watched(self: Run, reader: Any) -> None:
        begun.append((self._now_s, reader.physician_id, reader.claims[-1].task))
        original(self, reader)

    monkeypatch.setattr(Run, "_go_on_reading", watched)
    return begun


def well_staffed() -> Network:
    return county(physician("a"), physician("b"), physician("c", title=Title.RESIDENT), physician("d", "city"))


def by_day_alone() -> Network:
    return county(physician("a", hours=DAY), physician("b", hours=DAY), physician("c", hours=DAY))


def told(network: Network, language: str) -> str:
    return "\n".join(sentences(run(network).summary() | {"names": NAMES}, language))


def test_well_staffed_county_signs_nearly_everything_in_time():
    outcome = run(well_staffed())
    summary = outcome.summary()
    assert summary["all"]["cases"] > 60
    assert summary["all"]["share_met"] > 0.97
    assert summary["gaps"] == []
    assert summary["lanes"]["stat"]["to_claim_min"]["p50"] < summary["lanes"]["routine"]["to_claim_min"]["p50"]


def test_night_without_anybody_is_told_as_a_gap_with_what_it_costs():
    english, chinese = told(by_day_alone(), "en"), told(by_day_alone(), "zh")
    assert "清河县医院 has nobody on duty who may read, 18:00 to 08:00 (times: 1, 14.0 h together" in english
    assert "off duty" in english
    assert "清河县医院 18:00–08:00 无人值班可阅片（1 次，共 14.0 小时" in chinese
    gap = next(one for one in run(by_day_alone()).summary()["gaps"] if one["from"] == "18:00")
    assert gap["cases"] > 0
    assert gap["waited_h"] > 0
    assert gap["late"] > 0


def test_night_that_a_resident_has_alone_is_a_gap_for_verification_only():
    night = physician("night", title=Title.RESIDENT)
    gaps = run(county(physician("a", hours=DAY), physician("b", hours=DAY), night)).summary()["gaps"]
    assert {gap["phase"] for gap in gaps} == {"verification"}
    assert "no attending or higher on duty to verify" in told(county(physician("a", hours=DAY), night), "en")


def test_site_without_an_agreement_is_told():
    outcome = run(county(physician("a"), agreements=[]))
    assert outcome.summary()["unroutable"]["without_agreement"] == len(outcome.cases)
    assert "No agreement covers" in told(county(physician("a"), agreements=[]), "en")


def test_hospital_up_the_line_reads_what_the_county_leaves():
    summary = run(county(physician("a", hours=DAY), physician("x", "city"), physician("y", "city"))).summary()
    assert summary["escalations"]["routine"]["2"] > 0
    assert summary["organisations"]["city"]["interpreted"] > 0
    assert summary["gaps"] == []


def test_later_stages_are_asked_as_the_limit_of_a_case_runs():
    """Offers that never run out leave a swamped county's cases with it, but for the clock."""
    swamped = county(physician("a"), *(physician(f"city-{number}", "city") for number in range(4)))
    demand = Demand(studies_per_site_per_day={"township": 120}, decline_rate=0)
    outcome = simulate(swamped, demand, Rules(offer_ttl_s=7 * 86400), BEGIN, DAYS, 7)
    urgent = [one for one in outcome.cases if one.study.lane is Lane.URGENT and one.claimed_s is not None]
    by_city = [one for one in urgent if (one.agreement_id or "").startswith("city")]
    assert by_city
    assert all((one.claimed_s or 0) >= one.study.exam_s + 120 * 60 / 3 for one in by_city if one.unroutable_s == 0)
    assert outcome.summary()["escalations"]["urgent"]["widened"] > 0


def test_everybody_takes_the_most_urgent_even_where_a_later_stage_has_a_shorter_limit(monkeypatch: pytest.MonkeyPatch):
    later: list[bool] = []
    original = Run._claim

    def watched(self: Run, reader: Any, task: Any) -> None:
        waiting = [one.waiting for one in self.offering.cases if one.waiting is not None]
        offered = [one for one in waiting if any(asked.reader is reader for asked in one.asked)]
        can_begin = [one for one in offered if self._can_begin(reader, one)]
        later.append(task.case.urgency > min(one.case.urgency for one in can_begin))
        original(self, reader, task)

    monkeypatch.setattr(Run, "_claim", watched)
    behind = replace(agreement("clinic-1", "city", 2), time_limits_min={"urgent": 30})
    both = physician("a"), physician("x", "city")
    swamped = county(*both, agreements=[agreement("county", "county", 1), behind])
    urgent = Demand(studies_per_site_per_day={"township": 200}, decline_rate=0, lanes={Lane.URGENT: 1.0})
    simulate(swamped, urgent, Rules(offer_ttl_s=86400), BEGIN, 1, 7)
    assert len(later) > 50
    assert not any(later)


def test_every_study_is_signed_or_still_open_and_none_is_lost():
    outcome = run(by_day_alone())
    states = Counter(case.state for case in outcome.cases)
    assert set(states) <= OPEN | {CaseState.FINAL}
    assert sum(states.values()) == outcome.summary()["all"]["cases"]
    assert states[CaseState.FINAL] == sum(case.signed_s is not None for case in outcome.cases)
    people = outcome.summary()["people"]
    assert sum(one["verified"] for one in people) == states[CaseState.FINAL]


def test_same_seed_gives_the_same_and_another_seed_another():
    assert run(well_staffed()).summary() == run(well_staffed()).summary()
    assert run(well_staffed()).summary() != run(well_staffed(), seed=8).summary()


def test_another_roster_is_given_the_very_same_studies():
    one, other = run(well_staffed()), run(by_day_alone())
    assert [case.study for case in one.cases] == [case.study for case in other.cases]


def test_nobody_reads_off_duty_what_is_theirs_or_what_they_may_not(claims: list[tuple[float, str, Any]]):
    people = [
        physician("day", hours=DAY),
        physician("late", hours=(12, 20)),
        physician("resident", title=Title.RESIDENT),
        physician("film", modalities=["DX"]),
        physician("expired", licence=date(2026, 3, 1)),
        physician("stranger", "clinic-1"),
    ]
    run(county(*people))
    by_name = {one.facts.physician_id: one for one in people}
    assert claims
    for at_s, name, task in claims:
        assert on_duty(by_name[name], at_s)
        assert task.phase is Phase.INTERPRETATION or (name not in {"resident", task.case.author_id})
        assert name != "film" or task.case.study.modality == "DX"
    assert {name for _, name, _ in claims} == {"day", "late", "resident", "film"}


def test_nobody_holds_more_than_the_limit_of_work_in_progress(monkeypatch: pytest.MonkeyPatch):
    held: list[int] = []
    original = Run._claim

    def watched(self: Run, reader: Any, task: Any) -> None:
        original(self, reader, task)
        held.append(len(reader.claims))

    monkeypatch.setattr(Run, "_claim", watched)
    stat_only = BUSY.model_copy(update={"lanes": {Lane.STAT: 0.5, Lane.ROUTINE: 0.5}})
    run(county(physician("a", wip_max=1), physician("b", wip_max=1)), stat_only)
    assert max(held) == 1
    held.clear()
    run(county(physician("a"), physician("b")), stat_only)
    assert max(held) == 2  # a stat case interrupts a routine one


def test_what_is_in_hand_at_the_end_of_duty_is_given_back_and_read_by_another():
    long = BUSY.model_copy(update={"reading_min": {"DX": 200.0, "US": 200.0, "CT": 200.0, "MR": 200.0}})
    outcome = run(county(physician("a", hours=DAY), physician("b", hours=DAY), physician("c")), long)
    assert sum(one["given_back"] for one in outcome.summary()["people"]) > 0
    assert all(one["busy_h"] <= one["duty_h"] for one in outcome.summary()["people"])


@settings(max_examples=15)
@given(
    st.lists(
        st.builds(
            physician,
            st.uuids().map(str),
            st.sampled_from(["county", "city"]),
            title=st.sampled_from(Title),
            hours=st.sampled_from([DAY, ROUND_THE_CLOCK, (20, 32), (0, 8)]),
            wip_max=st.integers(1, 3),
        ),
        max_size=5,
    ),
    st.integers(0, 99),
)
def test_books_balance_in_any_roster(people: list[RosteredPhysician], seed: int):
    outcome = run(county(*people), Demand(studies_per_site_per_day={"township": 10}), seed=seed)
    summary = outcome.summary()
    assert summary["all"]["cases"] == summary["all"]["signed"] + summary["all"]["open"]
    for case in outcome.cases:
        assert (case.signed_s is not None) == (case.state is CaseState.FINAL)
        assert case.signed_s is None or case.study.exam_s < case.claimed_s < case.signed_s
    for one in summary["people"]:
        assert -0.11 < one["idle_h"] <= one["duty_h"] + 0.11


def test_more_physicians_serve_stat_no_worse():
    """Over several seeds together: one seed may differ by chance, because a newcomer changes who is asked."""
    few, many = ([physician(f"p{one}") for one in range(size)] for size in (2, 5))
    demand = Demand(studies_per_site_per_day={"township": 60})
    late = [
        sum(run(county(*group), demand, seed=seed).summary()["lanes"]["stat"]["late"] for seed in range(4))
        for group in (few, many)
    ]
    assert late[1] <= late[0]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"decline_rate": 2}, "simulation.decline_rate"),
        ({"elective_hours": [1]}, "simulation.elective_hours"),
        ({"elective_hours": [0] * 24}, "above 0"),
        ({"transfer_min": {"stat": 4}}, "missing for urgent"),
        ({"colour": 1}, "simulation.colour"),
    ],
)
def test_mistake_in_the_demand_is_named(keys: dict[str, Any], words: str):
    with pytest.raises(DemandInvalid, match=words):
        parse_demand(keys)


def test_weekend_brings_fewer_routine_studies_and_as_many_emergencies():
    demand = Demand(studies_per_site_per_day={"township": 300}, weekend_share=0.1)
    studies = [case.study for case in run(county(), demand, days=7).cases]
    weekend = [study for study in studies if study.exam_s >= 5 * 86400]
    elective = sum(study.lane in {"routine", "background"} for study in weekend)
    assert elective / len(studies) < 0.05
    assert (len(weekend) - elective) / sum(study.lane in {"stat", "urgent"} for study in studies) > 0.2


def test_agreement_sets_the_limit_that_is_judged():
    tight = agreement("county", "county", 1)
    hurried = run(county(physician("a"), physician("b"), agreements=[type(tight)(tight.facts, {"routine": 1})]))
    usual = run(county(physician("a"), physician("b")))
    assert hurried.summary()["lanes"]["routine"]["share_met"] < 0.1 < usual.summary()["lanes"]["routine"]["share_met"]
    assert hurried.days == DAYS


def test_physician_of_two_hospitals_reads_for_both():
    elsewhere = physician("a", "city")
    shared = replace(elsewhere, facts=replace(elsewhere.facts, also_at=("county",)))
    both = [agreement("county", "county", 1), agreement("county", "city", 2)]
    outcome = run(county(shared, physician("b", "county"), agreements=both))
    read = {one["physician"]: one for one in outcome.summary()["people"]}
    assert read["a"]["interpreted"] > 0
    assert read["b"]["verified"] > 0  # nobody verifies their own
