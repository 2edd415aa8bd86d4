"""C-MOVE and C-GET of what the gateway holds, with DCMTK's movescu, getscu and storescp."""

from __future__ import annotations

import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from gateway.journal.holdings import HeldInstance
from gateway.query.retrieving import group_by_contexts
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import (
    CT,
    dataset_bytes,
    instance_uid,
    write_part10,
    write_slice,
)
from tests.integration.gateway_receive.modality import DCMTK_ENVIRONMENT, dataset_sha256, dcmtk, send
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.ports import own_port
from tests.support.processes import ProcessStarter
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

STUDY = "1.2.826.0.1.3680043.10.31"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
HTJ2K = "1.2.840.10008.1.2.4.201"


class Receiver:
    """A workstation that keeps the datasets it is sent, byte for byte; `status` is its answer, `pause` its slowness."""

    def __init__(self, *syntaxes: str) -> None:
        self.received: dict[str, tuple[str, bytes, Any]] = {}
        self.status = 0x0000
        self.allow = threading.Event()
        self.allow.set()
        ae = AE(ae_title="WS")
        for sop_class in (CT, "1.2.840.10008.5.1.4.1.1.4"):
            ae.add_supported_context(sop_class, list(syntaxes) or ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
        self._server: Any = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)]
        )
        self.port = int(self._server.server_address[1])

    def stop(self) -> None:
        self.allow.set()
        self._server.shutdown()

    def _on_store(self, event: Any) -> int:
        assert self.allow.wait(60)
        request = event.request
        if self.status in (0x0000, 0xB000):
            syntax, data = str(event.context.transfer_syntax), request.DataSet.getvalue()
            originator = (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID)
            self.received[str(request.AffectedSOPInstanceUID)] = (syntax, data, originator)
        return self.status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


Begin = Callable[..., AnsweringGateway]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    running: list[AnsweringGateway] = []

    def start(port: int, *, instances: int = 3, **dicom: Any) -> AnsweringGateway:
        workstation = {"name": "ws", "ae_title": "WS", "may": ["query", "retrieve"], "host": "127.0.0.1", "port": port}
        peers = [workstation | {"timeout_s": 30}]
        gateway = AnsweringGateway(tmp_path / "gateway", dicom={"peers": peers, **dicom}).start()
        running.append(gateway)
        if instances:
            send(gateway.port, *[write_slice(tmp_path / "sent", number, STUDY) for number in range(1, instances + 1)])
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


