"""Orders come to the hub over mutual TLS alone: nothing acknowledged is lost or done twice, strangers stay out."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import HealthCheck, example, given, settings
from sqlalchemy import select

from reading_queue.db.message_tables import OrderMessage, RefusedConnection
from reading_queue.db.tables import ClinicOrder
from reading_queue.hl7.listener import UNABLE
from reading_queue.hl7.watched_senders import WatchedSenders
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.intake import decide_waiting
from reading_queue.services.order_messages.sealing import unseal
from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.services.orders.orders import orders_for_site
from reading_queue.settings import load_order_senders
from storage.catalogue.tables import Patient, Study
from storage.contract.accession_numbers import HUB_MARK
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel, Order, OrderOrigin, OrderState
from storage.hl7.framing import UNFRAMED, frame
from storage.hl7.local_codes import LocalCodes
from storage.ledger.tables import AuditEvent
from tests.integration.gateway_orders.sending import EXAMPLE, MANGLED, RESIDENT, as_it_came, changed, message, told
from tests.integration.hub_orders.conftest import SITE
from tests.integration.hub_orders.listening import (
    LIMITS,
    SERVER,
    Listening,
    TlsSender,
    fingerprint,
    listening,
    with_sender,
)
from tests.support.certificates import Authority, Issued
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


@dataclass
class Clinic:
    """A hub's listener, and a HIS connected to it."""

    hub: Hub
    listening: Listening
    authority: Authority
    certificate: Issued
    his: TlsSender

    def orders(self) -> list[Order]:
        with self.hub.transaction() as session:
            rows = session.scalars(select(ClinicOrder.content).order_by(ClinicOrder.change_number))
            return [Order.model_validate(content) for content in rows]

    def only_order(self) -> Order:
        (order,) = self.orders()
        return order

    def send(self, *segments: str, control_id: str, **more: str) -> tuple[str, list[str]]:
        return told(self.his.send(message(*segments, control_id=control_id, **more)))

    def connect(self) -> TlsSender:
        return TlsSender(self.listening.port, self.authority.ca_file, self.certificate)


def kept(hub: Hub) -> list[OrderMessage]:
    with hub.transaction() as session:
        return list(session.scalars(select(OrderMessage).order_by(OrderMessage.message_id)))


@contextmanager
def connected(hub: Hub, authority: Authority, certificate: Issued, **limits: int) -> Iterator[Clinic]:
    with (
        listening(hub, authority, replace(LIMITS, **limits)) as listener,
        closing(TlsSender(listener.port, authority.ca_file, certificate)) as his,
    ):
        yield Clinic(hub, listener, authority, certificate, his)


@pytest.fixture
def clinic(hub: Hub, authority: Authority, his_certificate: Issued) -> Iterator[Clinic]:
    with connected(hub, authority, his_certificate) as clinic:
        yield clinic


def test_order_of_the_his_is_an_order_of_the_site_that_its_gateways_fetch(clinic: Clinic) -> None:
    answer = clinic.his.send(message(*EXAMPLE))
    assert told(answer) == ("AA", [])
    assert (answer.get("MSH", 9), answer.get("MSA", 2)) == ("ORR", "C1")
    assert (answer.get("ORC", 1), answer.get("ORC", 2), answer.get("ORC", 3)) == ("OK", "P1", "ACC1")
    order = clinic.only_order()
    assert (order.site_id, order.origin, order.accession_number) == (SITE, OrderOrigin.HL7, "ACC1")
    assert (order.patient_name, order.identity_number) == ("王^秀兰", RESIDENT)
    assert order.scheduled_at == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)  # half past nine at the site
    assert [one.order_id for one in orders_for_site(clinic.hub, SITE, 0).orders] == [order.order_id]
    with clinic.hub.transaction() as session:
        (audited,) = session.scalars(select(AuditEvent).where(AuditEvent.object_id == order.order_id))
    assert (audited.action, audited.account_id, audited.detail["sender"]) == ("C", None, "qinghe-his")


def test_order_without_a_number_gets_one_of_the_hub_and_its_placer_is_told(clinic: Clinic) -> None:
    answer = clinic.his.send(message(*changed("|ACC1|", "||", *EXAMPLE), kind="OMI^O23"))
    assert (told(answer), answer.get("MSH", 9)) == (("AA", []), "ORI")
    assert HUB_MARK in clinic.only_order().accession_number
    assert answer.get("ORC", 3) == clinic.only_order().accession_number


