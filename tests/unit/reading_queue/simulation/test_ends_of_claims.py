"""Claims in a simulation: one physician alone, leases that run out, emergencies offered to who is full, late cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from reading_queue.commands.simulation_report import sentences
from reading_queue.domain.clocks import COUNTS_GROSS
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Title
from reading_queue.domain.transitions import CaseState
from reading_queue.simulation import Demand, Rules, simulate
from reading_queue.simulation.demand import Study
from reading_queue.simulation.engine import Run
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedTask
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.county import BEGIN, BUSY, DAY, agreement, county, physician, run

NAMES = {"county": "清河县医院", "city": "市医院"}


@pytest.mark.parametrize("allowed", [True, False])
def test_one_physician_signs_a_plain_film_alone_where_the_agreement_allows_it(allowed: bool):
    own = replace(agreement("county", "county", 1), single_physician=allowed)
    people = (physician("a"), physician("b", title=Title.RESIDENT), physician("c", title=Title.CHIEF))
    outcome = run(county(*people, agreements=[own]))
    alone = [case for case in outcome.cases if case.signed_alone]
    assert bool(alone) is allowed
    assert outcome.summary()["signed_alone"] == len(alone)
    kinds = {(case.study.modality, case.study.lane in {Lane.STAT, Lane.URGENT}, case.author_id) for case in alone}
    assert kinds <= {("DX", False, "a"), ("DX", False, "c")}
    assert {case.state for case in alone} <= {CaseState.FINAL}
    told = sentences(outcome.summary() | {"names": NAMES}, "en")
    assert any(f"as their agreement allows: {len(alone)}." in one for one in told) is allowed
    signed = sum(case.signed_s is not None for case in outcome.cases)
    assert sum(one["verified"] for one in outcome.summary()["people"]) == signed - len(alone)


def test_what_somebody_forgets_at_the_end_of_duty_goes_to_others_when_its_lease_runs_out():
    people = (*(physician(f"day-{number}", hours=DAY) for number in range(4)), physician("a"), physician("b"))
    network, begin = county(*people, agreements=[agreement("county", "county", 1)]), BEGIN
    demand = BUSY.model_copy(update={"forgotten_rate": 1.0, "ask_site_rate": 0.0})
    watched = Run(network, demand, Rules(lease_s=1800), begin, 2, 7)
    ended: list[float] = []
    end_claim = watched._end_claim

    def note(reader: Reader, task: SimulatedTask, *how: object) -> None:
        assert reader.physician_id.startswith("day")
        ended.append((watched._now_s / 3600) % 24)
        end_claim(reader, task, *how)
        assert reader.physician_id in task.case.waiting.let_pass

    watched._end_claim = note
    watched.to_the_end()
    people_told = watched.outcome(network, begin, 2).summary()["people"]
    assert ended
    assert Counter(ended) == {18.5: sum(one["lapsed"] for one in people_told)}
    assert sum(one["given_back"] for one in people_told) == 0


def test_an_emergency_is_offered_to_others_at_once_when_who_was_asked_can_take_no_more():
    people = [physician(name, wip_max=1) for name in "abc"]
    network = county(*people, agreements=[agreement("county", "county", 1)])
    demand = Demand(studies_per_site_per_day={"township": 60}, lanes={Lane.STAT: 1.0})
    watched = Run(network, demand, Rules(offer_width=1, offer_ttl_s=7200), BEGIN, 1, 7)
    claim, moments = watched._claim, 0

    def note(reader: Reader, task: SimulatedTask) -> None:
        nonlocal moments
        claim(reader, task)
        able = [one for one in watched.readers.values() if one.is_able]
        waiting = [case.waiting for case in watched.offering.cases if case.waiting is not None]
        for other in waiting:
            if (
                able
                and any(one.reader is reader for one in other.asked)
                and other.case.author_id not in {one.physician_id for one in able}
            ):
                moments += 1
                assert any(one.reader in able for one in other.asked)

    watched._claim = note
    watched.to_the_end()
    assert moments > 0


@pytest.mark.parametrize("hold_max_s", [86400.0, 600.0])
def test_a_case_whose_site_is_asked_is_on_hold_and_its_limit_stands_still_unless_it_counts_gross(hold_max_s: float):
    network = county(*(physician(name) for name in "abc"), agreements=[agreement("county", "county", 1)])
    demand = BUSY.model_copy(update={"ask_site_rate": 0.3, "return_to_site_rate": 0.0, "return_to_author_rate": 0.0})
    outcome = simulate(network, demand, Rules(hold_max_s=hold_max_s), BEGIN, 2, 7)
    questions = outcome.summary()["site_questions"]
    assert questions["asked"] == sum(case.asked_site for case in outcome.cases) > 10
    assert (questions["left"] > 5) is (hold_max_s == 600.0)  # it goes to others
    assert questions["wait_min"]["p99"] <= hold_max_s / 60
    usual_min = {
        "stat": 60,
        "urgent": 120,
        **{one: Rules().time_limit_default_min[one] for one in ("routine", "background")},
    }
    for case in (one for one in outcome.cases if one.claimed_s is not None and one.study.green_channel is None):
        moved_s = case.due_s - case.study.exam_s - usual_min[case.study.lane] * 60
        gross = case.study.lane in COUNTS_GROSS
        assert moved_s == pytest.approx(0.0 if gross else case.paused_s, abs=0.01)
    assert any(case.paused_s > 0 and case.study.lane not in COUNTS_GROSS for case in outcome.cases)
    told = outcome.summary() | {"names": NAMES}
    assert f"Questions to sites: {questions['asked']};" in "\n".join(sentences(told, "en"))
    assert f"向站点提问：{questions['asked']} 次" in "\n".join(sentences(told, "zh"))


@pytest.mark.parametrize(("lane", "due_s"), [(Lane.ROUTINE, 4200.0), (Lane.URGENT, 3600.0)])
def test_an_agreements_limit_counts_from_what_the_case_has_waited_for_its_site(lane: Lane, due_s: float):
    study = Study(0.0, "clinic-1", "CT", lane, 0, 0.0, 1.0, 1.0, False, False, 0.0)
    case = SimulatedCase(0, study, 86400.0)
    case.pause(600.0, BEGIN)
    assert case.tighten(60, BEGIN)
    assert case.due_s == due_s


def test_only_what_nobody_has_taken_by_then_counts_as_untaken():
    outcome = run(county(*(physician(name) for name in "abcdef")))
    for case in (one for one in outcome.cases if not one.came_back and not one.rewritten):
        third_s = case.study.exam_s + (case.due_s - case.study.exam_s) / 3
        if Escalation.WIDENED in case.steps_reached:
            assert case.claimed_s is None or case.claimed_s >= third_s
    assert sum(not case.steps_reached for case in outcome.cases) > len(outcome.cases) / 2


def test_what_took_longest_on_the_way_of_late_cases_is_told_and_who_was_given_nothing():
    alone = physician("busy", title=Title.CHIEF)
    apart = physician("idle", "city", modalities=["MG"])
    outcome = simulate(county(alone, apart), BUSY, Rules(), BEGIN, 2, 7)
    summary = outcome.summary()
    assert sum(summary["late_because"].values()) == summary["all"]["late"] > 0
    assert next(iter(summary["late_because"])) == "nobody_to_verify"  # the only author may not verify
    told = "\n".join(sentences(summary | {"names": NAMES}, "en"))
    assert f"{summary['late_because']['nobody_to_verify']} × nobody could be asked to verify" in told
    assert "given nothing in all this time: idle idle." in told
    assert "没有任何任务：idle idle。" in "\n".join(sentences(summary | {"names": NAMES}, "zh"))
    for one in summary["people"]:
        one.update(busy_h=0.0, verified=1)  # a short work is work
    assert "given nothing" not in "\n".join(sentences(summary | {"names": NAMES}, "en"))
    assert set(summary["by_site"]) == {"clinic-1", "clinic-2"}
