"""Orders come from a HIS over a real MLLP connection: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings

from gateway.his_orders.listener import OrderListener
from gateway.journal.database import Journal, to_text
from gateway.journal.hub_news import add_hub_events
from gateway.journal.order_messages import KeptMessage, list_messages
from gateway.journal.orders import list_orders, unreported_orders
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.national_id import IdentityKind
from storage.contract.orders import Order, OrderOrigin, OrderState
from storage.contract.wire import HubEvent
from storage.hl7.framing import frame
from storage.hl7.message import parse_message
from tests.integration.gateway_orders.sending import (
    EXAMPLE,
    MANGLED,
    ORDERED,
    PID,
    RESIDENT,
    Sender,
    as_it_came,
    changed,
    listening,
    message,
    open_enrolled,
    settings_of,
    told,
)
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually


@dataclass
class Clinic:
    """A gateway's journal and its listener for orders, and a HIS connected to it."""

    journal: Journal
    clock: SteerableClock
    listener: OrderListener
    his: Sender

    def orders(self) -> list[Order]:
        return [row.order for row in list_orders(self.journal)]

    def only_order(self) -> Order:
        (order,) = self.orders()
        return order

    def kept(self) -> list[KeptMessage]:
        return list_messages(self.journal)

    def send(self, *segments: str, control_id: str, **more: str) -> tuple[str, list[str]]:
        return told(self.his.send(message(*segments, control_id=control_id, **more)))

    def has_images(self, accession_number: str) -> None:
        with self.journal.transaction() as connection:
            connection.execute(
                "INSERT INTO studies VALUES ('1.2.3', 'M0042', '', NULL, '', ?, '', '', NULL, '', '', '', NULL, ?)",
                (accession_number, to_text(self.clock())),
            )


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    clock = SteerableClock()
    journal = open_enrolled(tmp_path / "spool", clock)
    with listening(settings_of(tmp_path / "spool", message_bytes_max=8192), journal, clock) as listener:
        his = Sender(listener.port)
        yield Clinic(journal, clock, listener, his)
        his.close()
    journal.close()


def test_order_of_the_his_is_an_order_of_the_clinic_that_the_hub_will_hear_of(clinic: Clinic) -> None:
    answer = clinic.his.send(message(*EXAMPLE))
    assert told(answer) == ("AA", [])
    assert (answer.get("MSH", 9), answer.get("MSA", 2)) == ("ORR", "C1")
    assert (answer.get("ORC", 1), answer.get("ORC", 2), answer.get("ORC", 3)) == ("OK", "P1", "ACC1")
    order = clinic.only_order()
    assert (order.origin, order.accession_number, order.modality) == (OrderOrigin.HL7, "ACC1", "CT")
    assert (order.patient_number, order.patient_name, order.patient_name_latin) == ("M0042", "王^秀兰", "Wang^Xiulan")
    assert (order.identity_kind, order.identity_number) == (IdentityKind.RESIDENT, RESIDENT)
    assert (order.birth_date, order.sex) == (date(1949, 12, 31), "F")
    assert (order.procedure_code, order.procedure_name) == ("CTCHEST", "胸部CT平扫")
    assert (order.history, order.question) == ("咳嗽两周\n发热三天\n请尽快", "肺部感染？")
    assert (order.lane, order.visit_kind, order.visit_number) == (Lane.ROUTINE, "I", "V77")
    assert order.scheduled_at == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)  # half past nine in Shanghai
    assert (order.requesting_physician, order.requesting_department) == ("李^医生", "内科")
    assert [one.order_id for one in unreported_orders(clinic.journal, 10)] == [order.order_id]


@pytest.mark.parametrize(
    ("declared", "codec"),
    [("UNICODE UTF-8", "utf-8"), ("GB18030", "gb18030"), ("GB 18030-2000", "gb18030"), ("", "utf-8")],
)
def test_character_set_of_the_header_counts(clinic: Clinic, declared: str, codec: str) -> None:
    assert clinic.send(*EXAMPLE, control_id="C1", declared=declared, codec=codec) == ("AA", [])
    assert clinic.only_order().procedure_name == "胸部CT平扫"


