from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.journal.database import Journal
from gateway.journal.orders import (
    AccessionTaken,
    StaleOrder,
    change_order,
    fetched_through,
    find_by_accession,
    find_for_study,
    find_order,
    list_orders,
    mark_order_reported,
    note_order_refused,
    take_over_orders,
    unreported_orders,
)
from gateway.orders import AccessionReserved, NotEnrolled, OrderNotOpen, amend_order, cancel_order, enter_order
from storage.contract.identifiers import Uid
from storage.contract.orders import Order, OrderOrigin, OrderState

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
TYPED = {"patient_number": "P1", "patient_name": "张三", "modality": "CT", "procedure_name": "头颅CT平扫"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.sqlite")
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO identity VALUES (1, 'gw-1', 'qinghe-t01', 'Site', 'hub', 'k', 'p', ?)", (NOW.isoformat(),)
        )
    return journal


def enter(journal: Journal, **typed: object) -> Order:
    return enter_order(journal, TYPED | typed, entered_by="t1", origin=OrderOrigin.CONSOLE, now=NOW)


def test_an_order_gets_its_numbers_without_asking_anybody(journal: Journal):
    first, second = enter(journal), enter(journal)
    assert first.accession_number.startswith("QING")
    assert int(second.accession_number[8:]) == int(first.accession_number[8:]) + 1
    assert first.study_uid != second.study_uid
    row = find_by_accession(journal, first.accession_number)
    assert row is not None
    assert (row.order, row.is_reported, row.problem) == (first, False, None)
    actions = journal.read("SELECT verb FROM actions WHERE subject = ?", (first.order_id,))
    assert [action["verb"] for action in actions] == ["order_entered"]


def test_no_number_is_spent_on_an_order_that_is_refused(journal: Journal):
    with pytest.raises(ValidationError):
        enter(journal, patient_name="")
    assert enter(journal).accession_number.endswith("000001")


def test_no_order_can_be_made_before_the_site_is_known(tmp_path: Path):
    with pytest.raises(NotEnrolled):
        enter(Journal(tmp_path / "new.sqlite"))


def test_an_accession_number_of_another_order_is_refused(journal: Journal):
    taken = enter(journal).accession_number
    with pytest.raises(AccessionTaken):
        enter(journal, accession_number=taken)


@pytest.mark.parametrize("given", ["QING7K2M000123", "qing7k2m000123", "QINGHUBU00000001", " QING7K2M000123 "])
def test_an_accession_number_that_this_site_may_give_by_itself_is_refused_and_spends_none(journal: Journal, given: str):
    with pytest.raises(AccessionReserved):
        enter(journal, accession_number=given)
    assert enter(journal).accession_number.endswith("000001")


@pytest.mark.parametrize("given", ["QING7K2M00012", "QING-2026-00017", "ZT.2026/11 0001", "QING7K2L000123", "7"])
def test_an_accession_number_of_the_clinics_own_system_is_kept(journal: Journal, given: str):
    assert enter(journal, accession_number=given).accession_number == given
    assert enter(journal).accession_number.endswith("000001")


def test_a_change_is_a_new_version_and_is_due_to_be_reported_again(journal: Journal):
    order = enter(journal)
    with journal.transaction() as connection:
        mark_order_reported(connection, order)
    assert unreported_orders(journal, 9) == []
    changed = amend_order(journal, order.order_id, 1, {"history": "头痛3天"}, changed_by="t2", now=NOW)
    assert (changed.version, changed.history, changed.entered_by) == (2, "头痛3天", "t1")
    assert unreported_orders(journal, 9) == [changed]


def test_a_change_of_an_older_version_is_refused(journal: Journal):
    order = enter(journal)
    amend_order(journal, order.order_id, 1, {"history": "a"}, changed_by="t2", now=NOW)
    with pytest.raises(StaleOrder):
        amend_order(journal, order.order_id, 1, {"history": "b"}, changed_by="t3", now=NOW)


def test_a_cancelled_order_stays_and_cannot_be_changed(journal: Journal):
    order = enter(journal)
    cancelled = cancel_order(journal, order.order_id, 1, "重复申请", cancelled_by="t1", now=NOW)
    assert cancelled.state is OrderState.CANCELLED
    with pytest.raises(OrderNotOpen):
        amend_order(journal, order.order_id, 2, {"history": "a"}, changed_by="t1", now=NOW)


