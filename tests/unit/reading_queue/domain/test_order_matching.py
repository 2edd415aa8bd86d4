"""Which order is perhaps of which study: by patient, modality and day, and nothing that contradicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reading_queue.domain.order_matching import (
    DAYS_APART_MAX,
    SamePatient,
    StudyOfPatient,
    are_two_patients,
    compare,
)
from storage.contract.orders import Order

CLINIC = ZoneInfo("Asia/Shanghai")
AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
STUDY = StudyOfPatient(
    "site-1", "1.2.3", "P1", "ZHANG^WEI=张^伟", date(1960, 5, 1), "M", ("CT", "SR"), date(2026, 3, 2)
)


def order(**changed: Any) -> Order:
    fields: dict[str, Any] = {
        "order_id": "a" * 32,
        "version": 1,
        "site_id": "site-1",
        "accession_number": "A1",
        "study_uid": "2.25.7",
        "origin": "hub",
        "patient_number": "P1",
        "patient_name": "张伟",
        "birth_date": date(1960, 5, 1),
        "sex": "M",
        "modality": "CT",
        "procedure_name": "胸部平扫",
        "scheduled_at": AT,
        "entered_by": "t1",
        "entered_at": AT,
        "changed_at": AT,
    }
    return Order.model_validate(fields | changed)


def same(given: Order, study: StudyOfPatient = STUDY) -> SamePatient | None:
    found = compare(given, study, CLINIC)
    return found.same if found is not None else None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, SamePatient.NUMBER),
        ({"birth_date": None, "sex": ""}, SamePatient.NUMBER),
        ({"patient_number": "HIS-1"}, SamePatient.PERSON),
        ({"patient_number": "HIS-1", "birth_date": None}, None),
        ({"patient_number": "HIS-1", "sex": ""}, None),
        ({"patient_name": "李四"}, None),
        ({"birth_date": date(1961, 5, 1)}, None),
        ({"sex": "F"}, None),
        ({"modality": "MR"}, None),
        ({"patient_name": "", "identity_kind": "unnamed"}, SamePatient.NUMBER),
    ],
)
def test_patient_and_modality_decide(changed: dict[str, Any], expected: SamePatient | None) -> None:
    assert same(order(**changed)) == expected


def test_days_are_those_of_the_clinic() -> None:
    late = order(scheduled_at=datetime(2026, 3, 1, 17, 0, tzinfo=UTC))  # 1 a.m. of 2 March at the clinic
    found = compare(late, STUDY, CLINIC)
    assert found is not None
    assert found.days_apart == 0


@pytest.mark.parametrize(("days", "expected"), [(DAYS_APART_MAX, SamePatient.NUMBER), (DAYS_APART_MAX + 1, None)])
def test_far_days_speak_against_it(days: int, expected: SamePatient | None) -> None:
    assert same(order(), replace(STUDY, day=date(2026, 3, 2 + days))) == expected


def test_plain_films_are_one_kind_however_the_device_calls_them() -> None:
    assert same(order(modality="DX"), replace(STUDY, modalities=("CR",))) is SamePatient.NUMBER


WOMAN = {"identity_kind": "resident", "identity_number": "11010519491231002X", "birth_date": None, "sex": ""}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, False),
        ({"patient_name": "李四"}, False),  # the same number: a slip of who typed it
        ({"patient_number": "P2"}, False),
        ({"patient_number": "P2", "patient_name": "李四"}, True),
        ({"patient_number": "P2", "birth_date": date(1961, 5, 1)}, True),
        ({"patient_number": "P2", "sex": "F"}, True),
        ({"patient_number": "P2", "patient_name": "", "identity_kind": "unnamed"}, False),
    ],
)
def test_two_orders_are_of_two_people_when_number_and_person_differ(changed: dict[str, Any], expected: bool) -> None:
    assert are_two_patients(order(), order(**changed)) is expected
    assert are_two_patients(order(**changed), order()) is expected


def test_two_identity_numbers_are_two_people() -> None:
    other = WOMAN | {"identity_number": "440524188001010014", "patient_number": "P2"}
    assert are_two_patients(order(**WOMAN), order(**other))
