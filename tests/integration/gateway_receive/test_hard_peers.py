"""Peers that break off, fall silent, crowd in or mix messages harm nobody but themselves."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification
from structlog.testing import capture_logs

from gateway.journal.associations import latest_refusals, open_association_ids
from gateway.journal.instances import find_instance
from gateway.scu import Destination, associated
from storage.contract.identifiers import Uid
from storage.open_files import allow_many_open_files
from tests.benchmarks.sender import _read_pdu, _status, associate_request, store_message
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, dataset_bytes, instance_uid, write_slice
from tests.integration.gateway_receive.modality import association, send
from tests.integration.gateway_receive.receiving import ReceivingGateway, tmp_is_empty, with_settings
from tests.support.waiting import eventually, keeps

pytestmark = pytest.mark.services

ABORT = bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0])
RELEASE = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])
ACCEPTED, REJECTED, ABORTED = 2, 3, 7
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ReceivingGateway]]:
    running: list[ReceivingGateway] = []

    def begin(**options: Any) -> ReceivingGateway:
        running.append(ReceivingGateway(tmp_path / "gateway", **options).start())
        return running[-1]

    yield begin
    for gateway in running:
        gateway.stop()


def connect(gateway: ReceivingGateway, sop_class: str = CT) -> tuple[socket.socket, int]:
    """Ask for an association with raw bytes; return the connection and the type of the answer."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    try:
        connection.sendall(associate_request("CT1", "GATEWAY", sop_class, EXPLICIT_LITTLE))
        return connection, _read_pdu(connection)[0]
    except BaseException:
        connection.close()
        raise


def message(number: int) -> bytes:
    return store_message(number, CT, instance_uid(number), dataset_bytes(number))


def command_of(number: int) -> bytes:
    """Return the first PDU of a message, which holds its command."""
    whole = message(number)
    return whole[: 6 + int.from_bytes(whole[2:6], "big")]


def ended(connection: socket.socket) -> bytes:
    """Return what the gateway still says before it closes the connection."""
    said = b""
    try:
        while piece := connection.recv(4096):
            said += piece
    except ConnectionResetError:
        pass
    return said


def refusals(gateway: ReceivingGateway) -> list[str]:
    found = latest_refusals(gateway.journal, 300)
    assert all(refusal.remedy for refusal in found)
    return [refusal.reason for refusal in found]


def nothing_is_open(gateway: ReceivingGateway) -> None:
    assert open_association_ids(gateway.journal) == []


def test_abort_in_the_middle_of_a_dataset_leaves_nothing_but_a_line(gateway: ReceivingGateway, tmp_path: Path) -> None:
    connection, answer = connect(gateway)
    assert answer == ACCEPTED
    with connection:
        whole = store_message(1, CT, instance_uid(1), dataset_bytes(1, pixels=b"\1" * 400_000))
        at = whole.index(bytes([4, 0]), 131_072 + 200)  # between two PDUs of the dataset
        connection.sendall(whole[:at] + ABORT)
        ended(connection)

    def told() -> None:
        assert any("in the middle of an object" in reason for reason in refusals(gateway))

    eventually(told)
    eventually(lambda: tmp_is_empty(gateway))
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is None
    assert send(gateway.port, write_slice(tmp_path / "sent")) == [0x0000]


def test_peer_that_never_closes_is_reaped(start: Callable[..., ReceivingGateway]) -> None:
    gateway = start(settings=with_settings(network_timeout_s=0.5, associations_max=1))
    connection, answer = connect(gateway)
    assert answer == ACCEPTED
    with connection:
        connection.sendall(message(1))
        assert _status(_read_pdu(connection)[1]) == 0x0000
        said = ended(connection)
    assert said[0] == ABORTED
    eventually(lambda: nothing_is_open(gateway))
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is not None


def test_peer_that_sends_a_pdu_drop_by_drop_is_given_up(start: Callable[..., ReceivingGateway]) -> None:
    gateway = start(settings=with_settings(network_timeout_s=0.8))
    connection, answer = connect(gateway)
    assert answer == ACCEPTED
    whole = message(1)
    with connection:
        connection.sendall(whole[:300])
        connection.settimeout(0.1)
        for byte in whole[300:]:
            try:
                connection.sendall(bytes([byte]))
                if connection.recv(1) in (b"", b"\x07"):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("it was heard to its end")
    eventually(lambda: nothing_is_open(gateway))
    eventually(lambda: tmp_is_empty(gateway))


def test_two_hundred_associations_at_once_keep_the_limit_and_are_all_answered(
    start: Callable[..., ReceivingGateway], tmp_path: Path
) -> None:
    gateway = start(settings=with_settings(connections_per_address_max=400, acse_timeout_s=60, network_timeout_s=60))
    opened: list[tuple[socket.socket, int]] = []
    try:
        with ThreadPoolExecutor(200) as pool:
            for calling in [pool.submit(lambda: opened.append(connect(gateway))) for _ in range(200)]:
                calling.result()
        assert Counter(answer for _, answer in opened) == {ACCEPTED: 10, REJECTED: 190}

        def told() -> None:
            assert sum("Too many associations" in reason for reason in refusals(gateway)) == 190

        eventually(told)
        taken = [connection for connection, answer in opened if answer == ACCEPTED]
        for number, connection in enumerate(taken, start=1):
            connection.sendall(message(number))
        assert [_status(_read_pdu(connection)[1]) for connection in taken] == [0x0000] * 10
    finally:
        for connection, _ in opened:
            connection.close()
    eventually(lambda: nothing_is_open(gateway))
    assert send(gateway.port, write_slice(tmp_path / "sent", 99)) == [0x0000]


