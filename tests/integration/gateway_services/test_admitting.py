"""Who is let in, by address, name and number; and what a refused device's technician reads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.peers import Peer, Permission
from gateway.scp.data_phase import ReceivingDul
from tests.integration.gateway_receive.instances import write_slice
from tests.integration.gateway_receive.modality import association, dcmtk, send
from tests.integration.gateway_receive.receiving import ReceivingGateway, with_settings
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

Start = Callable[..., ReceivingGateway]


def echo(gateway: ReceivingGateway, *, calling: str = "CT1", called: str = "GATEWAY") -> str:
    arguments = ("-to", "5", "-ta", "5", "-aet", calling, "-aec", called, "127.0.0.1", str(gateway.port))
    return dcmtk("echoscu", "-v", *arguments).stderr


def test_known_device_at_a_strange_address_is_refused_in_words(start: Start) -> None:
    peers = (Peer("ct1", "CT1", addresses=(ip_network("192.0.2.0/24"),)),)
    gateway = start(settings=with_settings(peers=peers, allowed_calling_ae_titles=frozenset()))
    assert "Calling AE Title Not Recognized" in echo(gateway)
    refusal = refusal_that_says(gateway, "not one of its own")
    assert (refusal.calling_ae_title, refusal.peer_address) == ("CT1", "127.0.0.1")
    assert "Add 127.0.0.1" in refusal.remedy


def test_wrong_called_ae_title_is_refused_in_words_where_it_counts(start: Start) -> None:
    gateway = start(settings=with_settings(require_called_ae_title=True))
    assert "Called AE Title Not Recognized" in echo(gateway, called="PACS")
    assert "Set GATEWAY" in refusal_that_says(gateway, "called AE title").remedy
    assert "Rejected" not in echo(gateway)


def test_wrong_capitals_are_told(start: Start) -> None:
    gateway = start()
    assert "Calling AE Title Not Recognized" in echo(gateway, calling="ct1")
    assert "knows CT1" in refusal_that_says(gateway, "calling AE title").remedy


def test_device_that_may_only_read_cannot_store(start: Start, tmp_path: Path) -> None:
    peers = (Peer("ws", "WS", frozenset({Permission.QUERY})),)
    gateway = start(settings=with_settings(peers=peers))
    with association(gateway.port, [write_slice(tmp_path / "sent")], calling="WS") as opened:
        assert not opened.accepted_contexts
    assert '"store"' in refusal_that_says(gateway, "wanted to store").remedy


def test_silent_connections_do_not_count_as_associations(start: Start, tmp_path: Path) -> None:
    gateway = start(settings=with_settings(associations_max=3, acse_timeout_s=5))
    silent = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(6)]
    try:
        assert send(gateway.port, write_slice(tmp_path / "sent")) == [0x0000]
    finally:
        for connection in silent:
            connection.close()


def test_too_many_connections_from_one_address_are_closed_and_told(start: Start, tmp_path: Path) -> None:
    gateway = start(settings=with_settings(connections_per_address_max=4, acse_timeout_s=60))
    silent = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(6)]
    try:
        assert "connections_per_address_max" in refusal_that_says(gateway, "Too many connections").remedy
    finally:
        for connection in silent:
            connection.close()
    path = write_slice(tmp_path / "sent")
    eventually(lambda: _stores(gateway, path))  # a closed connection gives its place back at once


def test_stop_waits_for_no_silent_connection(start: Start) -> None:
    gateway = start(settings=with_settings(acse_timeout_s=60))
    silent = [socket.create_connection(("127.0.0.1", gateway.port), timeout=60) for _ in range(3)]
    try:
        with capture_logs() as logged:
            gateway.stop()
        for connection in silent:
            with contextlib.suppress(ConnectionResetError):  # it was not yet accepted
                assert connection.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
    assert "associations_still_open_at_stop" not in {event["event"] for event in logged}


def test_stop_waits_for_no_connection_that_is_being_noted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(settings=with_settings(acse_timeout_s=60))
    look = ReceivingDul._process_recv_primitive
    noting = threading.Event()

    def hold(dul: ReceivingDul) -> bool:
        noting.set()
        eventually(lambda: check_stopped(dul))
        return look(dul)

    def check_stopped(dul: ReceivingDul) -> None:
        assert dul._kill_thread

    monkeypatch.setattr(ReceivingDul, "_process_recv_primitive", hold)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection, capture_logs() as logged:
        assert noting.wait(60)
        gateway.stop()
        assert connection.recv(1) == b""
    assert "associations_still_open_at_stop" not in {event["event"] for event in logged}


def _stores(gateway: ReceivingGateway, path: Path) -> None:
    with association(gateway.port, [path]) as opened:
        assert opened.is_established
        assert opened.send_c_store(path).Status == 0x0000