def test_repetition_is_answered_byte_for_byte_and_does_nothing_again(clinic: Clinic) -> None:
    first = clinic.his.send_for_bytes(message(*EXAMPLE))
    with closing(clinic.connect()) as again:
        assert again.send_for_bytes(message(*EXAMPLE)) == first
    assert clinic.only_order().version == 1
    assert len(kept(clinic.hub)) == 1
    other = message(*changed("胸部CT平扫", "头部CT平扫", *EXAMPLE))
    assert told(clinic.his.send(other)) == ("AE", ["MSH-10"])
    assert clinic.only_order().procedure_name == "胸部CT平扫"
    change = changed("ORC|NW|", "ORC|XO|", *changed("肺部感染？", "结核？", *EXAMPLE))
    assert clinic.send(*change, control_id="C2") == ("AA", [])
    written_anew = message(*EXAMPLE).replace(b"|20260302090000|", b"|20260302091500|", 1)
    assert clinic.his.send_for_bytes(written_anew) == first
    assert clinic.only_order().question == "结核？"
    assert [row.needs_somebody for row in kept(clinic.hub)] == [False, True, False, False]


def test_change_and_cancellation_reach_the_order(clinic: Clinic) -> None:
    assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
    changed_order = changed("咳嗽两周", "咯血", *changed("ORC|NW", "ORC|XO", *EXAMPLE))
    assert clinic.send(*changed_order, control_id="C2") == ("AA", [])
    assert clinic.only_order().history.startswith("咯血")
    assert clinic.send(*changed("ORC|NW", "ORC|CA", *EXAMPLE), control_id="C3") == ("AA", [])
    order = clinic.only_order()
    assert (order.state, order.version) == (OrderState.CANCELLED, 3)


def test_order_whose_images_have_come_is_not_cancelled(clinic: Clinic) -> None:
    assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
    now = clinic.hub.clock()
    with clinic.hub.transaction() as session:
        session.add(Patient(patient_id="p", site_id=SITE, patient_number="M0042", name="王秀兰", sex="F"))
        session.flush()
        of = {"site_id": SITE, "study_uid": "1.2.3", "patient_id": "p", "accession_number": "ACC1"}
        counts = {"series_count": 1, "instance_count": 1, "size_bytes": 1, "revision": 1}
        session.add(Study(study_id="s", modalities=["CT"], first_received_at=now, catalogued_at=now, **of, **counts))
    assert clinic.send(*changed("ORC|NW", "ORC|CA", *EXAMPLE), control_id="C2") == ("AE", ["ORC-1"])
    assert clinic.only_order().state is OrderState.SCHEDULED


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("|19491231|", "|19491332|", "PID-7"),
        ("|19491231|", "|19500101|", "PID-7"),
        (RESIDENT, RESIDENT[:-1] + "1", "PID-3"),
        ("|F", "|X", "PID-8"),
        ("ORC|NW", "ORC|ZZ", "ORC-1"),
        ("||R", "||Q", "TQ1-9"),
        ("|CT|", "|RAD|", "OBR-24"),
    ],
)
def test_what_is_wrong_is_named_by_segment_and_field_and_the_message_is_kept(
    clinic: Clinic, old: str, new: str, where: str
) -> None:
    assert clinic.send(*changed(old, new, *EXAMPLE), control_id="C1") == ("AE", [where])
    assert clinic.orders() == []
    (one,) = kept(clinic.hub)
    assert (one.state, one.code, one.faults[0]["where"], one.needs_somebody) == ("refused", "AE", where, True)


def test_emergency_does_not_wait_for_its_identity_number(clinic: Clinic) -> None:
    wrong = changed(RESIDENT, RESIDENT[:-1] + "1", *changed("||R", "||S", *EXAMPLE))
    assert clinic.send(*wrong, control_id="C1") == ("AA", ["PID-3"])
    order = clinic.only_order()
    assert (order.lane, order.identity_number) == (Lane.STAT, "")


