"""What is wrong gets a status in words, keeps its bytes in quarantine, and never stops the next modality."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from pynetdicom import AE

from gateway.journal.associations import Refusal, latest_refusals
from gateway.journal.custody import custody_of
from gateway.journal.instances import find_instance
from gateway.spool import RealFiles, SpoolState
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import (
    CT,
    STUDY,
    dataset_bytes,
    instance_uid,
    write_part10,
    write_slice,
)
from tests.integration.gateway_receive.modality import answers, association, dcmtk, send
from tests.integration.gateway_receive.receiving import ReceivingGateway, tmp_is_empty, with_settings
from tests.support.folders import files_under
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"


class FillableFiles(RealFiles):
    """A disk that is full for as long as the test says."""

    full = False

    def write(self, descriptor: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        super().write(descriptor, data)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ReceivingGateway]]:
    running: list[ReceivingGateway] = []

    def begin(**options: Any) -> ReceivingGateway:
        running.append(ReceivingGateway(tmp_path / "gateway", **options).start())
        return running[-1]

    yield begin
    for gateway in running:
        gateway.stop()


def quarantined(gateway: ReceivingGateway) -> list[dict[str, object]]:
    directory = gateway.spool.root / "quarantine"
    reasons = sorted(directory.glob("*.json"))
    assert [path.with_suffix(".dcm").exists() for path in reasons] == [True] * len(reasons)
    return [json.loads(path.read_text()) for path in reasons]


def incoming(gateway: ReceivingGateway) -> list[Path]:
    return files_under(gateway.spool.root / "incoming", ".dcm")


def newest_refusal(gateway: ReceivingGateway) -> Refusal:
    def written() -> Refusal:
        refusals = latest_refusals(gateway.journal, 1)
        assert refusals
        return refusals[0]

    return eventually(written)


def still_serves(gateway: ReceivingGateway, directory: Path) -> None:
    assert send(gateway.port, write_slice(directory, 99)) == [0x0000]


WRONG = [
    ("missing_identifier", 0xC111, {"study_uid": None}),
    ("missing_identifier", 0xC111, {"series_uid": ""}),
    ("invalid_identifier", 0xC112, {"study_uid": "../../x"}),
    ("invalid_identifier", 0xC112, {"sop_instance_uid": "../../../etc/passwd"}),
    ("invalid_identifier", 0xC112, {"study_uid": "1" * 66}),
    ("pixel_data_short", 0xC114, {"pixels": b"\0" * 100}),
    ("command_mismatch", 0xA900, {"sop_instance_uid": "1.2.3.4"}),
    ("command_mismatch", 0xA900, {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}),
]


@pytest.mark.parametrize(("code", "status", "wrong"), WRONG)
def test_wrong_instance_is_refused_in_words_and_quarantined(
    gateway: ReceivingGateway, tmp_path: Path, code: str, status: int, wrong: dict[str, str]
) -> None:
    (answer,) = answers(gateway.port, write_slice(tmp_path / "sent", **wrong))
    assert answer.Status == status, answer.get("ErrorComment")
    assert answer.ErrorComment
    (reason,) = quarantined(gateway)
    assert (reason["code"], reason["words"]) == (code, answer.ErrorComment)
    assert incoming(gateway) == []
    refusal = newest_refusal(gateway)
    assert (refusal.status, refusal.reason, refusal.calling_ae_title) == (status, answer.ErrorComment, "CT1")
    assert refusal.remedy
    still_serves(gateway, tmp_path / "sent")


@pytest.mark.parametrize("cut", [1, 40, 300, 520])
def test_truncated_instance_is_refused_and_quarantined(gateway: ReceivingGateway, tmp_path: Path, cut: int) -> None:
    path = write_part10(tmp_path / "cut.dcm", dataset_bytes()[:-cut], sop_instance_uid=instance_uid(1))
    (answer,) = answers(gateway.port, path)
    assert answer.Status in {0xC111, 0xC113, 0xC114}, answer.get("ErrorComment")
    assert len(quarantined(gateway)) == 1
    assert incoming(gateway) == []


def test_truncated_file_of_a_real_scanner_is_refused(gateway: ReceivingGateway) -> None:
    (answer,) = answers(gateway.port, BUNDLED / "MR_truncated.dcm")
    assert answer.Status in {0xC113, 0xC114}
    assert len(quarantined(gateway)) == 1


def test_dataset_that_is_garbage_is_refused(gateway: ReceivingGateway, tmp_path: Path) -> None:
    path = write_part10(tmp_path / "garbage.dcm", b"\xff" * 500, sop_instance_uid=instance_uid(1))
    (answer,) = answers(gateway.port, path)
    assert answer.Status in {0xC110, 0xC111, 0xC113}, answer.get("ErrorComment")
    assert len(quarantined(gateway)) == 1


def test_same_uid_with_other_bytes_is_quarantined_and_the_first_stays(
    gateway: ReceivingGateway, tmp_path: Path
) -> None:
    first = write_slice(tmp_path / "first")
    send(gateway.port, first)
    (answer,) = answers(gateway.port, write_slice(tmp_path / "second", patient_name="OTHER^ONE"))
    assert answer.Status == 0xC116
    with gateway.spool.open_instance(Uid(instance_uid(1)), Uid(STUDY), None, SpoolState.INCOMING) as file:
        assert b"TEST^RECEIVE" in file.read()
    (reason,) = quarantined(gateway)
    assert (reason["code"], reason["study_uid"]) == ("duplicate_differs", STUDY)
    assert Hop.QUARANTINED in {event.hop for event in custody_of(gateway.journal, Uid(STUDY))}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom in sender and listener
def test_illegal_uid_in_the_command_leaves_the_spool_alone(gateway: ReceivingGateway, tmp_path: Path) -> None:
    uid = "../../../x"
    path = write_part10(tmp_path / "x.dcm", dataset_bytes(sop_instance_uid=uid), sop_instance_uid=uid)
    (answer,) = answers(gateway.port, path)
    assert answer.Status == 0xC112
    assert files_under(tmp_path, "x.dcm") == [path]
    still_serves(gateway, tmp_path / "sent")


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x01\x00\x00\x00\x00\xcd" + b"\x00\x01",  # half an A-ASSOCIATE-RQ
        b"\x01\x00",
        b"\x04\x00\xff\xff\xff\xff" + b"x" * 4096,  # a PDU of four gigabytes
        b"\x01\x00\x00\x00\x00\x44" + b"\xff" * 68,
    ],
    ids=["http", "tls", "half a PDU", "two bytes", "endless PDU", "nonsense request"],
)
def test_noise_on_the_port_is_told_and_the_next_association_served(
    gateway: ReceivingGateway, tmp_path: Path, noise: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as peer:
        peer.sendall(noise)
        peer.shutdown(socket.SHUT_WR)
        peer.settimeout(60)
        while peer.recv(4096):
            pass
    assert "before it asked for an association" in newest_refusal(gateway).reason
    still_serves(gateway, tmp_path / "sent")


def test_silent_peers_do_not_keep_modalities_out_for_long(
    start: Callable[..., ReceivingGateway], tmp_path: Path
) -> None:
    gateway = start(settings=with_settings(associations_max=2, acse_timeout_s=0.5, network_timeout_s=1))
    silent = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(4)]
    try:
        silent[0].sendall(b"\x01\x00\x00\x00\x00\xcd")  # begins a PDU and stops
        eventually(lambda: still_serves(gateway, tmp_path / "sent"))
    finally:
        for peer in silent:
            peer.close()


def test_unknown_calling_ae_is_rejected_with_a_remedy(gateway: ReceivingGateway) -> None:
    echo = dcmtk("echoscu", "-aet", "STRANGER", "127.0.0.1", str(gateway.port))
    assert echo.returncode != 0
    assert "Calling AE Title Not Recognized" in echo.stderr
    refusal = newest_refusal(gateway)
    assert (refusal.calling_ae_title, refusal.status, refusal.peer_address) == ("STRANGER", None, "127.0.0.1")
    assert "allowed_calling_ae_titles" in refusal.remedy


def test_unknown_transfer_syntax_is_refused_in_words(gateway: ReceivingGateway) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(CT, "1.2.3.4.5.6")
    opened = ae.associate("127.0.0.1", gateway.port)
    assert opened.rejected_contexts[0].result == 4
    assert not opened.accepted_contexts
    opened.abort()
    refusal = newest_refusal(gateway)
    assert refusal.reason.startswith("CT Image Storage was offered only in transfer syntaxes")


def test_too_many_associations_are_rejected_for_now(start: Callable[..., ReceivingGateway], tmp_path: Path) -> None:
    gateway = start(settings=with_settings(associations_max=1))
    path = write_slice(tmp_path / "sent")
    with association(gateway.port, [path]) as first:
        assert first.is_established
        with association(gateway.port, [path]) as second:
            assert second.is_rejected
        assert "Too many associations" in newest_refusal(gateway).reason
    eventually(lambda: still_serves(gateway, tmp_path / "sent"))


def test_full_disk_is_out_of_resources_and_later_the_same_instance_is_taken(
    start: Callable[..., ReceivingGateway], tmp_path: Path
) -> None:
    files = FillableFiles()
    gateway = start(files=files)
    path = write_slice(tmp_path / "sent")
    files.full = True
    (answer,) = answers(gateway.port, path)
    assert answer.Status == 0xA700
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is None
    eventually(lambda: tmp_is_empty(gateway))
    files.full = False
    assert send(gateway.port, path) == [0x0000]
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is not None


def test_disk_below_its_floor_takes_nothing(start: Callable[..., ReceivingGateway], tmp_path: Path) -> None:
    gateway = start(disk_floor_bytes=2**60)
    assert send(gateway.port, write_slice(tmp_path / "sent")) == [0xA700]
    assert incoming(gateway) == []


def test_object_over_the_limit_is_refused(start: Callable[..., ReceivingGateway], tmp_path: Path) -> None:
    gateway = start(settings=with_settings(object_bytes_max=1_000))
    small, large = write_slice(tmp_path / "sent", 1), write_slice(tmp_path / "sent", 2, pixels=b"\0" * 1_000_000)
    assert send(gateway.port, large) == [0xA702]
    eventually(lambda: tmp_is_empty(gateway))
    assert small.exists()


def test_association_that_dies_in_the_middle_of_an_object_leaves_no_fragment(
    gateway: ReceivingGateway, tmp_path: Path
) -> None:
    path = write_slice(tmp_path / "sent", rows=1024, columns=1024, pixels=b"\0" * 2 * 1024 * 1024)
    with association(gateway.port, [path]) as opened:
        raw = opened.dul.socket.socket
        sent = 0
        original = raw.send

        class Dying:
            def __getattr__(self, name: str) -> object:
                return getattr(raw, name)

            def send(self, data: bytes) -> int:
                nonlocal sent
                sent += len(data)
                if sent > 1_000_000:
                    raw.shutdown(socket.SHUT_RDWR)
                return original(data)

            def sendall(self, data: bytes) -> None:
                self.send(data)

        opened.dul.socket.socket = Dying()
        opened.send_c_store(path)

    def told() -> None:
        assert any("in the middle of an object" in refusal.reason for refusal in latest_refusals(gateway.journal, 5))

    eventually(told)
    eventually(lambda: tmp_is_empty(gateway))
    still_serves(gateway, tmp_path / "sent")
