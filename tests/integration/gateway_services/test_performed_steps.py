"""Performed steps, reported by pynetdicom as a scanner does; there is no hub in these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE

from gateway.completeness import Patience
from gateway.completion import NEVER_ENDS_AFTER
from gateway.console.attention import Matter, list_matters, settle
from gateway.console.language import catalogue
from gateway.journal.controls import find_control, set_lane
from gateway.journal.database import Journal
from gateway.journal.orders import find_order
from gateway.journal.performed_steps import add_step
from gateway.operations import Asker, change_study_lane
from gateway.orders import cancel_order, enter_order
from gateway.performed_steps.arrivals import ArrivedOrders
from gateway.performed_steps.progress import PerformedStep, StepState
from storage.contract.identifiers import Uid, new_uid
from storage.contract.lanes import Lane
from storage.contract.manifest import Manifest
from storage.contract.orders import Order, OrderOrigin, OrderState
from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.gateway_receive.modality import send
from tests.integration.gateway_receive.receiving import PATIENCE, utc_now
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

MPPS = "1.2.840.10008.3.1.2.3.3"
CLINIC = ZoneInfo("Asia/Shanghai")
STUDY = "1.2.826.0.1.3680043.10.61"
TYPED = {"patient_number": "P1", "patient_name": "张三", "modality": "CT", "procedure_name": "头颅CT平扫"}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., AnsweringGateway]]:
    running: list[AnsweringGateway] = []

    def start(patience: Patience = PATIENCE) -> AnsweringGateway:
        gateway = AnsweringGateway(tmp_path / f"gateway{len(running)}", patience=patience).start()
        gateway.enrol()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


Begin = Callable[..., AnsweringGateway]


def enter(gateway: AnsweringGateway, **typed: Any) -> Order:
    return enter_order(gateway.journal, TYPED | typed, entered_by="t", origin=OrderOrigin.CONSOLE, now=utc_now())


def order_now(gateway: AnsweringGateway, order: Order) -> Order:
    row = find_order(gateway.journal, order.order_id)
    assert row is not None
    return row.order


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def begun(*accession_numbers: str, study_uid: str = STUDY, patient: str = "P1", **values: Any) -> Dataset:
    now = utc_now().astimezone(CLINIC)
    steps = [item(StudyInstanceUID=study_uid, AccessionNumber=number) for number in accession_numbers or ("",)]
    given = {
        "SpecificCharacterSet": "GB18030",
        "PatientName": "张三",
        "PatientID": patient,
        "PerformedProcedureStepID": "PPS1",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepStartDate": f"{now:%Y%m%d}",
        "PerformedProcedureStepStartTime": f"{now:%H%M%S}",
        "PerformedStationAETitle": "CT1",
        "Modality": "CT",
        "ScheduledStepAttributesSequence": Sequence(steps),
        "PerformedSeriesSequence": Sequence(),
    }
    return item(**(given | values))


def ended(status: str, *instances: str, **values: Any) -> Dataset:
    now = utc_now().astimezone(CLINIC)
    references = [
        item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid) for uid in instances
    ]
    series = item(SeriesInstanceUID=f"{STUDY}.1", ReferencedImageSequence=Sequence(references))
    given = {
        "PerformedProcedureStepStatus": status,
        "PerformedProcedureStepEndDate": f"{now:%Y%m%d}",
        "PerformedProcedureStepEndTime": f"{now:%H%M%S}",
        "PerformedSeriesSequence": Sequence([series]),
    }
    return item(**(given | values))


def report(gateway: AnsweringGateway, *messages: tuple[str, str, Dataset]) -> list[Dataset]:
    """Send N-CREATEs ("create") and N-SETs ("set") on one association; return their answers."""
    ae = AE(ae_title="CT1")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
    assert association.is_established
    try:
        answers = []
        for kind, uid, dataset in messages:
            call = association.send_n_create if kind == "create" else association.send_n_set
            status, _ = call(dataset, MPPS, uid)
            answers.append(status)
        return answers
    finally:
        association.release()


def transfers_of(gateway: AnsweringGateway, study_uid: str) -> list[Manifest]:
    rows = gateway.journal.read("SELECT manifest FROM transfers WHERE study_uid = ? ORDER BY revision", (study_uid,))
    return [Manifest.model_validate_json(row["manifest"]) for row in rows]


def manifest_of(gateway: AnsweringGateway, study_uid: str, count: int = 1) -> Manifest:
    manifests = transfers_of(gateway, study_uid)
    assert len(manifests) == count
    return manifests[-1]


def matters_of(gateway: AnsweringGateway, kind: str) -> list[Matter]:
    found = list_matters(
        gateway.journal, gateway.spool, utc_now(), disk_floor_bytes=0, accounts_offline=timedelta(days=7)
    )
    return [matter for matter in found if matter.kind == kind]


def statuses(gateway: AnsweringGateway, *messages: tuple[str, str, Dataset]) -> list[int]:
    return [int(answer.Status) for answer in report(gateway, *messages)]


def test_an_examination_moves_its_order_and_tells_how_many_images_to_expect(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    order, step = enter(gateway), new_uid()
    instances = [instance_uid(number, STUDY) for number in (1, 2, 3)]
    assert statuses(gateway, ("create", step, begun(order.accession_number))) == [0x0000]
    started = order_now(gateway, order)
    assert started.state is OrderState.IN_PROGRESS
    assert started.exam_started_at is not None
    assert abs(utc_now() - started.exam_started_at) < timedelta(minutes=1)
    assert statuses(gateway, ("set", step, ended("COMPLETED", *instances))) == [0x0000]
    done = order_now(gateway, order)
    assert (done.state, done.expected_instances, done.version) == (OrderState.DONE, 3, 3)
    assert done.exam_ended_at is not None
    assert gateway.expected == [(STUDY, 3)]
    assert find_control(gateway.journal, Uid(STUDY)).expected == 3


def test_study_is_complete_with_the_last_image_that_the_scanner_announced(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    order, step = enter(gateway), new_uid()
    slices = [write_slice(tmp_path / "sent", number, STUDY) for number in (1, 2)]
    report(
        gateway,
        ("create", step, begun(order.accession_number)),
        ("set", step, ended("COMPLETED", *[instance_uid(number, STUDY) for number in (1, 2)])),
    )
    send(gateway.port, *slices)

    def because() -> str:
        rows = gateway.journal.read("SELECT manifest ->> '$.complete_because' AS because FROM transfers")
        assert rows
        return str(rows[0]["because"])

    assert eventually(because) == "expected_count"


def test_study_waits_for_the_end_of_an_examination_that_takes_long(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()  # its quiet period is a fraction of a second
    step, other = new_uid(), f"{STUDY}.9"
    report(gateway, ("create", step, begun()))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    send(gateway.port, write_slice(tmp_path / "sent", 2, other))
    eventually(lambda: manifest_of(gateway, other))  # sent later, is through
    assert not transfers_of(gateway, STUDY)
    report(gateway, ("set", step, ended("COMPLETED")))
    assert eventually(lambda: manifest_of(gateway, STUDY)).complete_because == "quiet_period"


def test_examination_that_is_never_reported_ended_goes_on_and_is_told(begin: Begin, tmp_path: Path) -> None:
    gateway = begin(patience=Patience(0.1, 30, open_step_max_s=0.3))
    step = new_uid()
    report(gateway, ("create", step, begun()))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    assert eventually(lambda: manifest_of(gateway, STUDY)).complete_because == "step_stayed_open"
    (matter,) = matters_of(gateway, "step_stayed_open")
    assert (matter.subject, matter.shown["arrived"]) == (STUDY, 1)
    report(gateway, ("set", step, ended("COMPLETED", instance_uid(1, STUDY))))
    assert matters_of(gateway, "step_stayed_open") == []


def test_stat_study_is_not_kept_by_an_examination_that_is_never_reported_ended(begin: Begin, tmp_path: Path) -> None:
    gateway = begin(patience=Patience(0.1, 30, open_step_max_s=1800, missing_instances_max_s=0.3))
    report(gateway, ("create", new_uid(), begun()))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    change_study_lane(gateway.journal, Asker("li", utc_now()), STUDY, Lane.STAT)
    gateway.watcher.notice_change()
    manifest = eventually(lambda: manifest_of(gateway, STUDY))
    assert (manifest.lane, manifest.complete_because) == ("stat", "step_stayed_open")


@pytest.mark.parametrize("ended_one", [False, True])
def test_device_that_never_reports_an_end_is_waited_for_no_more(begin: Begin, tmp_path: Path, ended_one: bool) -> None:
    gateway = begin(patience=Patience(0.1, 30, open_step_max_s=60))
    long_ago = utc_now() - timedelta(days=1)
    with gateway.journal.transaction() as connection:
        for number in range(NEVER_ENDS_AFTER):
            state = StepState.COMPLETED if ended_one and not number else StepState.IN_PROGRESS
            step = PerformedStep(new_uid(), state, f"{STUDY}.{number}", "", started_at=None, ended_at=None)
            add_step(connection, step, "CT1", long_ago + timedelta(minutes=number))
    report(gateway, ("create", new_uid(), begun()))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    send(gateway.port, write_slice(tmp_path / "sent", 2, f"{STUDY}.9"))
    eventually(lambda: manifest_of(gateway, f"{STUDY}.9"))  # sent later, is through
    if ended_one:
        assert not transfers_of(gateway, STUDY)
    else:
        assert eventually(lambda: manifest_of(gateway, STUDY)).complete_because == "quiet_period"


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_announced_images_that_do_not_come_are_waited_for_and_then_told(
    begin: Begin, tmp_path: Path, status: str
) -> None:
    gateway = begin(patience=Patience(0.1, 30, missing_instances_max_s=0.6))
    step = new_uid()
    report(gateway, ("create", step, begun()))
    send(gateway.port, *(write_slice(tmp_path / "sent", number, STUDY) for number in range(1, 10)))
    report(gateway, ("set", step, ended(status, *(instance_uid(number, STUDY) for number in range(1, 11)))))
    manifest = eventually(lambda: manifest_of(gateway, STUDY))
    assert (manifest.complete_because, manifest.expected_instances) == ("instances_missing", 10)
    assert manifest.completed_at - manifest.last_received_at() >= timedelta(seconds=0.6)
    (matter,) = matters_of(gateway, "instances_missing")
    told = [catalogue(language)["remedy.instances_missing"].format(**matter.shown) for language in ("en", "zh")]
    assert told[0].startswith("9 of 10 arrived")
    assert "已到 9 幅，应收 10 幅" in told[1]
    send(gateway.port, write_slice(tmp_path / "sent", 10, STUDY))
    eventually(lambda: manifest_of(gateway, STUDY, 2))
    assert matters_of(gateway, "instances_missing") == []


def test_what_is_missing_of_an_examination_needs_nobody_when_a_person_has_settled_it(
    begin: Begin, tmp_path: Path
) -> None:
    gateway = begin(patience=Patience(0.1, 30, missing_instances_max_s=0.1))
    report(gateway, ("create", step := new_uid(), begun()), ("set", step, ended("COMPLETED", "1.2.3", "1.2.4")))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    eventually(lambda: manifest_of(gateway, STUDY))
    (matter,) = matters_of(gateway, "instances_missing")
    settle(gateway.journal, matter.settles, "t", utc_now())
    assert matters_of(gateway, "instances_missing") == []


def test_the_last_step_of_a_study_to_end_speaks_for_all_of_them(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    first, second = new_uid(), new_uid()
    named = [instance_uid(number, STUDY) for number in (1, 2, 3)]
    report(
        gateway,
        ("create", first, begun()),
        ("create", second, begun()),
        ("set", first, ended("DISCONTINUED", *named[:2])),
        ("set", second, ended("COMPLETED", named[2])),
    )
    assert gateway.expected == [(STUDY, 3)]


def test_images_that_travel_already_are_not_waited_for_again(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    step = new_uid()
    report(gateway, ("create", step, begun()))
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY))
    gateway.confirm(STUDY)
    report(gateway, ("set", step, ended("COMPLETED", instance_uid(1, STUDY), instance_uid(2, STUDY))))
    assert gateway.expected == [(STUDY, 1)]


def test_one_examination_does_several_orders(begin: Begin) -> None:
    gateway = begin()
    head, chest = enter(gateway), enter(gateway, procedure_name="胸部CT平扫")
    step = new_uid()
    report(
        gateway,
        ("create", step, begun(head.accession_number, chest.accession_number)),
        ("set", step, ended("COMPLETED", "1.2.3")),
    )
    assert {order_now(gateway, order).state for order in (head, chest)} == {OrderState.DONE}


def test_examination_that_goes_on_at_another_device_keeps_its_order_open(begin: Begin) -> None:
    gateway = begin()
    order = enter(gateway)
    first, second = new_uid(), new_uid()
    report(
        gateway,
        ("create", first, begun(order.accession_number)),
        ("create", second, begun(order.accession_number)),
        ("set", first, ended("COMPLETED", "1.2.3")),
    )
    assert order_now(gateway, order).state is OrderState.IN_PROGRESS
    assert gateway.expected == []
    report(gateway, ("set", second, ended("COMPLETED", "1.2.4", "1.2.5")))
    done = order_now(gateway, order)
    assert (done.state, done.expected_instances) == (OrderState.DONE, 3)


def test_examination_that_was_broken_off_says_why(begin: Begin) -> None:
    gateway = begin()
    order, step = enter(gateway), new_uid()
    why = item(CodeValue="110501", CodingSchemeDesignator="DCM", CodeMeaning="Equipment failure")
    discontinued = ended("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=Sequence([why]))
    report(gateway, ("create", step, begun(order.accession_number)), ("set", step, discontinued))
    assert (order_now(gateway, order).state, order_now(gateway, order).state_reason) == (
        OrderState.DISCONTINUED,
        "Equipment failure",
    )


def test_a_cancelled_order_that_was_examined_all_the_same_was_examined(begin: Begin) -> None:
    gateway = begin()
    order, step = enter(gateway), new_uid()
    cancel_order(gateway.journal, order.order_id, order.version, "no show", cancelled_by="t", now=utc_now())
    report(gateway, ("create", step, begun(order.accession_number)))
    assert order_now(gateway, order).state is OrderState.IN_PROGRESS


def test_order_is_found_by_the_uid_that_its_worklist_item_gave_out(begin: Begin) -> None:
    gateway = begin()
    order = enter(gateway)
    report(gateway, ("create", new_uid(), begun(study_uid=order.study_uid)))
    assert order_now(gateway, order).state is OrderState.IN_PROGRESS


def test_another_patient_under_the_orders_number_moves_nothing_and_is_told(begin: Begin) -> None:
    gateway = begin()
    order = enter(gateway)
    assert statuses(gateway, ("create", new_uid(), begun(order.accession_number, patient="P2"))) == [0x0000]
    assert order_now(gateway, order).state is OrderState.SCHEDULED
    assert "Compare the patient" in refusal_that_says(gateway, "for another patient").remedy


def test_scanner_without_an_order_is_served(begin: Begin) -> None:
    gateway = begin()
    step = new_uid()
    assert statuses(gateway, ("create", step, begun()), ("set", step, ended("COMPLETED", "1.2.3"))) == [0, 0]
    assert gateway.expected == [(STUDY, 1)]


def test_time_of_a_clock_that_was_reset_starts_no_clock(begin: Begin) -> None:
    gateway = begin()
    order = enter(gateway)
    report(gateway, ("create", new_uid(), begun(order.accession_number, PerformedProcedureStepStartDate="20000101")))
    assert order_now(gateway, order).state is OrderState.IN_PROGRESS
    assert order_now(gateway, order).exam_started_at is None
    assert "clock" in refusal_that_says(gateway, "at a time that cannot be right").remedy


def test_what_the_standard_forbids_gets_its_status(begin: Begin) -> None:
    gateway = begin()
    step, done, no_status = new_uid(), ended("COMPLETED", "1.2.3"), begun()
    del no_status.PerformedProcedureStepStatus
    assert statuses(
        gateway,
        ("set", new_uid(), done),
        ("create", new_uid(), begun(PerformedProcedureStepStatus="COMPLETED")),
        ("create", new_uid(), no_status),
        ("create", new_uid(), begun(ScheduledStepAttributesSequence=Sequence())),
        ("create", step, begun()),
        ("create", step, begun()),
        ("set", step, ended("FINISHED")),
        ("set", step, done),
    ) == [0x0112, 0x0106, 0x0120, 0x0120, 0x0000, 0x0111, 0x0106, 0x0000]
    (late,) = report(gateway, ("set", step, ended("DISCONTINUED")))
    assert (late.Status, late.ErrorID) == (0x0110, 0xA710)
    assert refusal_that_says(gateway, "may no longer be updated").status == 0x0110


def test_step_is_durable_before_it_is_answered(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    order, step = enter(gateway), new_uid()
    report(gateway, ("create", step, begun(order.accession_number)))
    again = Journal(gateway.directory / "journal.sqlite3")
    assert again.read("SELECT state FROM performed_steps WHERE step_uid = ?", (step,))[0]["state"] == "IN PROGRESS"
    row = find_order(again, order.order_id)
    assert row is not None
    assert row.order.state is OrderState.IN_PROGRESS


def test_order_of_a_scanner_without_performed_steps_is_done_when_its_images_are_here(
    begin: Begin, tmp_path: Path
) -> None:
    gateway = begin()
    order, other = enter(gateway), enter(gateway, patient_number="P2")
    for number, (study, accession_number) in enumerate(
        [(STUDY, order.accession_number), (f"{STUDY}.9", other.accession_number)]
    ):
        values = {"accession_number": accession_number, "patient_number": "P1"}
        send(gateway.port, write_slice(tmp_path / "sent", number, study, **values))
    gateway.confirm(STUDY)
    gateway.confirm(f"{STUDY}.9")
    ArrivedOrders(gateway.journal, utc_now).step()
    assert order_now(gateway, order).state is OrderState.DONE
    assert order_now(gateway, other).state is OrderState.SCHEDULED  # another patient's images under its number


def test_stat_order_that_comes_late_hurries_its_study_unless_a_person_chose_a_lane(
    begin: Begin, tmp_path: Path
) -> None:
    gateway = begin()
    for number, study in enumerate((STUDY, f"{STUDY}.9")):
        values = {"accession_number": f"HIS{number}", "patient_number": "P1"}
        send(gateway.port, write_slice(tmp_path / "sent", number, study, **values))

    def lanes() -> dict[str, str]:
        rows = gateway.journal.read("SELECT study_uid, lane, manifest ->> '$.lane' AS told FROM transfers")
        assert len(rows) == 2
        assert all(row["lane"] == row["told"] for row in rows)
        return {row["study_uid"]: row["lane"] for row in rows}

    assert eventually(lanes) == {STUDY: "routine", f"{STUDY}.9": "routine"}
    with gateway.journal.transaction() as connection:
        set_lane(connection, Uid(f"{STUDY}.9"), Lane.ROUTINE)
    enter(gateway, accession_number="HIS0", lane="stat")
    enter(gateway, accession_number="HIS1", lane="stat")
    ArrivedOrders(gateway.journal, utc_now).step()
    assert lanes() == {STUDY: "stat", f"{STUDY}.9": "routine"}


def test_study_travels_in_the_lane_of_its_order(begin: Begin, tmp_path: Path) -> None:
    gateway = begin()
    order = enter(gateway, lane="urgent")
    send(gateway.port, write_slice(tmp_path / "sent", 1, STUDY, accession_number=order.accession_number))

    def lane() -> str:
        rows = gateway.journal.read("SELECT lane FROM transfers WHERE study_uid = ?", (STUDY,))
        assert rows
        return str(rows[0]["lane"])

    assert eventually(lane) == "urgent"