def test_what_is_of_another_kind_is_rejected_and_kept(clinic: Clinic) -> None:
    assert clinic.send(*EXAMPLE, control_id="C1", kind="ADT^A01") == ("AR", ["MSH-9"])
    assert told(clinic.his.send(b"hello")) == ("AR", ["MSH-1"])
    assert told(clinic.his.send(message(*changed("咳嗽", "\x00", *EXAMPLE), control_id="\x00"))) == ("AR", ["MSH-18"])
    assert [one.code for one in kept(clinic.hub)] == ["AR", "AR", "AR"]


def test_message_that_is_too_long_is_refused_and_the_next_one_counts(clinic: Clinic) -> None:
    long = message(*EXAMPLE, "NTE|1||" + "长" * 40_000, control_id="LONG")
    assert told(clinic.his.send(long)) == ("AR", ["MSH-1"])
    assert clinic.send(*EXAMPLE, control_id="C2") == ("AA", [])
    assert [one.control_id for one in kept(clinic.hub)] == ["LONG", "C2"]


def test_half_a_message_is_never_one_and_its_connection_ends(
    hub: Hub, authority: Authority, his_certificate: Issued
) -> None:
    with connected(hub, authority, his_certificate, message_s=1) as clinic:
        clinic.his.socket.sendall(frame(message(*EXAMPLE))[:-40])
        with pytest.raises(OSError, match="closed"):
            clinic.his.receive_bytes()
    assert kept(hub) == []


def test_silence_ends_a_connection(hub: Hub, authority: Authority, his_certificate: Issued) -> None:
    with connected(hub, authority, his_certificate, idle_s=1) as clinic, pytest.raises(OSError, match="closed"):
        clinic.his.receive_bytes()


def refused(port: int, ca_file: Path, shown: Issued | None) -> None:
    """Say that whoever shows this is not let in: the handshake fails, or with TLS 1.3 what follows it."""
    with pytest.raises((OSError, ssl.SSLError)), closing(TlsSender(port, ca_file, shown)) as stranger:
        stranger.send(message(*EXAMPLE))


def test_nobody_is_let_in_without_a_certificate_that_is_named(clinic: Clinic, tmp_path: Path) -> None:
    port, ca_file = clinic.listening.port, clinic.authority.ca_file
    with structlog.testing.capture_logs() as logs:
        refused(port, ca_file, None)
        refused(port, ca_file, Authority(tmp_path / "other").issue("his.qinghe.example"))
        refused(port, ca_file, clinic.authority.issue("expired.example", ends=timedelta(hours=-1)))
        refused(port, ca_file, clinic.authority.issue("other.qinghe.example"))
    assert kept(clinic.hub) == []
    why = [one["why"] for one in logs if one["event"] == "hl7_connection_refused"]
    assert why == [
        "it showed no certificate",
        "its certificate is not signed by the configured CA",
        "its certificate has expired",
        "its certificate belongs to no configured sender",
    ]
    assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
    with structlog.testing.capture_logs() as logs:
        clinic.his.socket.sendall(message(*EXAMPLE))  # in no frame
        assert [clinic.send(*EXAMPLE, control_id=one)[0] for one in ("C2", "C3")] == ["AA", "AA"]
    assert [one["why"] for one in logs if one["event"] == "hl7_connection_refused"] == [UNFRAMED]

    def are_counted() -> None:
        with clinic.hub.transaction() as session:
            counted = session.execute(select(RefusedConnection.why, RefusedConnection.count))
            assert {row[0]: row[1] for row in counted} == dict.fromkeys([*why, UNFRAMED], 1)

    eventually(are_counted)


def test_sender_may_be_known_by_the_name_that_its_certificate_bears(hub: Hub, authority: Authority) -> None:
    by_name = with_sender(hub, OrderSender("qinghe-his", SITE, certificate_name="HIS.qinghe.example"))
    with connected(by_name, authority, authority.issue("his.qinghe.example")) as clinic:
        assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])