def test_imaging_order_has_its_accession_number_study_and_modality_from_the_imaging_step(clinic: Clinic) -> None:
    obr = "OBR|1|P1^HIS||CTCHEST^胸部CT平扫^L"
    ipc = "IPC|ACC9|RP1|1.2.840.9|SPS1|DX||||DR1"
    tq1 = "TQ1|1||||||||S"
    answer = clinic.his.send(message(PID, "ORC|NW|P1^HIS", tq1, obr, ipc, kind="OMI^O23"))
    assert (told(answer), answer.get("MSH", 9)) == (("AA", []), "ORI")
    order = clinic.only_order()
    assert (order.accession_number, order.study_uid, order.modality) == ("ACC9", "1.2.840.9", "DX")
    assert (order.station_ae_title, order.lane) == ("DR1", Lane.STAT)


def test_order_without_an_accession_number_gets_one_and_its_placer_is_told(clinic: Clinic) -> None:
    answer = clinic.his.send(message(*changed("|ACC1|", "||", *EXAMPLE)))
    assert told(answer) == ("AA", [])
    assert answer.get("ORC", 3) == clinic.only_order().accession_number != ""


def test_same_message_again_is_answered_by_the_same_bytes_and_changes_nothing(clinic: Clinic) -> None:
    answers: list[bytes] = []
    for _ in range(2):
        clinic.his.send(message(*EXAMPLE, control_id="OTHER" + str(len(answers))))
        clinic.his.socket.sendall(b"\x0b" + message(*EXAMPLE) + b"\x1c\r")
        answers.append(clinic.his.receive_bytes())
        clinic.clock.advance(60)
    assert answers[0] == answers[1]
    assert clinic.only_order().version == 1
    assert len(clinic.kept()) == 3


def test_other_message_under_a_control_id_that_was_used_is_refused_and_kept(clinic: Clinic) -> None:
    assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
    other = changed("P1^HIS", "P2^HIS", *changed("|ACC1|", "|ACC2|", *EXAMPLE))
    assert clinic.send(*other, control_id="C1") == ("AE", ["MSH-10"])
    assert clinic.only_order().accession_number == "ACC1"
    assert [kept.code for kept in clinic.kept()] == ["AE", "AA"]


def test_repetition_that_was_written_anew_is_answered_as_before_and_undoes_nothing(clinic: Clinic) -> None:
    change = changed("ORC|NW|", "ORC|XO|", *changed("肺部感染？", "结核？", *EXAMPLE))
    first = clinic.his.send(message(*EXAMPLE, control_id="C1"))
    for control_id, segments in (("C2", change), ("C3", EXAMPLE)):
        again = message(*segments, control_id=control_id)
        assert told(clinic.his.send(again))[0] == ("AA" if control_id == "C2" else "AE")
        later = again.replace(b"|20260302090000|", b"|20260302091500|", 1)
        assert told(clinic.his.send(later))[0] == ("AA" if control_id == "C2" else "AE")
    later = message(*EXAMPLE, control_id="C1").replace(b"|20260302090000|", b"|20260302091500|", 1)
    assert clinic.his.send(later).segments == first.segments
    assert (clinic.only_order().version, clinic.only_order().question) == (2, "结核？")
    assert {kept.control_id for kept in clinic.kept() if kept.needs_somebody} == {"C3"}


@pytest.mark.parametrize(("old", "new"), [("|C|", "|" + "7" * 150 + "{}|"), ("|HIS|", "|" + "H" * 150 + "{}|")])
def test_messages_are_told_apart_by_the_end_of_a_long_control_id_or_sender_too(
    clinic: Clinic, old: str, new: str
) -> None:
    for number in "12":
        order = message(*changed("P1", f"P{number}", *changed("ACC1", f"ACC{number}", *EXAMPLE)), control_id="C")
        data = order.replace(old.encode(), new.format(number).encode(), 1)
        answer = clinic.his.send(data)
        assert told(answer) == ("AA", [])
        assert (answer.get("MSA", 2), clinic.his.send(data)) == (
            parse_message(data, "UNICODE UTF-8").get("MSH", 10),
            answer,
        )
    assert {one.accession_number for one in clinic.orders()} == {"ACC1", "ACC2"}