def test_connections_beyond_the_thousandth_open_file_are_served(
    start: Callable[..., ReceivingGateway],
) -> None:
    allow_many_open_files()
    with ExitStack() as held:
        for _ in range(1_100):  # those of other peers, studies and uploads
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        gateway = start()
        with connect(gateway)[0] as calling:
            calling.sendall(message(1))
            assert _status(_read_pdu(calling)[1]) == 0x0000
        called = Destination("GATEWAY", "127.0.0.1", gateway.port)
        with associated(called, "CT1", [build_context(VERIFICATION)]) as opened:
            assert opened.send_c_echo().Status == 0x0000
        gateway.stop()


def test_wall_clock_that_jumps_ends_no_association(gateway: ReceivingGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, _ = connect(gateway)
    real = time.time
    with connection:
        for number, jump_s in enumerate([0, 86_400, -86_400], start=1):
            monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
            connection.sendall(message(number))
            assert _status(_read_pdu(connection)[1]) == 0x0000
        connection.sendall(RELEASE)
        assert _read_pdu(connection)[0] == 6


def test_store_and_echo_take_turns_on_one_association(gateway: ReceivingGateway, tmp_path: Path) -> None:
    paths = [write_slice(tmp_path / "sent", number) for number in (1, 2, 3)]
    ae = AE(ae_title="CT1")
    ae.add_requested_context(CT, EXPLICIT_LITTLE)
    ae.add_requested_context(Verification)
    opened = ae.associate("127.0.0.1", gateway.port)
    assert opened.is_established
    statuses = []
    for path in paths:
        statuses += [opened.send_c_store(path).Status, opened.send_c_echo().Status]
    opened.release()
    assert statuses == [0x0000] * 6


def test_fragments_of_any_size_make_the_same_object(gateway: ReceivingGateway) -> None:
    connection, _ = connect(gateway)
    command, dataset = command_of(1), dataset_bytes(1)
    pdvs = [
        struct.pack(">IBB", len(dataset[at : at + 37]) + 2, 1, 0) + dataset[at : at + 37] for at in range(0, 400, 37)
    ]
    last = dataset[407:]
    pdvs += [struct.pack(">IBB", 2, 1, 0), struct.pack(">IBB", len(last) + 2, 1, 2) + last]
    body = b"".join(pdvs)
    with connection:
        connection.sendall(command + struct.pack(">BBI", 4, 0, len(body)) + body)
        assert _status(_read_pdu(connection)[1]) == 0x0000
    row = find_instance(gateway.journal, Uid(instance_uid(1)))
    assert row is not None
    path = gateway.spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state)
    assert path.read_bytes().endswith(dataset)


@pytest.mark.parametrize(
    "wrong",
    [
        bytes([9, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
        struct.pack(">BBIIBB", 4, 0, 10, 100, 1, 0) + b"abcd",
        struct.pack(">BBIIBB", 4, 0, 10, 6, 1, 3) + b"abcd",
        struct.pack(">BBI", 4, 0, 0xFFFFFFFF),
        command_of(1) + command_of(2),
    ],
    ids=["unknown PDU", "PDV beyond its PDU", "no command set", "endless PDU", "command inside a dataset"],
)
def test_nonsense_on_an_association_aborts_it_alone(gateway: ReceivingGateway, tmp_path: Path, wrong: bytes) -> None:
    connection, _ = connect(gateway)
    with connection:
        connection.sendall(wrong)
        assert ended(connection)[:1] == bytes([ABORTED])
    eventually(lambda: nothing_is_open(gateway))
    eventually(lambda: tmp_is_empty(gateway))
    assert send(gateway.port, write_slice(tmp_path / "sent")) == [0x0000]


def test_store_on_a_context_for_something_else_aborts_the_association(gateway: ReceivingGateway) -> None:
    connection, answer = connect(gateway, VERIFICATION)
    assert answer == ACCEPTED
    with connection:
        connection.sendall(message(1))
        assert ended(connection)[:1] == bytes([ABORTED])
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is None


def test_stop_ends_an_association_that_is_in_the_middle_of_an_object(gateway: ReceivingGateway) -> None:
    connection, _ = connect(gateway)
    with connection:
        connection.sendall(message(1)[:400])
        with capture_logs() as logged:
            gateway.server.stop()
        assert ended(connection)[:1] == bytes([ABORTED])
    assert "associations_still_open_at_stop" not in {event["event"] for event in logged}
    tmp_is_empty(gateway)


def test_association_that_stops_within_an_object_is_given_up(start: Callable[..., ReceivingGateway]) -> None:
    gateway = start(settings=with_settings(network_timeout_s=0.5))
    connection, _ = connect(gateway)
    with connection:
        connection.sendall(message(1)[:400])
        assert ended(connection)[:1] == bytes([ABORTED])
    eventually(lambda: nothing_is_open(gateway))
    eventually(lambda: tmp_is_empty(gateway))


def test_silent_association_costs_a_release_no_time(gateway: ReceivingGateway, tmp_path: Path) -> None:
    path = write_slice(tmp_path / "sent")

    def took_s() -> float:
        with association(gateway.port, [path]) as opened:
            assert opened.send_c_store(path).Status == 0x0000
            began = time.monotonic()
            opened.release()
        return time.monotonic() - began

    keeps(2, took_s, in_a_row=1)
