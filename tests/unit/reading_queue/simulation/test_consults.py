"""Opinions asked up the line in a simulation: who is asked, that the reader waits, and how it ends."""

from __future__ import annotations

import pytest

from reading_queue.commands.simulation_report import sentences
from reading_queue.domain.consults import CONSULTANT_TITLES, ConsultState
from reading_queue.domain.roles import Title
from reading_queue.domain.transitions import CaseState
from reading_queue.simulation import Demand, RosteredPhysician, TimedAgreement
from reading_queue.simulation.outcome import Outcome
from tests.unit.reading_queue.simulation.county import DAY, agreement, county, physician, run

NAMES = {"county": "清河县医院", "city": "市医院"}
ASKING = Demand(studies_per_site_per_day={"township": 15}, consult_share=0.3)


def up_the_line(modalities: frozenset[str] = frozenset()) -> TimedAgreement:
    usual = agreement("county", "city", 2)
    facts = type(usual.facts)(
        "opinions:county",
        "county",
        "city",
        modalities,
        frozenset(),
        frozenset({"consultation"}),
        2,
        usual.facts.valid_from,
        usual.facts.valid_until,
    )
    return TimedAgreement(facts, {})


def asked(
    *people: RosteredPhysician, opinions: TimedAgreement | None = None, demand: Demand = ASKING, seed: int = 7
) -> Outcome:
    readers = [physician(f"p{number}") for number in range(3)]
    agreements = [agreement("county", "county", 1), opinions or up_the_line()]
    return run(county(*readers, *people, agreements=agreements), demand, seed=seed)


def test_the_city_answers_and_the_case_waits_for_it():
    outcome = asked(physician("x", "city"), physician("resident", "city", title=Title.RESIDENT))
    summary = outcome.summary()
    assert summary["consults"]["asked"] > 8
    assert summary["consults"]["answered"] > 0.8 * summary["consults"]["asked"]
    read = {one["physician"]: one for one in summary["people"]}
    assert read["x"]["consulted"] == summary["consults"]["answered"]
    assert read["x"]["busy_h"] > 0
    assert (read["x"]["interpreted"], read["resident"]["consulted"]) == (0, 0)
    assert Title.RESIDENT not in CONSULTANT_TITLES
    for consult in outcome.consults.all:
        if consult.state is ConsultState.ANSWERED and consult.task.case.signed_s is not None:
            assert consult.task.case.signed_s > (consult.ended_s or 0) > consult.asked_s
    without = asked(physician("x", "city"), demand=ASKING.model_copy(update={"consult_share": 0.0}))
    assert [case.study.exam_s for case in without.cases] == [case.study.exam_s for case in outcome.cases]
    waits = [one.summary()["all"]["to_signature_min"]["p90"] for one in (outcome, without)]
    assert waits[0] > waits[1]


def test_a_question_that_nobody_answers_ends_at_its_limit_and_the_case_goes_on():
    outcome = asked()
    expired = [one for one in outcome.consults.all if one.state is ConsultState.EXPIRED]
    assert expired
    assert all(one.ended_s == one.due_s for one in expired)
    assert any(one.task.case.state is CaseState.FINAL for one in expired)
    assert outcome.summary()["consults"]["answered"] == 0


def test_who_goes_home_withdraws_the_question_with_the_case():
    readers = [physician("day", hours=DAY), physician("also", hours=DAY)]
    agreements = [agreement("county", "county", 1), up_the_line()]
    outcome = run(county(*readers, agreements=agreements), ASKING)
    withdrawn = [one for one in outcome.consults.all if one.state is ConsultState.WITHDRAWN]
    assert withdrawn
    assert all(one.ended_s is not None and one.ended_s % 86400 == 18 * 3600 for one in withdrawn)
    assert all(not reader.asking for reader in outcome.readers.values())


def test_without_the_service_or_the_modality_nobody_is_asked():
    for opinions in (agreement("county", "city", 2), up_the_line(frozenset({"PT"}))):
        consults = asked(physician("x", "city"), opinions=opinions).summary()["consults"]
        assert consults["asked"] == 0
        assert consults["without_hospital"] > 8


@pytest.mark.parametrize("seed", range(4))
def test_the_books_balance(seed: int):
    outcome = asked(physician("x", "city", hours=DAY), physician("y", "city", hours=(10, 14)), seed=seed)
    summary = outcome.summary()
    consults = summary["consults"]
    ends = ("answered", "declined", "expired", "withdrawn", "open")
    assert consults["asked"] == sum(consults[end] for end in ends)
    assert summary["all"]["cases"] == summary["all"]["signed"] + summary["all"]["open"]
    for reader in outcome.readers.values():
        assert reader.facts.work_in_progress == reader.holding
        assert reader.busy_s <= reader.duty_s + 1


def test_it_is_told_in_both_languages():
    summary = asked(physician("x", "city")).summary() | {"names": NAMES}
    assert "Opinions asked up the line" in "\n".join(sentences(summary, "en"))
    assert "会诊：向上级医院提出" in "\n".join(sentences(summary, "zh"))
    nobody = asked(opinions=agreement("county", "city", 2)).summary() | {"names": NAMES}
    assert "no agreement with the service consultation" in "\n".join(sentences(nobody, "en"))
    assert "没有含会诊服务的结对协议" in "\n".join(sentences(nobody, "zh"))
