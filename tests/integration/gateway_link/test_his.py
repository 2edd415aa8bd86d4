"""Reports to a HIS over MLLP: a real server that accepts, refuses, lies, stays silent and goes away."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import hl7
import hl7.mllp
import pytest

from gateway.clock import utc_now
from gateway.journal import deliveries
from gateway.journal.hub_news import add_hub_events
from gateway.journal.order_messages import name_by_placer
from gateway.journal.orders import add_order
from gateway.operations import Asker, NotPossible, cancel_delivery, requeue_deliveries
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.orders import Order
from storage.contract.wire import DocumentKind, HubEvent, ReceiptStep
from storage.hl7.framing import frame
from storage.hl7.message import parse_message
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.documents import PDF, Published, publish, publish_signed
from tests.integration.gateway_link.hub_stand_in import SITE_ID, HubStandIn
from tests.integration.gateway_link.pacs_stand_in import PacsStandIn
from tests.support.his import His, accepts, acknowledgement
from tests.support.waiting import eventually

JSON = DocumentKind.REPORT_JSON
SOMEBODY = Asker("li", utc_now())


@pytest.fixture
def his() -> Iterator[His]:
    server = His()
    server.start()
    yield server
    server.stop()


def told(hub: HubStandIn, report: Published) -> list[tuple[str, str]]:
    """Return what the hub heard of the report at the HIS: step and code."""
    with hub.lock:
        receipts = [r for about, r in hub.receipts if about == report.document_id(JSON) and r.target == "hl7:his"]
    return [(str(receipt.step), receipt.code) for receipt in receipts]


def is_home(hub: HubStandIn, report: Published) -> None:
    assert told(hub, report)[-1:] == [("delivered", "")]


def has_failed(hub: HubStandIn, report: Published, code: str) -> None:
    assert ("failed", code) in told(hub, report)


def retry_now(clinic: Clinic) -> None:
    deliveries.requeue_target(clinic.journal, "hl7:his", utc_now())


def test_report_and_pdf_reach_the_his_and_its_word_is_the_receipt(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    message = parse_message(his.messages[0], "UNICODE UTF-8")
    assert message.get("OBR", 18) == report.content.studies[0].accession_number
    pdf = next(place for place in message.named("OBX") if message.at(place, 2) == "ED")
    assert base64.b64decode(message.at(pdf, 5, 5)) == PDF
    receipt = next(r for _, r in hub.receipts if r.step is ReceiptStep.DELIVERED)
    assert receipt.takes == (JSON,)
    publish_signed(hub)
    eventually(lambda: _is(len(his.messages), 2))
    assert his.connections == 1  # kept alive


def test_report_that_is_declared_void_is_told_to_the_his_as_wrong_and_one_read_anew_is_not(
    clinic: Clinic, hub: HubStandIn, his: His
) -> None:
    clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    assert status_of(his.messages[-1]) == "F"
    study_uid, signed_at = report.content.studies[0].study_uid, report.content.signed_at
    voided = HubEvent(event_id=7, study_uid=study_uid, hop=Hop.VOIDED, at=signed_at + timedelta(hours=1), actor_name="")
    for _ in range(2):  # told twice it is void once
        add_hub_events(clinic.journal, [voided], voided.at)
        clinic.disconnect()
        clinic.connect(targets=[his.target()])
        eventually(lambda: _is(len(his.messages), 2))
    assert status_of(his.messages[-1]) == "W"
    eventually(lambda: _is(state_of(clinic, report), "delivered"))


def status_of(message: bytes) -> str:
    """Return the one status of all results (OBX-11)."""
    told = parse_message(message, "UNICODE UTF-8")
    (status,) = {told.at(place, 11) for place in told.named("OBX")}
    return status


@pytest.mark.parametrize(
    ("patient_number", "placed", "shown"),
    [
        ("P20260001", False, ("order077", "I", "胸部CT平扫")),
        ("P20260001", True, ("HIS-17", "I", "胸部CT平扫")),  # as the HIS that sent the order calls it
        ("P-OF-ANOTHER", False, ("", "", "CT Report")),
    ],
)
def test_the_clinics_own_order_is_named_and_one_of_another_patient_never(
    clinic: Clinic, hub: HubStandIn, his: His, patient_number: str, placed: bool, shown: tuple[str, str, str]
) -> None:
    report = publish_signed(hub)
    now = utc_now()
    values = {"order_id": "order077", "version": 1, "site_id": SITE_ID, "study_uid": "1.2.3", "origin": "console"}
    values |= {
        "patient_number": patient_number,
        "patient_name": "张三",
        "modality": "CT",
        "procedure_name": "胸部CT平扫",
    }
    values |= {"scheduled_at": now, "entered_at": now, "changed_at": now, "entered_by": "li", "visit_kind": "I"}
    values |= {"accession_number": report.content.studies[0].accession_number}
    with clinic.journal.transaction() as connection:
        add_order(connection, Order.model_validate(values))
        if placed:
            name_by_placer(connection, "HIS", "HIS-17", "order077")
    clinic.connect(targets=[his.target()])
    eventually(lambda: is_home(hub, report))
    message = parse_message(his.messages[0], "UNICODE UTF-8")
    assert (message.get("OBR", 2), message.get("PV1", 2), message.get("OBR", 4, 2)) == shown


class IndependentHis:
    """python-hl7's own MLLP server, which knows nothing of ours."""

    def __init__(self) -> None:
        self.accessions: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> IndependentHis:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(60)

    async def _serve(self) -> None:
        stopping, ended = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopping.set)

        async def talk(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
            try:
                while True:
                    message = await reader.readmessage()
                    self.accessions.append(str(message.extract_field("OBR", 1, 18)))
                    writer.writemessage(message.create_ack())
                    await writer.drain()
            except asyncio.IncompleteReadError:
                writer.close()
                await writer.wait_closed()
                ended.set()

        server = await hl7.mllp.start_hl7_server(talk, host="127.0.0.1", port=0, encoding="utf-8")
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await stopping.wait()
        await asyncio.wait_for(ended.wait(), 60)
        server.close()


def test_an_independent_receiver_takes_it(clinic: Clinic, hub: HubStandIn) -> None:
    with IndependentHis() as theirs:
        target = {"name": "his", "kind": "hl7", "host": "127.0.0.1", "port": theirs.port, "message": {"pdf": False}}
        clinic.connect(targets=[target])
        report = publish_signed(hub)
        eventually(lambda: is_home(hub, report))
        assert theirs.accessions == [report.content.studies[0].accession_number]
        clinic.disconnect()


@pytest.mark.parametrize(
    ("code", "fault"), [("AE", "his_error"), ("CE", "his_error"), ("AR", "his_rejected"), ("CR", "his_rejected")]
)
def test_refusal_is_shown_in_the_his_own_words_and_nothing_behind_it_waits(
    clinic: Clinic, hub: HubStandIn, his: His, code: str, fault: str
) -> None:
    first = publish_signed(hub)
    refused = {"id": ""}

    def answer(control_id: str) -> list[bytes]:
        refused["id"] = refused["id"] or control_id
        if control_id == refused["id"]:
            error = {3: "204^Unknown key^HL70357", 4: "E", 8: "没有这张申请单"}
            return [frame(acknowledgement(code, control_id, "order unknown", error))]
        return accepts(control_id)

    his.answer = answer
    clinic.connect(targets=[his.target()])
    eventually(lambda: has_failed(hub, first, fault))
    second = publish_signed(hub)
    eventually(lambda: is_home(hub, second))
    row = clinic.journal.read("SELECT problem, state FROM deliveries WHERE problem IS NOT NULL")[0]
    assert row["state"] == "due"
    assert "没有这张申请单" in row["problem"]
    hops = [event for event in hub.custody.values() if event.hop == "delivery_failed"]
    assert hops
    assert all("没有" not in str(event.detail) for event in hops)  # the ledger quotes nobody
    his.answer = accepts
    retry_now(clinic)
    clinic.disconnect()
    clinic.connect(targets=[his.target()])
    eventually(lambda: is_home(hub, first))
    assert his.control_ids().count(refused["id"]) >= 2
    assert len(set(his.control_ids())) == 2  # two reports, two identities, however often they were sent


FAULTS = {
    "nothing": (lambda _: [], "his_no_answer"),
    "garbage": (lambda _: [frame(b"HTTP/1.1 400 Bad Request")], "his_garbage"),
    "half an answer": (lambda one: [frame(acknowledgement("AA", one))[:40]], "his_no_answer"),
    "another message": (lambda _: [frame(acknowledgement("AA", "SOMETHING-ELSE"))], "his_other_answer"),
    "closes": (lambda _: None, "his_broke_off"),
    "takes it and says no more": (lambda one: [frame(acknowledgement("CA", one))], "his_not_processed"),
    "an unknown code": (lambda one: [frame(acknowledgement("ZZ", one))], "his_garbage"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_clear_yes_is_tried_again_under_the_same_identity(
    clinic: Clinic, hub: HubStandIn, his: His, fault: str
) -> None:
    his.answer, code = FAULTS[fault]
    clinic.connect(targets=[his.target(timeout_s=0.3)])
    report = publish_signed(hub)
    eventually(lambda: has_failed(hub, report, code))
    his.answer = accepts
    eventually(lambda: is_home(hub, report))
    assert len(set(his.control_ids())) == 1
    assert len(set(his.messages)) == 1  # the very same message


def test_late_and_foreign_answers_do_not_count_and_do_not_disturb(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    his.answer = lambda one: [frame(acknowledgement("AE", "OLD")), b"noise", *accepts(one)]
    clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    assert told(hub, report) == [("delivered", "")]


def test_enhanced_mode_waits_for_the_application(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    his.answer = lambda one: [frame(acknowledgement("CA", one)), *accepts(one)]
    clinic.connect(targets=[his.target(message={"acknowledgement": "enhanced"})])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    assert parse_message(his.messages[0], "UNICODE UTF-8").get("MSH", 16) == "AL"


def test_a_his_that_closes_after_each_answer_gets_everything_at_the_first_try(
    clinic: Clinic, hub: HubStandIn, his: His
) -> None:
    his.close_after_answer = True
    reports = [publish_signed(hub) for _ in range(3)]
    clinic.connect(targets=[his.target()])
    for report in reports:
        eventually(lambda about=report: is_home(hub, about))
    assert all(told(hub, report)[0][0] == "delivered" for report in reports)


def test_his_that_is_down_for_days_gets_all_when_it_is_back(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    his.stop()
    days = {"passed": 0.0}
    clinic.connect(targets=[his.target()], clock=lambda: utc_now() + timedelta(days=days["passed"]))
    reports = [publish_signed(hub) for _ in range(3)]
    for report in reports:
        eventually(lambda about=report: has_failed(hub, about, "his_unreachable"))
    days["passed"] = 4
    his.start()
    for report in reports:
        eventually(lambda about=report: is_home(hub, about))
    assert all([step for step, _ in told(hub, report)].count("failed") == 1 for report in reports)


def test_a_crash_between_answer_and_journal_repeats_the_same_message(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    clinic.disconnect()
    with clinic.journal.transaction() as connection:  # as power loss before the commit would have left it
        connection.execute("UPDATE deliveries SET state = 'due', delivered_at = NULL")
    clinic.connect(targets=[his.target()])
    eventually(lambda: _is(len(his.messages), 2))
    assert his.messages[0] == his.messages[1]


def test_old_version_never_comes_after_the_newer_one(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    case_id = new_id()
    old = publish_signed(hub, case_id=case_id)
    his.answer = lambda one: [frame(acknowledgement("AE", one))]
    clinic.connect(targets=[his.target()])
    eventually(lambda: has_failed(hub, old, "his_error"))
    his.answer = accepts
    new = publish_signed(hub, case_id=case_id, version=2)
    eventually(lambda: is_home(hub, new))
    eventually(lambda: _is(state_of(clinic, old), "superseded"))
    retry_now(clinic)
    assert parse_message(his.messages[-1], "UNICODE UTF-8").get("OBR", 25) == "C"


def test_the_text_waits_for_its_pdf_and_not_for_ever(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    late = {"minutes": 0.0}
    clinic.connect(targets=[his.target()], clock=lambda: utc_now() + timedelta(minutes=late["minutes"]))
    complete = publish_signed(hub, only={JSON})
    eventually(lambda: _is(state_of(clinic, complete), "due"))
    assert his.messages == []
    publish(hub, complete, DocumentKind.PDF)
    eventually(lambda: is_home(hub, complete))
    assert b"^application^pdf^" in his.messages[0]
    without = publish_signed(hub, only={JSON})
    eventually(lambda: _is(state_of(clinic, without), "due"))
    late["minutes"] = 11
    eventually(lambda: is_home(hub, without))
    assert b"^application^pdf^" not in his.messages[1]
    assert told(hub, without) == [("delivered", "")]


def test_gb18030_his_gets_its_own_bytes(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    clinic.connect(targets=[his.target(message={"character_set": "GB 18030-2000"})])
    report = publish_signed(hub)
    eventually(lambda: is_home(hub, report))
    assert "三䶮".encode("gb18030") in his.messages[0]


def test_target_that_left_the_configuration_is_named(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    his.answer = lambda one: [frame(acknowledgement("AE", one))]
    clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: has_failed(hub, report, "his_error"))
    clinic.disconnect()
    link = clinic.connect(targets=[])
    eventually(lambda: has_failed(hub, report, "target_not_configured"))
    cancel_delivery(clinic.journal, SOMEBODY, report.document_id(JSON), "hl7:his")
    link.actions_asked()
    assert state_of(clinic, report) == "cancelled"
    eventually(lambda: has_failed(hub, report, "delivery_cancelled"))


def test_a_delivery_is_cancelled_while_the_his_refuses_it_and_made_after_all_under_the_same_identity(
    clinic: Clinic, hub: HubStandIn, his: His
) -> None:
    his.answer = lambda one: [frame(acknowledgement("AR", one))]
    link = clinic.connect(targets=[his.target()])
    report = publish_signed(hub)
    eventually(lambda: has_failed(hub, report, "his_rejected"))
    cancel_delivery(clinic.journal, SOMEBODY, report.document_id(JSON), "hl7:his")
    link.actions_asked()
    eventually(lambda: has_failed(hub, report, "delivery_cancelled"))
    with pytest.raises(NotPossible):
        cancel_delivery(clinic.journal, SOMEBODY, report.document_id(JSON), "hl7:his")
    tried = len(his.messages)
    other = publish_signed(hub)
    his.answer = accepts
    eventually(lambda: is_home(hub, other))
    assert len(his.messages) == tried + 1
    for times in (1, 2):  # what was cancelled, and what the HIS has lost
        assert requeue_deliveries(clinic.journal, SOMEBODY, document_id=report.document_id(JSON), target="hl7:his") == 1
        link.actions_asked()
        eventually(lambda count=tried + 1 + times: _is(len(his.messages), count))
        eventually(lambda: _is(state_of(clinic, report), "delivered"))
    assert len(set(his.control_ids())) == 2
    assert len(set(his.messages)) == 2


def test_what_the_his_takes_while_it_is_cancelled_is_delivered(clinic: Clinic, hub: HubStandIn, his: His) -> None:
    report = publish_signed(hub)

    def answer(control_id: str) -> list[bytes]:
        cancel_delivery(clinic.journal, SOMEBODY, report.document_id(JSON), "hl7:his")
        return accepts(control_id)

    his.answer = answer
    clinic.connect(targets=[his.target()])
    eventually(lambda: is_home(hub, report))
    assert state_of(clinic, report) == "delivered"


def test_a_pacs_that_refuses_the_report_holds_up_neither_his_nor_folder(
    clinic: Clinic, hub: HubStandIn, his: His, tmp_path: Path
) -> None:
    pacs = PacsStandIn()
    pacs.status = 0xC000
    pacs.start()
    try:
        (tmp_path / "share").mkdir()
        folder = {"name": "share", "kind": "folder", "path": tmp_path / "share", "marker": ""}
        clinic.connect(targets=[pacs.target(), his.target(), folder])
        for report in [publish_signed(hub) for _ in range(3)]:
            eventually(lambda about=report: is_home(hub, about))
            eventually(lambda about=report: _is(len(list((tmp_path / "share").glob(f"{about.content.case_id}*"))), 1))
        assert pacs.received == {}
        eventually(lambda: _is(pacs_states(clinic), {("due", "pacs_cannot_understand")}))
    finally:
        clinic.disconnect()
        pacs.stop()


def pacs_states(clinic: Clinic) -> set[tuple[str, str]]:
    rows = clinic.journal.read("SELECT state, problem_code FROM deliveries WHERE target = 'pacs:main'")
    return {tuple(row) for row in rows}


def state_of(clinic: Clinic, report: Published) -> str:
    rows = clinic.journal.read(
        "SELECT state FROM deliveries WHERE document_id = ? AND target = 'hl7:his'", (report.document_id(JSON),)
    )
    return rows[0]["state"] if rows else "not fetched"


def _is(found: object, expected: object) -> None:
    assert found == expected
