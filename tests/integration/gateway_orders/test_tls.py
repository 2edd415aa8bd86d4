"""Orders over TLS: a HIS on the other end of a real handshake, its certificate right or wrong in every way."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.his_orders.listener import OrderListener
from gateway.hl7 import server
from gateway.journal.associations import Refusal, latest_refusals
from gateway.journal.database import Journal
from gateway.journal.order_messages import list_messages
from gateway.journal.orders import list_orders
from gateway.settings import GatewaySettings
from storage.hl7.framing import frame
from tests.integration.gateway_orders.sending import (
    EXAMPLE,
    Sender,
    changed,
    listening,
    message,
    open_enrolled,
    settings_of,
    told,
)
from tests.support.certificates import Authority, Issued
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

NAME = "gateway"  # in our certificate


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(open_enrolled(tmp_path / "spool", SteerableClock())) as opened:
        yield opened


def tls_settings(tmp_path: Path, authority: Authority, own: Issued, *, mutual: bool = True) -> GatewaySettings:
    plain = settings_of(tmp_path / "spool", tls=False).model_dump(mode="json")
    plain["dicom"]["tls"] = {
        "certificate_file": own.certificate_file,
        "key_file": own.key_file,
        "ca_file": authority.ca_file,
        "require_client_certificate": mutual,
    }
    plain["hl7"]["tls"] = True
    return GatewaySettings.model_validate(plain)


@pytest.fixture
def mutual() -> bool:
    return True


@pytest.fixture
def listener(tmp_path: Path, authority: Authority, journal: Journal, *, mutual: bool) -> Iterator[OrderListener]:
    settings = tls_settings(tmp_path, authority, authority.issue(NAME), mutual=mutual)
    with listening(settings, journal, SteerableClock()) as started:
        yield started


class TlsSender(Sender):
    """One connection of a HIS that trusts `ca_file` and shows a certificate, or none."""

    def __init__(self, port: int, ca_file: Path, shown: Issued | None) -> None:
        super().__init__(port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        if shown is not None:
            context.load_cert_chain(shown.certificate_file, shown.key_file)
        plain = self.socket
        try:
            self.socket = context.wrap_socket(plain, server_hostname=NAME)
        except BaseException:
            plain.close()
            raise


def is_turned_away(port: int, ca_file: Path, shown: Issued | None) -> bool:
    """Return whether the HIS gets no answer: its handshake fails, or the connection ends behind it (TLS 1.3)."""
    try:
        with contextlib.closing(TlsSender(port, ca_file, shown)) as his:
            his.send(message(*EXAMPLE))
    except OSError:
        return True
    return False


def refusal_that_says(journal: Journal, words: str) -> Refusal:
    """Return the refusal whose reason holds `words`, as soon as it is written."""

    def written() -> Refusal:
        refusals = latest_refusals(journal, 50)
        found = [refusal for refusal in refusals if words in refusal.reason]
        assert found, [refusal.reason for refusal in refusals]
        return found[0]

    return eventually(written)


def test_his_with_a_certificate_sends_orders_over_tls(
    listener: OrderListener, authority: Authority, journal: Journal
) -> None:
    long = changed("发热三天", "发热" * 20_000, *changed("P1^HIS", "P2^HIS", *changed("ACC1", "ACC2", *EXAMPLE)))
    with contextlib.closing(TlsSender(listener.port, authority.ca_file, authority.issue("his"))) as his:
        assert told(his.send(message(*EXAMPLE))) == ("AA", [])
        assert told(his.send(message(*long, control_id="C2")))[0] == "AE", "a history of 40,000 characters"
        his.socket.sendall(frame(message(*EXAMPLE, control_id="C3")) + frame(message(*EXAMPLE, control_id="C4")))
        assert [told(his.receive())[0] for _ in (1, 2)] == ["AA", "AA"]
        assert isinstance(his.socket, ssl.SSLSocket)
        assert his.socket.version() in {"TLSv1.2", "TLSv1.3"}
    assert [row.order.accession_number for row in list_orders(journal)] == ["ACC1"]
    assert latest_refusals(journal, 9) == []


def test_plaintext_on_the_port_is_refused_in_words_and_brings_nothing(
    listener: OrderListener, authority: Authority, journal: Journal
) -> None:
    with contextlib.closing(Sender(listener.port)) as plain, pytest.raises(OSError):  # noqa: PT011 -- any way of ending
        plain.send(message(*EXAMPLE))
    refusal = refusal_that_says(journal, "does not speak TLS")
    assert (refusal.calling_ae_title, refusal.peer_address) == ("HL7", "127.0.0.1")
    assert "tls of [hl7]" in refusal.remedy
    assert list_messages(journal) == []
    with contextlib.closing(TlsSender(listener.port, authority.ca_file, authority.issue("his"))) as his:
        assert told(his.send(message(*EXAMPLE)))[0] == "AA", "the listener goes on"


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (timedelta(days=-30), timedelta(days=-1), "certificate has expired"),
        (timedelta(days=1), timedelta(days=30), "certificate is not valid yet"),
    ],
)
def test_certificate_out_of_its_time_is_refused_in_words(
    listener: OrderListener, authority: Authority, journal: Journal, begins: timedelta, ends: timedelta, words: str
) -> None:
    assert is_turned_away(listener.port, authority.ca_file, authority.issue("his", begins=begins, ends=ends))
    refusal_that_says(journal, words)
    assert list_messages(journal) == []


def test_certificate_of_another_ca_is_refused_in_words(
    listener: OrderListener, authority: Authority, journal: Journal, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "elsewhere", "Other CA").issue("his")
    assert is_turned_away(listener.port, authority.ca_file, stranger)
    refusal_that_says(journal, "not signed by the configured CA")
    assert list_messages(journal) == []


def test_his_without_a_certificate_is_refused_in_words(
    listener: OrderListener, authority: Authority, journal: Journal
) -> None:
    assert is_turned_away(listener.port, authority.ca_file, None)
    refusal_that_says(journal, "showed no certificate")
    assert list_messages(journal) == []


@pytest.mark.parametrize("mutual", [False])
def test_his_without_a_certificate_is_welcome_where_none_is_required(
    listener: OrderListener, authority: Authority, journal: Journal
) -> None:
    with contextlib.closing(TlsSender(listener.port, authority.ca_file, None)) as his:
        assert told(his.send(message(*EXAMPLE)))[0] == "AA"
    assert len(list_orders(journal)) == 1


def test_his_that_does_not_trust_our_certificate_is_told_of(
    listener: OrderListener, authority: Authority, journal: Journal, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path / "elsewhere", "Other CA")
    assert is_turned_away(listener.port, elsewhere.ca_file, authority.issue("his"))
    refusal_that_says(journal, "does not trust our certificate")


def test_old_tls_is_refused(listener: OrderListener, authority: Authority, journal: Journal) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", listener.port)) as raw,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(raw),
    ):
        pass
    refusal_that_says(journal, "only TLS below 1.2")


def test_silent_connections_hold_up_nobody(
    listener: OrderListener, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S_MAX", 3600.0)  # none of them is given up meanwhile
    silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(15)]
    try:
        with contextlib.closing(TlsSender(listener.port, authority.ca_file, authority.issue("his"))) as his:
            assert told(his.send(message(*EXAMPLE)))[0] == "AA"
    finally:
        for connection in silent:
            connection.close()


def test_listener_without_a_usable_certificate_takes_no_plaintext_instead(
    tmp_path: Path, authority: Authority, journal: Journal
) -> None:
    own = authority.issue(NAME)
    settings: Any = tls_settings(tmp_path, authority, own)
    own.key_file.write_text("no key")
    with capture_logs() as logs:
        listener = OrderListener(settings, journal, clock=SteerableClock())
        listener.start()

        def has_given_up() -> None:
            assert any(line["event"] == "hl7_cannot_listen" for line in logs)

        try:
            eventually(has_given_up)
            assert listener.port == 0
        finally:
            listener.stop()
            assert listener.join(60)
