from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.contract.accession_numbers import (
    ACCESSION_CHARACTERS_MAX,
    HUB_MARK,
    SEQUENCE_MAX,
    accession_number_of,
    is_form_of_site,
    mark_of,
)
from storage.contract.national_id import (
    IdentityKind,
    NationalIdProblem,
    check_character,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import Order, OrderGap, explain_faults, find_gaps

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
TODAY = date(2026, 11, 26)
RESIDENT = "11010519491231002X"  # the standard's own example: born 1949-12-31, female

FIELDS: dict[str, Any] = {
    "order_id": "a" * 32,
    "version": 1,
    "site_id": "qinghe-t01",
    "accession_number": "QING0ABC000001",
    "study_uid": "2.25.1",
    "origin": "console",
    "patient_number": "P0001",
    "patient_name": "张三",
    "sex": "F",
    "birth_date": date(1949, 12, 31),
    "identity_kind": "resident",
    "identity_number": RESIDENT,
    "modality": "ct",
    "procedure_name": "头颅CT平扫",
    "scheduled_at": NOW,
    "entered_by": "t1",
    "entered_at": NOW,
    "changed_at": NOW,
}


def codes(**changed: object) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        Order.model_validate(FIELDS | changed)
    return [fault.code for fault in explain_faults(refused.value)]


def test_an_order_is_read_as_it_was_written():
    order = Order.model_validate(FIELDS)
    assert Order.model_validate_json(order.model_dump_json()) == order
    assert order.modality == "CT"
    assert order.person_name() == "张三"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"patient_name": ""}, "name_missing"),
        ({"sex": "M", "identity_kind": "none", "identity_number": "", "pregnancy": "yes"}, "pregnant_man"),
        ({"green_channel": "stroke"}, "green_channel_lane"),
        ({"birth_date": date(2027, 1, 1), "identity_kind": "none", "identity_number": ""}, "birth_date_future"),
        ({"state": "cancelled"}, "reason_missing"),
        ({"exam_started_at": NOW, "exam_ended_at": NOW.replace(hour=7)}, "exam_times"),
        ({"identity_number": ""}, "identity_missing"),
        ({"identity_kind": "none"}, "identity_kind_missing"),
        ({"identity_number": "110105194912310021"}, "national_id_checksum"),
        ({"identity_number": "1101051949123100"}, "national_id_length"),
        ({"identity_number": "11010519491331002X"}, "national_id_date"),
        ({"identity_number": "99010519491231002X"}, "national_id_province"),
        ({"birth_date": date(1950, 1, 1)}, "birth_date_differs"),
        ({"sex": "M"}, "sex_differs"),
        ({"modality": "SR"}, "modality_unknown"),
        ({"patient_name": "张^三=李"}, "name_form"),
        ({"accession_number": "A*"}, "accession_characters"),
        ({"history": "a\x07b"}, "text_characters"),
        ({"procedure_name": "a\\b"}, "text_characters"),
        ({"accession_number": "A" * 17}, "too_long"),
        ({"history": "长" * 4001}, "too_long"),
        ({"order_id": "../../etc"}, "id_form"),
        ({"colour": "red"}, "extra_forbidden"),
    ],
)
def test_a_broken_rule_is_named(changed: dict[str, object], code: str):
    assert codes(**changed) == [code]


def test_faults_never_quote_what_was_typed():
    with pytest.raises(ValidationError) as refused:
        Order.model_validate(
            FIELDS | {"patient_name": "慕容^雪=鸢", "identity_number": "110105194912310021", "modality": "QQ"}
        )
    words = " ".join(f"{fault.field} {fault.code} {fault.words}" for fault in explain_faults(refused.value))
    for secret in ("慕容", "110105194912310021", "QQ"):
        assert secret not in words


def test_an_unnamed_emergency_patient_can_be_ordered_for_at_once():
    order = Order.model_validate(
        FIELDS
        | {"patient_name": "", "identity_kind": "unnamed", "identity_number": "", "sex": "", "birth_date": None}
        | {"lane": "stat", "green_channel": "trauma"}
    )
    assert order.person_name() == "无名氏"
    assert OrderGap.SEX not in find_gaps(order)


def test_a_newborn_is_known_by_its_mothers_number():
    order = Order.model_validate(
        FIELDS | {"identity_kind": "newborn", "birth_order": 1, "sex": "M", "birth_date": date(2026, 11, 25)}
    )
    assert order.identity_kind is IdentityKind.NEWBORN


def test_what_a_reader_would_miss_is_named_and_holds_nothing_up():
    assert find_gaps(Order.model_validate(FIELDS)) == (OrderGap.HISTORY, OrderGap.QUESTION, OrderGap.CONSENT)


def test_an_old_number_of_fifteen_digits_becomes_the_one_that_replaced_it():
    found = parse_old_resident_id("110105491231002", today=TODAY)
    assert (found.number, found.birth_date, found.sex) == (RESIDENT, date(1949, 12, 31), "F")


@given(st.integers(0, 999), st.dates(date(1900, 1, 1), date(2020, 1, 1)))
def test_every_rightly_made_number_is_accepted_and_every_single_slip_is_found(count: int, born: date):
    body = f"320481{born:%Y%m%d}{count:03d}"
    number = body + check_character(body)
    assert parse_resident_id(number.lower(), today=TODAY).birth_date == born
    for place in range(17):
        slip = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
        with pytest.raises(NationalIdProblem):
            parse_resident_id(slip, today=TODAY)


@given(st.integers(1, SEQUENCE_MAX), st.integers(1, SEQUENCE_MAX), st.text(max_size=40))
def test_accession_numbers_fit_and_differ(one: int, other: int, gateway_id: str):
    first = accession_number_of("qinghe-t01", mark_of(gateway_id), one)
    second = accession_number_of("qinghe-t01", mark_of(gateway_id), other)
    assert is_form_of_site("qinghe-t01", first)
    assert len(first) <= ACCESSION_CHARACTERS_MAX
    assert first.isascii()
    assert first.isalnum()
    assert (first == second) == (one == other)
    assert mark_of(gateway_id) != HUB_MARK
    assert first.startswith("QING")


def test_numbers_beyond_what_an_accession_number_can_hold_are_refused():
    for sequence in (0, SEQUENCE_MAX + 1):
        with pytest.raises(ValueError, match="counted from"):
            accession_number_of("a", "0000", sequence)