def move(
    gateway: AnsweringGateway, *, to: str = "WS", uid: str = STUDY, cancel_after: int | None = None
) -> list[Dataset]:
    """Return the statuses of a C-MOVE, each with its counts."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", uid
    ae = AE(ae_title="WS")
    ae.add_requested_context(STUDY_MOVE)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
    assert association.is_established
    answers = []
    try:
        for status, failed in association.send_c_move(identifier, to, STUDY_MOVE, msg_id=7):
            status.failed_list = failed
            answers.append(status)
            if len(answers) == cancel_after:
                association.send_c_cancel(7, query_model=STUDY_MOVE)
    finally:
        association.release()
    return answers


def counts(status: Dataset) -> tuple[int, int, int]:
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def test_movescu_moves_a_study_byte_for_byte(begin: Begin, receiver: Receiver, tmp_path: Path) -> None:
    gateway = begin(receiver.port)
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")
    done = dcmtk("movescu", "-S", "-v", "-aet", "WS", "-aem", "WS", *keys, "127.0.0.1", str(gateway.port))
    assert done.returncode == 0, done.stderr
    assert set(receiver.received) == {instance_uid(number, STUDY) for number in (1, 2, 3)}
    _, data, originator = receiver.received[instance_uid(2, STUDY)]
    assert data == dataset_bytes(2, STUDY)
    assert originator[0] == "WS"


def test_getscu_fetches_a_series_and_an_image(begin: Begin, tmp_path: Path) -> None:
    gateway = begin(own_port())
    for level, more, expected in (
        ("SERIES", ("-k", f"SeriesInstanceUID={STUDY}.1"), {1, 2, 3}),
        (
            "IMAGE",
            ("-k", f"SeriesInstanceUID={STUDY}.1", "-k", f"SOPInstanceUID={instance_uid(2, STUDY)}"),
            {2},
        ),
    ):
        directory = tmp_path / level
        directory.mkdir()
        keys = ("-k", f"QueryRetrieveLevel={level}", "-k", f"StudyInstanceUID={STUDY}", *more)
        arguments = ("-S", "-aet", "WS", "-od", str(directory), "+B", *keys, "127.0.0.1", str(gateway.port))
        done = dcmtk("getscu", *arguments)
        assert done.returncode == 0, done.stderr
        files = {dcmread(path).InstanceNumber: path for path in directory.iterdir()}
        assert set(files) == expected
        assert dataset_sha256(files[2]) == dataset_sha256(tmp_path / "sent" / f"{instance_uid(2, STUDY)}.dcm")


def test_study_that_is_safe_at_the_hub_is_still_sent(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port)
    gateway.confirm(STUDY)
    assert move(gateway)[-1].Status == 0x0000
    assert len(receiver.received) == 3


def test_receiver_gets_a_syntax_that_it_takes(begin: Begin, tmp_path: Path) -> None:
    receiver = Receiver("1.2.840.10008.1.2")
    try:
        gateway = begin(receiver.port, instances=1)
        assert counts(move(gateway)[-1]) == (1, 0, 0)
        syntax, data, _ = receiver.received[instance_uid(1, STUDY)]
        assert syntax == "1.2.840.10008.1.2"
        assert data[-512:] == struct.pack("<H", 1) * 256
    finally:
        receiver.stop()


def test_receiver_that_refuses_is_counted_and_told_to_people(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port)
    receiver.status = 0xA700
    last = move(gateway)[-1]
    assert (last.Status, counts(last)) == (0xA702, (0, 3, 0))
    assert len(last.failed_list.FailedSOPInstanceUIDList) == 3
    assert "receiving device" in refusal_that_says(gateway, "3 of 3 images could not be moved to WS").remedy


def test_warnings_of_the_receiver_are_counted(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port)
    receiver.status = 0xB000
    last = move(gateway)[-1]
    assert (last.Status, counts(last)) == (0xB000, (0, 0, 3))


def test_receiver_that_is_off_fails_every_image_in_words(begin: Begin) -> None:
    gateway = begin(own_port())
    last = move(gateway)[-1]
    assert (last.Status, counts(last)) == (0xA702, (0, 3, 0))
    refusal_that_says(gateway, "cannot be reached")


def test_unknown_destination_is_refused_in_words(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port)
    assert [answer.Status for answer in move(gateway, to="ELSEWHERE")] == [0xA801]
    assert "host and port" in refusal_that_says(gateway, "move destination").remedy


def test_study_that_is_not_here_is_moved_with_success_and_nothing(begin: Begin, receiver: Receiver) -> None:
    last = move(begin(receiver.port), uid="1.2.3.4")[-1]
    assert (last.Status, counts(last)) == (0x0000, (0, 0, 0))


def test_move_without_a_study_is_refused_in_words(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port)
    assert [answer.Status for answer in move(gateway, uid="")] == [0xA900]
    refusal_that_says(gateway, "needs one or more StudyInstanceUID")


def test_move_is_cancelled_between_two_images(begin: Begin, receiver: Receiver) -> None:
    gateway = begin(receiver.port, instances=8)
    receiver.allow.clear()

    def cancel_has_come() -> None:
        assert any(association.dimse.cancel_req for association in list(gateway.server._receptions))

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(eventually, cancel_has_come)
        coming.add_done_callback(lambda _: receiver.allow.set())
        last = move(gateway, cancel_after=1)[-1]
        coming.result()
    assert last.Status == 0xFE00
    assert last.NumberOfRemainingSuboperations > 0


def test_images_are_received_while_a_slow_workstation_is_served(
    begin: Begin, receiver: Receiver, tmp_path: Path
) -> None:
    gateway = begin(receiver.port, retrieves_max=1)
    receiver.allow.clear()
    statuses: list[int] = []
    moves = [threading.Thread(target=lambda: statuses.append(move(gateway)[-1].Status)) for _ in range(2)]
    for one in moves:
        one.start()
    assert send(gateway.port, write_slice(tmp_path / "more", 1, "1.2.826.0.1.3680043.10.32")) == [0x0000]
    receiver.allow.set()
    for one in moves:
        one.join(60)
    assert statuses == [0x0000, 0x0000]


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's receiver: its port, and where it writes."""
    port, directory = own_port(), tmp_path / "scp"
    directory.mkdir()
    processes = ProcessStarter(tmp_path / "logs")
    arguments = ["storescp", "-aet", "WS", "-od", directory, "+B", str(port)]
    processes.start(arguments, name="storescp", env=dict(DCMTK_ENVIRONMENT), ready=lambda: _listens(port))
    yield port, directory
    processes.end_all()


def test_storescp_of_dcmtk_takes_what_is_moved_to_it(begin: Begin, storescp: tuple[int, Path]) -> None:
    port, directory = storescp
    assert move(begin(port))[-1].Status == 0x0000
    assert len(list(directory.iterdir())) == 3


def test_large_object_is_sent_without_being_read_into_memory(
    begin: Begin, storescp: tuple[int, Path], tmp_path: Path
) -> None:
    port, directory = storescp
    gateway = begin(port, instances=0)
    uid = instance_uid(1, STUDY)
    dataset = dataset_bytes(1, STUDY, rows=4096, columns=4096, pixels=bytes(2 * 4096 * 4096))
    large = write_part10(tmp_path / "large.dcm", dataset, sop_instance_uid=uid)
    assert send(gateway.port, large) == [0x0000]
    del dataset
    tracemalloc.start()
    try:
        assert counts(move(gateway)[-1]) == (1, 0, 0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (received,) = directory.iterdir()
    assert dataset_sha256(received) == dataset_sha256(large)
    assert peak_bytes < 8 * 1024 * 1024


def test_contexts_are_split_over_associations() -> None:
    held = [
        HeldInstance(Uid(f"1.2.{number}"), f"1.3.{number}", Uid("1.4"), frozenset({HTJ2K})) for number in range(150)
    ]
    groups = list(group_by_contexts(held, 128))
    assert [len(contexts) for _, contexts in groups] == [128, 128, 44]
    assert [instance for group, _ in groups for instance in group] == held


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