def test_a_refusal_by_the_hub_waits_for_a_person(journal: Journal):
    order = enter(journal)
    with journal.transaction() as connection:
        note_order_refused(connection, order.order_id, 1, "no agreement")
    assert unreported_orders(journal, 9) == []
    amend_order(journal, order.order_id, 1, {"history": "a"}, changed_by="t1", now=NOW)
    assert len(unreported_orders(journal, 9)) == 1


def test_orders_of_the_hub_are_taken_over_and_never_an_older_version(journal: Journal):
    order = enter(journal).model_copy(update={"order_id": "b" * 32, "accession_number": "HUB1", "version": 3})
    take_over_orders(journal, [order], through=7)
    take_over_orders(journal, [order.model_copy(update={"version": 2, "history": "old"})], through=5)
    row = find_order(journal, "b" * 32)
    assert row is not None
    assert (row.order, row.is_reported) == (order, True)
    assert fetched_through(journal) == 7


def test_an_order_whose_number_another_has_here_waits_and_holds_up_no_other(journal: Journal) -> None:
    mine = enter(journal)
    same_number = mine.model_copy(update={"order_id": "b" * 32})
    other = mine.model_copy(update={"order_id": "c" * 32, "accession_number": "HUB2"})
    assert not take_over_orders(journal, [same_number, other], through=7)
    assert find_order(journal, "b" * 32) is None
    assert find_order(journal, "c" * 32) is not None
    assert fetched_through(journal) == 0
    with journal.transaction() as connection:
        change_order(connection, mine.model_copy(update={"accession_number": "MINE2", "version": 2}))
    assert take_over_orders(journal, [same_number, other], through=7)
    row = find_order(journal, "b" * 32)
    assert row is not None
    assert row.order.accession_number == same_number.accession_number
    assert fetched_through(journal) == 7


def test_orders_of_a_day_are_found(journal: Journal):
    today = enter(journal)
    enter(journal, scheduled_at=NOW + timedelta(days=1))
    found = list_orders(journal, since=NOW - timedelta(hours=8), until=NOW + timedelta(hours=16))
    assert [row.order for row in found] == [today]
    assert list_orders(journal, states=[OrderState.DONE]) == []


def test_a_study_finds_its_order_by_accession_number_before_its_uid(journal: Journal):
    by_uid, by_number = enter(journal), enter(journal)
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO studies VALUES (?, 'P1', '张三', NULL, '', ?, '', '', NULL, '', '', '', NULL, ?)",
            (by_uid.study_uid, by_number.accession_number, NOW.isoformat()),
        )
    found = find_for_study(journal, Uid(by_uid.study_uid))
    assert found is not None
    assert found.order == by_number
    assert find_for_study(journal, Uid("1.2.3")) is None


@pytest.mark.parametrize("text_version", [2, 3])
def test_an_imported_study_stays_the_orders_when_a_text_is_changed_elsewhere(journal: Journal, text_version: int):
    order = enter(journal)
    with journal.transaction() as connection:
        mark_order_reported(connection, order)
        changes = {"state": OrderState.DONE, "study_uid": "1.2.3", "version": 2}
        change_order(connection, order.model_copy(update=changes))
    elsewhere = order.model_copy(update={"version": text_version, "history": "typed elsewhere"})
    take_over_orders(journal, [elsewhere], through=1)
    row = find_order(journal, order.order_id)
    assert row is not None
    assert (row.order.study_uid, row.order.state, row.order.history) == ("1.2.3", OrderState.DONE, "typed elsewhere")


@pytest.mark.parametrize("text_version", [2, 3])
def test_an_examination_reported_here_and_a_text_changed_elsewhere_are_merged(
    journal: Journal, text_version: int
) -> None:
    order = enter(journal)
    with journal.transaction() as connection:
        mark_order_reported(connection, order)
        examined = {"state": OrderState.DONE, "exam_started_at": NOW, "expected_instances": 120, "version": 2}
        change_order(connection, order.model_copy(update=examined))
    elsewhere = order.model_copy(update={"version": text_version, "history": "typed elsewhere"})
    take_over_orders(journal, [elsewhere], through=1)
    row = find_order(journal, order.order_id)
    assert row is not None
    merged = (row.order.state, row.order.expected_instances, row.order.history, row.order.version)
    assert merged == (OrderState.DONE, 120, "typed elsewhere", text_version + 1)
    assert not row.is_reported, "the hub is to hear of it"