def test_change_changes_what_it_says_and_leaves_the_rest(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    obr = 'OBR|1|P1^HIS|||||||||||""'
    assert clinic.send(PID, "ORC|XO|P1^HIS", "TQ1|1||||||||S", obr, control_id="C2") == ("AA", [])
    order = clinic.only_order()
    assert (order.lane, order.history, order.question, order.version) == (Lane.STAT, "", "肺部感染？", 2)


def test_cancelled_order_is_cancelled_with_its_reason(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    for control_id in ("C2", "C3"):  # a HIS that says it twice
        cancel = "ORC|CA|P1^HIS||||||||||||||^开错了"
        assert clinic.send(PID, cancel, control_id=control_id) == ("AA", [])
    assert (clinic.only_order().state, clinic.only_order().state_reason) == (OrderState.CANCELLED, "开错了")


def test_new_order_under_the_number_of_a_cancelled_one_is_not_said_to_be_there(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    clinic.send(PID, "ORC|CA|P1^HIS", control_id="C2")
    assert clinic.send(*EXAMPLE, control_id="C3") == ("AE", ["ORC-2"])
    assert clinic.only_order().state is OrderState.CANCELLED


def test_order_whose_images_have_come_is_not_cancelled_and_the_words_say_why(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    clinic.has_images("ACC1")
    answer = clinic.his.send(message(PID, "ORC|CA|P1^HIS", control_id="C2"))
    assert told(answer) == ("AE", ["ORC-1"])
    assert "images of this order have come" in answer.get("ERR", 8)
    assert clinic.only_order().state is OrderState.SCHEDULED


def test_status_message_says_how_far_the_examination_is(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    assert clinic.send(PID, "ORC|SC|P1^HIS|||CM", control_id="C2") == ("AA", [])
    assert clinic.only_order().state is OrderState.DONE
    assert clinic.send(PID, "ORC|SC|P1^HIS|||IP", control_id="C3") == ("AA", [])
    assert clinic.only_order().state is OrderState.DONE
    assert clinic.send(PID, "ORC|XO|P1^HIS", "NTE|1||碘过敏", control_id="C4") == ("AA", [])
    assert "碘过敏" in clinic.only_order().history, "it is still to be read"


def test_order_whose_report_is_signed_is_changed_no_more(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    clinic.has_images("ACC1")
    signed = HubEvent(event_id=1, study_uid="1.2.3", hop=Hop.SIGNED, at=clinic.clock(), actor_name="", detail={})
    add_hub_events(clinic.journal, [signed], clinic.clock())
    answer = clinic.his.send(message(PID, "ORC|XO|P1^HIS", "NTE|1||碘过敏", control_id="C2"))
    assert told(answer) == ("AE", ["ORC-1"])
    assert "the report of this order is signed" in answer.get("ERR", 8)
    assert clinic.only_order().version == 1


def test_second_patient_under_an_accession_number_is_refused(clinic: Clinic) -> None:
    clinic.send(*EXAMPLE, control_id="C1")
    other = ("PID|1||M0099^^^HIS^MR||赵^四||19600101|M", *changed("P1^HIS", "P2^HIS", *ORDERED))
    answer = clinic.his.send(message(*other, control_id="C2"))
    assert told(answer) == ("AE", ["OBR-18"])
    assert "another patient" in answer.get("ERR", 8)
    assert clinic.send("PID|1||M0099^^^HIS^MR||赵^四", "ORC|XO|P1^HIS", control_id="C3") == ("AE", ["PID-3"])
    assert clinic.only_order().patient_number == "M0042"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("M0042^^^HIS^MR~", "", "PID-3"),
        (RESIDENT, "110105194912310021", "PID-3"),
        ("王^秀兰^^^^^L^I~Wang^Xiulan", "", "PID-5"),
        ("王^秀兰^", "王^秀?^", "PID-5"),
        ("王^秀兰^", r"王^\M2442\^", "PID-5"),
        ("|19491231|", "|19491331|", "PID-7"),
        ("|19491231|", "|19500101|", "PID-7"),
        ("|F", "|X", "PID-8"),
        ("ORC|NW|", "ORC|RE|", "ORC-1"),
        ("ORC|NW|P1", "ORC|NW|" + "9" * 200, "ORC-2"),
        ("20260302093000", "gestern", "TQ1-7"),
        ("||R", "||SOFORT", "TQ1-9"),
        ("|CT|", "|RAD|", "OBR-24"),
        ("CTCHEST^胸部CT平扫^L", "", "OBR-4"),
        (
            f"~{RESIDENT}^^^^NNCHN||王^秀兰^^^^^L^I~Wang^Xiulan^^^^^L^A||19491231|F",
            f"||王^秀兰||19491231|F{'|' * 11}110105194912310021",
            "PID-19",
        ),
        ("ACC1", "A" * 17, "OBR-18"),
    ],
)
def test_fault_is_told_with_its_segment_and_field_and_the_message_is_kept(
    clinic: Clinic, old: str, new: str, where: str
) -> None:
    code, places = clinic.send(*changed(old, new, *EXAMPLE), control_id="C1")
    assert (code, where in places) == ("AE", True)
    assert clinic.orders() == []
    (kept,) = clinic.kept()
    assert (kept.state, kept.needs_somebody, kept.faults[0].where.split(".")[0]) == ("refused", True, places[0])


def test_message_with_one_faulty_order_does_nothing_at_all(clinic: Clinic) -> None:
    second = ("ORC|NW|P2^HIS", "OBR|2|P2^HIS||X^头颅CT^L||||||||||||||ACC2||||||NONSENSE")
    answer = clinic.his.send(message(*EXAMPLE, *second))
    assert told(answer) == ("AE", ["OBR-24"])
    assert answer.get("ERR", 2, 2) == "2"
    assert clinic.orders() == []


def test_an_order_is_never_filed_under_the_patient_of_another_message(clinic: Clinic) -> None:
    other = changed("P1^HIS", "P2^HIS", *EXAMPLE[1:])
    assert clinic.send(*EXAMPLE, "PID|2||C777^^^HIS^MR||李^四", *other, control_id="C1") == ("AE", ["PID-3"])
    broken_off = b"\x0b" + message(EXAMPLE[0], control_id="C8")
    clinic.his.socket.sendall(broken_off + frame(message(*EXAMPLE, control_id="C9")))
    assert told(clinic.his.receive()) == ("AA", [])
    assert {one.control_id for one in clinic.kept()} == {"C9", "C1"}


@pytest.mark.parametrize(
    ("old", "new", "where", "taken"),
    [
        (RESIDENT, "110105194912310021", "PID-3", {"identity_kind": IdentityKind.NONE, "identity_number": ""}),
        ("王^秀兰", "王^??", "PID-5", {"patient_name": "王^??"}),
        ("|19491231|", "|1949|", "PID-7", {"birth_date": date(1949, 12, 31), "identity_number": RESIDENT}),
        ("|F", "|X", "PID-8", {"sex": "F"}),
        ("20260302093000", "gestern", "TQ1-7", {"scheduled_at": datetime(2026, 3, 2, 1, 0, tzinfo=UTC)}),
    ],
)
def test_emergency_does_not_wait_for_what_is_wrong_about_its_patient_and_somebody_is_told(
    clinic: Clinic, old: str, new: str, where: str, taken: dict[str, Any]
) -> None:
    answer = clinic.his.send(message(*changed("||R", "||S", *changed(old, new, *EXAMPLE))))
    assert (told(answer), answer.get("ERR", 4)) == (("AA", [where]), "W")
    order = clinic.only_order()
    assert {"lane": order.lane} | {name: getattr(order, name) for name in taken} == {"lane": Lane.STAT} | taken
    assert [kept.needs_somebody for kept in clinic.kept()] == [True]


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (message(*EXAMPLE, kind="ADT^A01"), "MSH-9"),
        (message(*EXAMPLE, kind="ORM^O99"), "MSH-9"),
        (message(*EXAMPLE, version="3.0"), "MSH-12"),
        (message(*EXAMPLE, declared="BIG5"), "MSH-18"),
        (message(*EXAMPLE, declared="ASCII", codec="gb18030"), "MSH-18"),
        (message(*EXAMPLE, declared="8859/1", codec="gb18030"), "MSH-18"),
        (message(*EXAMPLE, control_id=""), "MSH-10"),
        (message(*EXAMPLE).replace(b"|P|2.5.1", b"|T|2.5.1"), "MSH-11"),
        (b"hello", "MSH-1"),
        (message(*EXAMPLE) + message(*EXAMPLE, control_id="C9"), "MSH-1"),
    ],
)
def test_what_is_of_another_kind_is_rejected_and_kept(clinic: Clinic, data: bytes, where: str) -> None:
    assert told(clinic.his.send(data)) == ("AR", [where])
    assert clinic.orders() == []
    assert [kept.content for kept in clinic.kept()] == [data]
    assert clinic.send(*EXAMPLE, control_id="C2") == ("AA", [])


def test_message_that_is_too_long_is_rejected_and_the_connection_goes_on(clinic: Clinic) -> None:
    data = message(*EXAMPLE, "NTE|1||" + "x" * 3_000_000)
    assert told(clinic.his.send(data)) == ("AR", ["MSH-1"])
    (kept,) = clinic.kept()
    assert (kept.control_id, kept.state, len(kept.content) < 65536) == ("C1", "refused", True)
    assert clinic.listener.intake.retry(kept.message_id, "tech").state == "refused"  # its first orders are not all
    assert clinic.orders() == []
    assert clinic.send(*EXAMPLE, control_id="C2") == ("AA", [])


@pytest.mark.parametrize("size", [0, 20_000])
def test_message_that_does_not_end_in_time_is_none_whatever_trickles_in(
    clinic: Clinic, tmp_path: Path, size: int
) -> None:
    short = settings_of(tmp_path / "spool", message_s=1, message_bytes_max=8192)
    with listening(short, clinic.journal, clinic.clock) as listener:
        his = Sender(listener.port)
        assert told(his.send(message(*EXAMPLE))) == ("AA", [])
        begun = frame(message(*EXAMPLE, "NTE|1||" + "x" * size, control_id="C2"))[:-40]
        his.socket.sendall(begun)
        assert size == 0 or told(his.receive()) == ("AR", ["MSH-1"])
        with pytest.raises(OSError, match=r"closed|reset|pipe"):
            trickle(his)
        his.close()
    assert [one.control_id for one in clinic.kept() if one.state == "taken"] == ["C1"]
    assert "did not end in time" in clinic.journal.read("SELECT reason FROM refusals")[0]["reason"]


def test_what_is_in_no_frame_is_told_and_the_connection_goes_on(clinic: Clinic) -> None:
    clinic.his.socket.sendall(b"\r\n" + message(*EXAMPLE) + b"\x1c\r")
    assert clinic.send(*EXAMPLE, control_id="C2") == ("AA", [])
    assert clinic.send(*EXAMPLE, control_id="C3") == ("AA", [])
    assert [kept.control_id for kept in clinic.kept()] == ["C3", "C2"]
    (told_once,) = clinic.journal.read("SELECT reason FROM refusals")
    assert "in no frame of MLLP" in told_once["reason"]


def test_listener_goes_on_once_the_machine_has_a_file_for_a_connection_again(clinic: Clinic) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = socket.socket()
    with structlog.testing.capture_logs() as logs:
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno(), limits[1]))
        try:
            waiting.connect(("127.0.0.1", clinic.listener.port))

            def is_told() -> None:
                assert "hl7_cannot_accept" in [one["event"] for one in logs]

            eventually(is_told)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    waiting.close()
    his = Sender(clinic.listener.port)
    assert told(his.send(message(*EXAMPLE))) == ("AA", [])
    his.close()


