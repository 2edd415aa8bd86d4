"""DICOM over TLS, with DCMTK's tools as the devices."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.journal.instances import find_instance
from gateway.peers import Peer
from gateway.scp import transport
from storage.contract.identifiers import Uid
from storage.tls import Credentials, server_context
from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.gateway_receive.modality import dcmtk, send
from tests.integration.gateway_receive.receiving import ReceivingGateway, with_settings
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.certificates import Authority, Issued

pytestmark = pytest.mark.services

Start = Callable[..., ReceivingGateway]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def start_tls(start: Start, authority: Authority, *, mutual: bool = True, **settings: object) -> ReceivingGateway:
    issued = authority.issue("gateway")
    credentials = Credentials(issued.certificate_file, issued.key_file, authority.ca_file)
    tls = server_context(credentials, require_client_certificate=mutual)
    return start(settings=with_settings(tls=tls, **settings))


def echo(gateway: ReceivingGateway, authority: Authority, *tls: str) -> int:
    port = str(gateway.server.tls_port)
    arguments = ("-to", "60", "-ta", "60", "-aet", "CT1", *tls, "+cf", str(authority.ca_file), "127.0.0.1", port)
    return dcmtk("echoscu", *arguments).returncode


def mine(issued: Issued) -> tuple[str, ...]:
    return ("+tls", str(issued.key_file), str(issued.certificate_file))


def test_scanner_with_a_certificate_echoes_and_stores_over_tls(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    gateway = start_tls(start, authority)
    scanner = mine(authority.issue("scanner"))
    assert echo(gateway, authority, *scanner) == 0
    path = write_slice(tmp_path / "sent", rows=1024, columns=1024, pixels=bytes(2 * 1024 * 1024))
    arguments = ("-aet", "CT1", *scanner, "+cf", str(authority.ca_file), "127.0.0.1", str(gateway.server.tls_port))
    done = dcmtk("storescu", *arguments, str(path))
    assert done.returncode == 0, done.stderr
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is not None


def test_scanner_without_a_certificate_is_refused_in_words_where_one_is_required(
    start: Start, authority: Authority
) -> None:
    gateway = start_tls(start, authority)
    assert echo(gateway, authority, "+tla") != 0
    refusal = refusal_that_says(gateway, "showed no certificate")
    assert "CA file" in refusal.remedy


def test_scanner_without_a_certificate_is_welcome_where_none_is_required(start: Start, authority: Authority) -> None:
    assert echo(start_tls(start, authority, mutual=False), authority, "+tla") == 0


def test_certificate_of_a_stranger_is_refused_in_words(start: Start, authority: Authority, tmp_path: Path) -> None:
    gateway = start_tls(start, authority)
    stranger = Authority(tmp_path / "elsewhere", "Other CA").issue("stranger")
    assert echo(gateway, authority, *mine(stranger)) != 0
    refusal_that_says(gateway, "not signed by the configured CA")


def test_plain_dicom_on_the_tls_port_is_refused_in_words(start: Start, authority: Authority) -> None:
    gateway = start_tls(start, authority)
    arguments = ("-to", "3", "-ta", "3", "-aet", "CT1", "127.0.0.1", str(gateway.server.tls_port))
    assert dcmtk("echoscu", *arguments).returncode != 0
    refusal_that_says(gateway, "does not speak TLS")


def test_old_tls_is_refused(start: Start, authority: Authority) -> None:
    gateway = start_tls(start, authority, mutual=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", gateway.server.tls_port)) as raw,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(raw),
    ):
        pass


def test_silent_connections_to_the_tls_port_hold_up_nobody(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S_MAX", 3600.0)  # none of them is given up meanwhile
    gateway = start_tls(start, authority)
    silent = [socket.create_connection(("127.0.0.1", gateway.server.tls_port)) for _ in range(20)]
    try:
        assert echo(gateway, authority, *mine(authority.issue("scanner"))) == 0
    finally:
        for connection in silent:
            connection.close()


def test_peer_that_must_use_tls_is_refused_on_the_plain_port(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    peers = (Peer("ct1", "CT1", tls_required=True),)
    gateway = start_tls(start, authority, peers=peers, allowed_calling_ae_titles=frozenset())
    with pytest.raises(AssertionError, match="not accepted"):
        send(gateway.port, write_slice(tmp_path / "sent"))
    assert "TLS port" in refusal_that_says(gateway, "called without TLS").remedy
    assert echo(gateway, authority, *mine(authority.issue("scanner"))) == 0