def test_certificates_that_are_replaced_count_without_a_restart(hub: Hub, authority: Authority, tmp_path: Path) -> None:
    by_name = with_sender(hub, OrderSender("qinghe-his", SITE, certificate_name="his.qinghe.example"))
    old_ca = tmp_path / "old.pem"
    old_ca.write_bytes(authority.ca_file.read_bytes())
    with connected(by_name, authority, authority.issue("his.qinghe.example")) as clinic:
        renewed = Authority(tmp_path / "ca", "New CA")  # its files take the place of the old ones
        renewed.issue(SERVER)
        shown = renewed.issue("his.qinghe.example")

        def is_let_in() -> None:
            try:
                with closing(TlsSender(clinic.listening.port, renewed.ca_file, shown)) as his:
                    assert told(his.send(message(*EXAMPLE, control_id="C1"))) == ("AA", [])
            except OSError as exc:
                raise AssertionError from exc

        eventually(is_let_in)
        assert clinic.send(*EXAMPLE, control_id="C2") == ("AA", [])  # who was connected stays so
        with pytest.raises(OSError, match="certificate verify failed"):
            TlsSender(clinic.listening.port, old_ca, shown)


def test_senders_that_are_named_anew_count_without_a_restart(
    hub: Hub, authority: Authority, his_certificate: Issued, tmp_path: Path
) -> None:
    renewed, file = authority.issue("new.qinghe.example"), tmp_path / "hub.toml"

    def name_sender(known_by: str) -> None:
        file.write_text(f'[hl7.senders.qinghe-his]\nsite = "{SITE}"\n{known_by}\n', encoding="utf-8")

    name_sender(f'certificate_sha256 = "{fingerprint(his_certificate)}"')
    senders = WatchedSenders(file, load_order_senders)
    with connected(replace(hub, order_senders=senders), authority, his_certificate) as clinic:
        port, ca_file = clinic.listening.port, authority.ca_file
        with closing(TlsSender(port, ca_file, renewed)) as his, pytest.raises(ConnectionError):
            his.send(message(*EXAMPLE))
        name_sender(f'certificate_sha256 = "{fingerprint(renewed)}"')
        name_sender(f'certificate_sha256 = "{fingerprint(renewed)}"\nmodalities = {{ FSCT = "CT" }}')
        with closing(TlsSender(port, ca_file, renewed)) as his:
            of_code = changed("|CT|", "|FSCT|", *EXAMPLE)
            assert told(his.send(message(*of_code, control_id="C1"))) == ("AA", [])
            name_sender("certificate_sha256 = 7")
            assert told(his.send(message(*of_code, control_id="C2"))) == ("AA", []), "those of before count on"
        with pytest.raises(ConnectionError):
            clinic.his.send(message(*EXAMPLE, control_id="C3"))
        assert len(kept(hub)) == 2


def test_one_sender_has_so_many_connections_and_no_more(
    hub: Hub, authority: Authority, his_certificate: Issued
) -> None:
    with connected(hub, authority, his_certificate, connections_per_sender_max=1) as clinic:
        assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
        refused(clinic.listening.port, authority.ca_file, his_certificate)


def test_sender_of_a_site_that_is_not_in_the_network_is_told_so(
    hub: Hub, authority: Authority, his_certificate: Issued
) -> None:
    (sender,) = hub.order_senders.values()
    with connected(with_sender(hub, sender, site_id="elsewhere"), authority, his_certificate) as clinic:
        assert clinic.send(*EXAMPLE, control_id="C1") == ("AE", ["MSH-6"])
    assert [one.site_id for one in kept(hub)] == ["elsewhere"]


def test_while_the_database_is_away_the_sender_is_told_to_send_again(clinic: Clinic, database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE order_messages RENAME TO order_messages_away"))
    answer = clinic.his.send(message(*EXAMPLE))
    assert (told(answer), answer.get("ERR", 3)) == (("AE", ["MSH-10"]), "207")
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE order_messages_away RENAME TO order_messages"))
    assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])


def test_messages_lie_sealed_in_the_database_and_are_never_logged(clinic: Clinic) -> None:
    with structlog.testing.capture_logs() as logs:
        assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
        assert clinic.send(*changed("|19491231|", "|19491332|", *EXAMPLE), control_id="C2") == ("AE", ["PID-7"])
    assert any(one["event"] == "order_message_decided" for one in logs)
    for secret in ("秀兰", "M0042", RESIDENT):
        assert secret not in repr(logs)
        assert all(secret.encode() not in one.content for one in kept(clinic.hub))


CON = "CON|1|REMOTE-READ|||||||||A||20260301180000"
OWN_CODES = LocalCodes(green_channels={"ZZ": GreenChannel.STROKE}, consents=frozenset({"REMOTE-READ"}))


