"""An import for an order: the study becomes the order's, its bytes stay, and doubts wait for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.joining import Joined, join
from gateway.journal.orders import find_for_study, find_order
from gateway.lanes import requested_by_order
from gateway.orders import cancel_order, enter_order
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.orders import Order, OrderOrigin, OrderState
from tests.integration.gateway_import.conftest import ImportingGateway
from tests.integration.gateway_receive.instances import STUDY, write_slice
from tests.integration.gateway_receive.modality import dataset_sha256
from tests.integration.gateway_receive.receiving import utc_now
from tests.support.folders import files_under

PATIENT = {"patient_number": "P1", "patient_name": "TEST^RECEIVE"}
OTHER_STUDY = "1.2.77"


@pytest.fixture(autouse=True)
def at_site(gateway: ImportingGateway) -> None:
    gateway.receiving.enrol()


def enter(gateway: ImportingGateway, **typed: str) -> Order:
    fields = PATIENT | {"modality": "CT", "procedure_name": "头颅CT", "lane": "urgent"} | typed
    return enter_order(gateway.receiving.journal, fields, entered_by="t1", origin=OrderOrigin.CONSOLE, now=utc_now())


def newest(gateway: ImportingGateway, order: Order) -> Order:
    row = find_order(gateway.receiving.journal, order.order_id)
    assert row is not None
    return row.order


def order_of_study(gateway: ImportingGateway, study_uid: str = STUDY) -> str | None:
    row = find_for_study(gateway.receiving.journal, Uid(study_uid))
    return row.order.order_id if row is not None else None


@pytest.mark.parametrize("images", [{"patient_number": "P1"}, {}, {"patient_number": "P1", "patient_name": ""}])
def test_study_is_found_by_its_order_and_its_bytes_stay(gateway: ImportingGateway, tmp_path: Path, images):
    order = enter(gateway)
    source = write_slice(tmp_path / "cd", **images)
    row = gateway.run(tmp_path / "cd", order_id=order.order_id)
    assert row.joined == Joined.JOINED
    assert order_of_study(gateway) == order.order_id
    assert requested_by_order(gateway.receiving.journal, Uid(STUDY)).order is Lane.URGENT
    joined = newest(gateway, order)
    assert (joined.version, joined.study_uid, joined.state) == (2, STUDY, OrderState.DONE)
    assert joined.accession_number == order.accession_number
    (held,) = files_under(gateway.receiving.spool.root, ".dcm")
    assert dataset_sha256(held) == dataset_sha256(source)
    again = join(gateway.receiving.journal, row, actor="t1", now=utc_now())
    assert (again, newest(gateway, order).version) == (Joined.JOINED, 2), "harmless to repeat"


@pytest.mark.parametrize("images", [{"patient_number": "P2"}, {"patient_name": "ZHANG^SAN", "patient_number": "P1"}])
def test_another_patients_images_wait_for_a_person(gateway: ImportingGateway, tmp_path: Path, images):
    order = enter(gateway)
    write_slice(tmp_path / "cd", **images)
    row = gateway.run(tmp_path / "cd", order_id=order.order_id)
    assert row.joined == Joined.PATIENT_DIFFERS
    assert order_of_study(gateway) is None
    assert newest(gateway, order) == order
    join(gateway.receiving.journal, row, actor="t2", now=utc_now(), confirmed=True)
    assert gateway.row(row.import_id).joined == Joined.JOINED
    assert order_of_study(gateway) == order.order_id
    actions = gateway.receiving.journal.read("SELECT actor FROM actions WHERE verb = 'order_changed'")
    assert [action["actor"] for action in actions] == ["t2"], "who said so stands in the audit trail"


def test_several_studies_are_joined_to_no_order(gateway: ImportingGateway, tmp_path: Path):
    order = enter(gateway)
    write_slice(tmp_path / "cd")
    write_slice(tmp_path / "cd", study=OTHER_STUDY)
    assert gateway.run(tmp_path / "cd", order_id=order.order_id).joined == Joined.SEVERAL
    assert newest(gateway, order) == order


def test_import_that_brings_nothing_new_is_joined_to_no_order(gateway: ImportingGateway, tmp_path: Path):
    order = enter(gateway)
    write_slice(tmp_path / "cd")
    gateway.run(tmp_path / "cd")
    assert gateway.run(tmp_path / "cd", order_id=order.order_id).joined == Joined.NOTHING


def test_study_of_another_order_stays_with_it(gateway: ImportingGateway, tmp_path: Path):
    order, other = enter(gateway), enter(gateway, patient_number="P2")
    write_slice(tmp_path / "cd", accession_number=other.accession_number)
    assert gateway.run(tmp_path / "cd", order_id=order.order_id).joined == Joined.OTHER_ORDER
    assert order_of_study(gateway) == other.order_id


def test_order_keeps_the_images_that_it_has(gateway: ImportingGateway, tmp_path: Path):
    order = enter(gateway)
    write_slice(tmp_path / "scanner", accession_number=order.accession_number)
    gateway.run(tmp_path / "scanner")
    write_slice(tmp_path / "cd", study=OTHER_STUDY)
    assert gateway.run(tmp_path / "cd", order_id=order.order_id).joined == Joined.ORDER_HAS_IMAGES
    assert (order_of_study(gateway), order_of_study(gateway, OTHER_STUDY)) == (order.order_id, None)


def test_order_that_was_cancelled_meanwhile_gets_nothing(gateway: ImportingGateway, tmp_path: Path):
    order = enter(gateway)
    cancel_order(gateway.receiving.journal, order.order_id, 1, "重复", cancelled_by="t1", now=utc_now())
    write_slice(tmp_path / "cd")
    assert gateway.run(tmp_path / "cd", order_id=order.order_id).joined == Joined.ORDER_BEGUN
    assert order_of_study(gateway) is None
