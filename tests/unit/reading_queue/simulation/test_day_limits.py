"""What an agreement takes in a day bounds a simulation as it bounds the hub; a stat case it never stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from reading_queue.commands.simulated_network import network_of
from reading_queue.simulation import Demand, TimedAgreement
from reading_queue.simulation.outcome import Outcome
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.county import agreement, county, physician, run

EXAMPLE = Path(__file__).parents[4] / "deploy" / "hub" / "network.example.yaml"
DEMAND = Demand(studies_per_site_per_day={"township": 25}, transfer_min=dict.fromkeys(Lane, 1.0))


def limited(assisting: str, stage: int, most: Mapping[str, int]) -> TimedAgreement:
    usual = agreement("county", assisting, stage)
    return replace(usual, facts=replace(usual.facts, cases_per_day_max=most))


def of_two_hospitals(most: Mapping[str, int], *, behind: bool = True) -> Outcome:
    people = [physician("a"), physician("b"), physician("x", "city"), physician("y", "city")]
    agreements = [limited("county", 1, most)] + ([agreement("county", "city", 2)] if behind else [])
    return run(county(*people, agreements=agreements), DEMAND)


def claims_of_the_county(outcome: Outcome) -> Counter[tuple[int, bool]]:
    """By day, and whether they were stat: what was first claimed under the county's own agreement."""
    own = [case for case in outcome.cases if (case.agreement_id or "").startswith("county")]
    return Counter((int(case.claimed_s // 86400), case.study.lane is Lane.STAT) for case in own if case.claimed_s)


def test_an_agreement_takes_no_more_than_its_limit_in_a_day_and_the_next_stage_the_rest():
    claimed = claims_of_the_county(of_two_hospitals({"all": 8}))
    assert 0 < claimed[0, False] <= 8
    assert 0 < claimed[1, False] <= 8
    summary = of_two_hospitals({"all": 8}).summary()
    assert summary["escalations"]["routine"]["2"] > 10
    assert claims_of_the_county(of_two_hospitals({}))[0, False] > 16


def test_a_limit_of_one_modality_leaves_the_others_alone():
    outcome = of_two_hospitals({"DX": 3})
    own = Counter(
        (case.study.modality, int((case.claimed_s or 0) // 86400))
        for case in outcome.cases
        if (case.agreement_id or "").startswith("county") and case.study.lane is not Lane.STAT
    )
    assert 0 < own["DX", 0] <= 3
    assert own["US", 0] > 3


def test_a_full_day_without_anybody_behind_is_told_with_its_reason_and_ends_at_midnight():
    outcome = of_two_hospitals({"all": 4}, behind=False)
    summary = outcome.summary()
    assert summary["unroutable"]["exclusions"]["interpretation"]["agreement_day_full"] > 0
    waited = [wait for wait in outcome.waits if wait.end_s is not None and "agreement_day_full" in wait.reasons]
    assert any(86400 <= (wait.end_s or 0) <= 86400 + 120 for wait in waited)
    stat = [case for case in outcome.cases if case.study.lane is Lane.STAT]
    assert all(case.unroutable_s == 0 for case in stat)


def test_the_limits_of_a_networks_file_are_kept():
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for one in document["agreements"]:
        one["cases_per_day_max"] = {"all": 7}
    network = network_of(document, datetime(2026, 3, 2, tzinfo=UTC), 1)
    assert {one.facts.cases_per_day_max["all"] for one in network.agreements} == {7}
