"""Whose a study at the PACS is, and which earlier ones are worth the line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from gateway.priors.choice import FoundStudy, choose, is_same_person, names_agree
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.priors import PriorRequest

REQUEST = PriorRequest(
    number=1,
    request_id="r1",
    study_uid=Uid("1.2.1"),
    study_date=date(2026, 3, 2),
    patient_number="P-0001",
    patient_name="Wang^Fang=王^芳",
    birth_date=date(1980, 2, 29),
    sex="F",
    modalities=("CT",),
    body_part="CHEST",
    lane=Lane.ROUTINE,
    studies_max=5,
    years_max=5,
    requested_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
)
STUDY = FoundStudy(
    study_uid=Uid("1.2.7"),
    patient_number="P-0001",
    patient_name="王^芳",
    birth_date=date(1980, 2, 29),
    sex="F",
    study_date=date(2025, 6, 1),
    modalities=frozenset({"CT"}),
    description="CHEST",
)


def chosen(*studies: FoundStudy, request: PriorRequest = REQUEST, studies_max: int = 5, known: tuple[Uid, ...] = ()):
    choice = choose(request, studies, studies_max=studies_max, years_max=5, known=known)
    return [one.study_uid for one in choice.fetch]


@pytest.mark.parametrize(
    ("difference", "same"),
    [
        ({}, True),
        ({"patient_number": "P-00010"}, False),
        ({"birth_date": date(1980, 2, 28)}, False),
        ({"sex": "M"}, False),
        ({"patient_name": "李^娜"}, False),
        ({"patient_name": "Li^Na"}, False),
        ({"patient_name": "WANG^FANG"}, True),
        ({"patient_name": ""}, True),
        ({"birth_date": None}, True),
        ({"birth_date": None, "sex": ""}, False),  # a number and a name prove nothing
        ({"birth_date": None, "sex": "O"}, False),
    ],
)
def test_study_under_the_same_number_is_the_same_persons_only_if_nothing_differs(difference, same) -> None:
    assert is_same_person(REQUEST, replace(STUDY, **difference)) is same


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("王^芳", "王芳", True),
        ("Wang^Fang=王^芳", "王^芳", True),
        ("WANG^FANG", "Wang Fang", True),
        ("Wang^Fang=王^芳", "Wang^Fang=王^方", False),
        ("王^芳", "Wang^Fang", True),  # they cannot be compared
        ("WANG^FANG", "WANG^FANG", True),
    ],
)
def test_names_agree_in_the_writing_that_both_have(one: str, other: str, agree: bool) -> None:
    assert names_agree(one, other) is agree


def test_same_modality_and_body_part_come_first_then_the_newest() -> None:
    older = replace(STUDY, study_uid=Uid("1.2.2"), study_date=date(2024, 1, 1))
    other_part = replace(STUDY, study_uid=Uid("1.2.3"), description="ABDOMEN", study_date=date(2026, 1, 1))
    other_modality = replace(STUDY, study_uid=Uid("1.2.4"), modalities=frozenset({"MR"}), study_date=date(2026, 2, 1))
    assert chosen(other_modality, other_part, older, STUDY) == ["1.2.7", "1.2.2", "1.2.3", "1.2.4"]
    assert chosen(other_modality, other_part, older, STUDY, studies_max=2) == ["1.2.7", "1.2.2"]


def test_what_may_be_on_its_way_to_be_read_is_left_alone() -> None:
    same_day = replace(STUDY, study_date=date(2026, 3, 2))
    undated = replace(STUDY, study_uid=Uid("1.2.3"), study_date=None)
    too_old = replace(STUDY, study_uid=Uid("1.2.4"), study_date=date(2020, 1, 1))
    own = replace(STUDY, study_uid=REQUEST.study_uid)
    assert chosen(same_day, undated, too_old, own) == []


def test_what_the_hub_or_the_gateway_has_is_not_fetched_and_counts_towards_the_limit() -> None:
    at_hub, here = replace(STUDY, study_uid=Uid("1.2.2")), replace(STUDY, study_uid=Uid("1.2.3"))
    request = REQUEST.model_copy(update={"held": (Uid("1.2.2"),), "studies_max": 3})
    choice = choose(request, [STUDY, at_hub, here], studies_max=9, years_max=5, known=(Uid("1.2.3"),))
    assert ([one.study_uid for one in choice.fetch], choice.found, choice.here) == (["1.2.7"], 3, 2)


def test_studies_of_other_people_under_the_number_are_counted() -> None:
    choice = choose(REQUEST, [STUDY, replace(STUDY, study_uid=Uid("1.2.2"), sex="M")], studies_max=5, years_max=5)
    assert (choice.found, choice.other_people) == (1, 1)