@pytest.fixture
def clinic_of_codes(hub: Hub, authority: Authority, his_certificate: Issued) -> Iterator[Clinic]:
    (sender,) = hub.order_senders.values()
    with connected(with_sender(hub, sender, codes=OWN_CODES), authority, his_certificate) as clinic:
        yield clinic


def test_consent_and_green_channel_are_the_orders(clinic_of_codes: Clinic) -> None:
    clinic = clinic_of_codes
    assert clinic.send(*changed("||R", "||S~ZZ", *EXAMPLE), CON, control_id="C1") == ("AA", [])
    order = clinic.only_order()
    assert (order.lane, order.green_channel, order.consent_recorded) == (Lane.STAT, GreenChannel.STROKE, True)
    assert consents(clinic.hub) == [("王秀兰", "2026-03-01T18:00:00+08:00")]
    refusal = changed("ORC|NW", "ORC|XO", *changed("||R", "||S~ZZ", *EXAMPLE))
    assert clinic.send(*refusal, CON.replace("|A|", "|X|"), control_id="C2") == ("AA", [])
    assert (clinic.only_order().consent_recorded, consents(clinic.hub)) == (False, [])
    assert clinic.send(*changed("ORC|NW", "ORC|XO", *EXAMPLE), control_id="C3") == ("AE", ["TQ1-9"])  # still green
    late = CON.replace("20260301", "20270301")
    assert clinic.send(*refusal, late, control_id="C4") == ("AA", ["CON-13"])  # left out of an emergency, and told
    assert (clinic.only_order().consent_recorded, consents(clinic.hub)) == (False, [])


def consents(hub: Hub) -> list[tuple[str, str]]:
    with hub.transaction() as session:
        kept_with = session.scalars(select(ClinicOrder.consent).where(ClinicOrder.consent.is_not(None)))
        return [(one["given_by"], one["at"]) for one in kept_with if one is not None]


KILLED = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from reading_queue.services.order_messages import intake
from reading_queue.services.order_messages.senders import OrderSender
from tests.integration.gateway_orders.sending import EXAMPLE, message
from tests.integration.hub_orders.conftest import SITE
from tests.integration.hub_orders.listening import TlsSender, fingerprint, listening, with_sender
from tests.support.certificates import Authority
from tests.support.clock import SteerableClock
from tests.support.hub import make_hub
folder = Path(sys.argv[2])
hub = make_hub(sa.create_engine(sys.argv[1]), None, folder / "hub.key", SteerableClock())
authority = Authority(folder / "killed")
his = authority.issue("his.qinghe.example")
hub = with_sender(hub, OrderSender("qinghe-his", SITE, certificate_sha256=fingerprint(his)))
intake.decide = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with listening(hub, authority) as listener:
    TlsSender(listener.port, authority.ca_file, his).send(message(*EXAMPLE))
"""


def test_message_of_a_listener_killed_before_its_answer_is_done_once(
    hub: Hub, database_url: sa.URL, tmp_path: Path, authority: Authority, his_certificate: Issued
) -> None:
    address = database_url.render_as_string(hide_password=False)
    killed = subprocess.run([sys.executable, "-c", KILLED, address, str(tmp_path)], check=False, timeout=90)
    assert killed.returncode == -signal.SIGKILL
    assert [one.state for one in kept(hub)] == ["received"]
    with connected(hub, authority, his_certificate) as clinic:

        def is_taken() -> None:
            assert [one.state for one in kept(hub)] == ["taken"]

        eventually(is_taken)  # at its start it decides on what was kept
        assert clinic.send(*EXAMPLE, control_id="C1") == ("AA", [])
        assert clinic.only_order().accession_number == "ACC1"
    assert decide_waiting(hub) == 0
    assert len(kept(hub)) == 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mangled=MANGLED)
@example(message(*EXAMPLE, control_id="C\x001"))
@example(message(*changed("肺部感染", "肺部\x00感染", *EXAMPLE), control_id="C2"))
def test_whatever_comes_is_answered_for_good_and_kept(clinic: Clinic, mangled: bytes) -> None:
    answer = clinic.his.send(mangled)
    assert told(answer)[0] in {"AA", "AE", "AR"}
    assert UNABLE not in str(answer), "it would come again for ever"
    came = as_it_came(mangled)
    assert came in [unseal(clinic.hub.keys, row.content, row.digest) for row in kept(clinic.hub)]