def trickle(his: Sender) -> None:
    """Send a byte every 50 ms until the connection is closed."""
    his.socket.settimeout(0.05)
    for _ in range(200):
        his.socket.sendall(b"x")
        with contextlib.suppress(TimeoutError):
            his.receive_bytes()
    raise AssertionError("the connection is still open after 10 s")


def test_refused_message_is_taken_when_its_cause_has_gone(clinic: Clinic, tmp_path: Path) -> None:
    data = message(*changed("|CT|", "|RAD|", *EXAMPLE))
    assert told(clinic.his.send(data)) == ("AE", ["OBR-24"])
    settings = settings_of(tmp_path / "spool", modalities={"RAD": "DX"})
    with listening(settings, clinic.journal, clinic.clock) as configured:
        (kept,) = clinic.kept()
        assert configured.intake.retry(kept.message_id, "tech").state == "taken"
    assert clinic.only_order().modality == "DX"
    assert told(clinic.his.send(data)) == ("AA", [])
    assert clinic.only_order().version == 1


def test_consent_and_green_channel_come_by_the_clinics_own_codes(clinic: Clinic, tmp_path: Path) -> None:
    codes = {"green_channels": {"ZZ": "stroke"}, "consents": ["REMOTE-READ"]}
    with listening(settings_of(tmp_path / "spool", **codes), clinic.journal, clinic.clock) as configured:
        his = Sender(configured.port)
        con = "CON|1|REMOTE-READ|||||||||A||20260301180000"
        future = changed("P1", "P2", *changed("ACC1", "ACC2", *changed("||R", "||ZZ", *EXAMPLE)))
        answer = his.send(message(*future, con.replace("20260301", "20270301"), control_id="C2"))
        assert told(answer) == ("AA", ["CON-13"]), "an emergency does not wait for its consent"
        assert told(his.send(message(*changed("||R", "||ZZ", *EXAMPLE), con))) == ("AA", [])
        his.close()
    found = {one.accession_number: (one.lane, one.green_channel, one.consent_recorded) for one in clinic.orders()}
    assert found == {"ACC1": (Lane.STAT, "stroke", True), "ACC2": (Lane.STAT, "stroke", False)}


