"""What contradicts between an order and images, and what a doubt stops."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from reading_queue.domain.identity import Imaged, Mismatch, find_mismatches, may_wait, must_confirm
from storage.contract.lanes import Lane
from storage.contract.orders import Order

NOW = datetime(2026, 3, 2, tzinfo=UTC)
TODAY = date(2026, 3, 3)
HER_ID = "11010519491231002X"  # born 1949-12-31, female
WOMAN = Imaged(number="P1", birth_date=date(1949, 12, 31), sex="F")
FIELDS: dict[str, Any] = {
    "order_id": "a" * 32,
    "version": 1,
    "site_id": "qinghe-01",
    "accession_number": "A1",
    "study_uid": "1.2.3",
    "origin": "console",
    "patient_number": "P1",
    "patient_name": "张三",
    "modality": "CT",
    "procedure_name": "胸部平扫",
    "scheduled_at": NOW,
    "entered_by": "t1",
    "entered_at": NOW,
    "changed_at": NOW,
}
WITH_ID = {"identity_kind": "resident", "identity_number": HER_ID}


def find(images: Imaged, *, names_differ: bool = False, **fields: Any) -> tuple[Mismatch, ...]:
    order = Order.model_validate(FIELDS | fields)
    return find_mismatches(order, images, names_differ=names_differ, today=TODAY)


def test_what_agrees_or_is_not_said_is_no_doubt():
    assert find(WOMAN, **WITH_ID, sex="F", birth_date=date(1949, 12, 31)) == ()
    assert find(Imaged("", None, ""), **WITH_ID, sex="F") == ()
    assert find(WOMAN) == ()
    assert find_mismatches(None, WOMAN, names_differ=True, today=TODAY) == ()


@pytest.mark.parametrize(
    ("images", "fields", "expected"),
    [
        (WOMAN, {"sex": "M"}, (Mismatch.SEX,)),
        (WOMAN, {"sex": "O"}, ()),
        (WOMAN, {"birth_date": date(1950, 1, 1)}, (Mismatch.BIRTH_DATE,)),
        (Imaged("P1", date(1950, 1, 1), "M"), WITH_ID, (Mismatch.ID_BIRTH_DATE, Mismatch.ID_SEX)),
        (Imaged("110105194912310021", date(1949, 12, 31), "F"), {}, (Mismatch.ID_CHECKSUM,)),
        (Imaged("123456789012345678", date(1949, 12, 31), "F"), {}, ()),  # 18 digits and no national ID
        (WOMAN, {"identity_kind": "other", "identity_number": "110105194912310021"}, (Mismatch.ID_CHECKSUM,)),
        (Imaged("440524188001010014", None, ""), WITH_ID, (Mismatch.NATIONAL_ID,)),
        (WOMAN, {"identity_kind": "old_resident", "identity_number": "110105491231002"}, ()),
        (WOMAN, {"identity_kind": "old_resident", "identity_number": "110105491231003"}, (Mismatch.ID_SEX,)),
        (Imaged("P1", date(2026, 3, 1), "M"), WITH_ID | {"identity_kind": "newborn"}, ()),  # the mother's number
    ],
)
def test_each_contradiction_is_named(images: Imaged, fields: dict[str, Any], expected: tuple[Mismatch, ...]):
    assert find(images, **fields) == expected


def test_names_count_for_those_who_have_one():
    assert find(WOMAN, names_differ=True) == (Mismatch.NAME,)
    assert find(WOMAN, names_differ=True, identity_kind="unnamed", patient_name="") == ()
    assert find(WOMAN, names_differ=True, **WITH_ID | {"identity_kind": "newborn"}) == ()


@pytest.mark.parametrize("lane", list(Lane))
def test_only_what_can_wait_waits_and_no_final_signature_goes_without_a_word(lane: Lane):
    assert may_wait(lane) == (lane in {Lane.ROUTINE, Lane.BACKGROUND})
    assert must_confirm(lane, is_final=True)
    assert must_confirm(lane, is_final=False) == may_wait(lane)