@pytest.mark.parametrize("addresses", [[], ["192.0.2.0/24"]])
def test_nobody_is_let_in_from_an_address_that_is_not_named(tmp_path: Path, addresses: list[str]) -> None:
    clock = SteerableClock()
    journal = open_enrolled(tmp_path, clock)
    with listening(settings_of(tmp_path, addresses=addresses), journal, clock) as listener:
        his = Sender(listener.port)
        with pytest.raises((ConnectionError, OSError)):
            his.send(message(*EXAMPLE))
        his.close()
    assert list_messages(journal) == []
    assert "its address is not among those" in journal.read("SELECT reason FROM refusals")[0]["reason"]
    journal.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from gateway.his_orders import intake
from tests.integration.gateway_orders.sending import *
from tests.support.clock import SteerableClock
folder, clock = Path(sys.argv[1]), SteerableClock()
intake.OrderIntake.decide = lambda *_args, **_more: os.kill(os.getpid(), signal.SIGKILL)
with listening(settings_of(folder), open_enrolled(folder, clock), clock) as listener:
    Sender(listener.port).send(message(*EXAMPLE))
"""


def test_message_of_a_gateway_killed_before_its_answer_is_done_once(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    clock = SteerableClock()
    journal = Journal(tmp_path / "journal.sqlite")
    assert [kept.state for kept in list_messages(journal)] == ["received"]
    with listening(settings_of(tmp_path), journal, clock) as listener:
        his = Sender(listener.port)
        assert told(his.send(message(*EXAMPLE))) == ("AA", [])
        his.close()
    assert [row.order.accession_number for row in list_orders(journal)] == ["ACC1"]
    assert [kept.state for kept in list_messages(journal)] == ["taken"]
    journal.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mangled=MANGLED)
def test_whatever_comes_is_answered_and_kept(clinic: Clinic, mangled: bytes) -> None:
    code, _ = told(clinic.his.send(mangled))
    assert code in {"AA", "AE", "AR"}
    assert as_it_came(mangled) in [kept.content for kept in list_messages(clinic.journal, limit=100_000)]
