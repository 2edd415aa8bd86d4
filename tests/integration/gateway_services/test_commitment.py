"""Storage commitment speaks of the hub's copy, on a new association, and every failure is told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.journal.commitments import read_commitments
from gateway.status import problems_of, read_status
from tests.integration.gateway_receive.instances import CT, STUDY, instance_uid, write_slice
from tests.integration.gateway_receive.modality import send
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.commitment_peer import CommitmentPeer
from tests.support.ports import own_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

MR = "1.2.840.10008.5.1.4.1.1.4"
Start = Callable[..., AnsweringGateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[AnsweringGateway] = []

    def begin(*peers: CommitmentPeer, directory: str = "gateway", **dicom: Any) -> AnsweringGateway:
        named = [
            {"name": peer.ae_title.lower(), "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port}
            | {"timeout_s": 30}
            for peer in peers
        ]
        section = {"peers": named, "allowed_calling_ae_titles": ["US1"], **dicom}
        running.append(AnsweringGateway(tmp_path / directory, dicom=section).start())
        return running[-1]

    yield begin
    for gateway in running:
        gateway.stop()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., CommitmentPeer]]:
    made: list[CommitmentPeer] = []

    def make(ae_title: str = "CT1", *, listens: bool = True, **options: Any) -> CommitmentPeer:
        made.append(CommitmentPeer(ae_title, own_port(), **options))
        if listens:
            made[-1].listen()
        return made[-1]

    yield make
    for peer in made:
        peer.stop()


MakePeer = Callable[..., CommitmentPeer]


def state_of(gateway: AnsweringGateway, transaction_uid: str) -> str:
    return next(
        one["state"] for one in read_commitments(gateway.journal, 50) if one["transaction_uid"] == transaction_uid
    )


@pytest.mark.parametrize("knows_roles", [True, False])
def test_answer_comes_on_a_new_association_once_the_hub_has_confirmed(
    start: Start, make_peer: MakePeer, tmp_path: Path, knows_roles: bool
) -> None:
    peer = make_peer(knows_roles=knows_roles)
    gateway = start(peer)
    send(gateway.port, write_slice(tmp_path / "sent", 1), write_slice(tmp_path / "sent", 2))
    status, transaction = peer.ask(gateway.port, [(CT, instance_uid(1)), (CT, instance_uid(2))])
    assert status.Status == 0x0000
    _, judged = peer.ask(gateway.port, [(CT, instance_uid(9))])
    eventually(lambda: peer.report_on(judged))  # of an unknown instance: every request has been judged by now
    assert state_of(gateway, transaction) == "waiting"
    assert len(peer.reports) == 1
    gateway.confirm(STUDY)
    report = eventually(lambda: peer.report_on(transaction))
    assert (report.event_type, report.calling_ae_title, report.failed) == (1, "GATEWAY", {})
    assert report.committed == {instance_uid(1), instance_uid(2)}
    eventually(lambda: _equal(state_of(gateway, transaction), "told"))


def test_instances_that_the_gateway_has_removed_since_still_count(
    start: Start, make_peer: MakePeer, tmp_path: Path
) -> None:
    peer = make_peer()
    gateway = start(peer)
    send(gateway.port, write_slice(tmp_path / "sent"))
    gateway.confirm(STUDY)
    gateway.evict([instance_uid(1)])
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    assert eventually(lambda: peer.report_on(transaction)).committed == {instance_uid(1)}


def test_each_instance_fails_for_its_own_reason_and_people_read_why(
    start: Start, make_peer: MakePeer, tmp_path: Path
) -> None:
    peer = make_peer()
    gateway = start(peer)
    send(gateway.port, write_slice(tmp_path / "sent", 1), write_slice(tmp_path / "sent", 2))
    send(gateway.port, write_slice(tmp_path / "sent", 3, pixels=b"\0" * 8))
    gateway.confirm(STUDY)
    asked = [(CT, instance_uid(1)), (MR, instance_uid(2)), (CT, instance_uid(3)), (CT, instance_uid(4))]
    _, transaction = peer.ask(gateway.port, asked)
    report = eventually(lambda: peer.report_on(transaction))
    assert report.event_type == 2
    assert report.committed == {instance_uid(1)}
    assert report.failed == {instance_uid(2): 0x0119, instance_uid(3): 0x0110, instance_uid(4): 0x0112}
    refusal = refusal_that_says(gateway, "was not given for 3 of 4 images")
    assert refusal.remedy


def test_nobody_waits_for_ever_for_the_hub(start: Start, make_peer: MakePeer, tmp_path: Path) -> None:
    peer = make_peer()
    gateway = start(peer, commitment={"wait_hours": 1e-9})
    send(gateway.port, write_slice(tmp_path / "sent"))
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    assert eventually(lambda: peer.report_on(transaction)).failed == {instance_uid(1): 0x0110}
    assert "line to the hub" in refusal_that_says(gateway, "not confirmed them in time").remedy


def test_device_that_is_switched_off_is_called_again_and_keeps_no_other_waiting(
    start: Start, make_peer: MakePeer, tmp_path: Path
) -> None:
    off, on = make_peer("CT1", listens=False), make_peer("CT2")
    gateway = start(off, on)
    send(gateway.port, write_slice(tmp_path / "sent"))
    gateway.confirm(STUDY)
    _, first = off.ask(gateway.port, [(CT, instance_uid(1))])
    _, second = on.ask(gateway.port, [(CT, instance_uid(1))])
    eventually(lambda: on.report_on(second))
    problem = eventually(lambda: _only(problems_of(read_status(gateway.journal)), first))
    assert "cannot be reached" in problem
    off.listen()
    eventually(lambda: off.report_on(first))


def test_device_that_refuses_the_report_is_asked_again(start: Start, make_peer: MakePeer, tmp_path: Path) -> None:
    peer = make_peer()
    peer.status = 0x0110
    gateway = start(peer)
    send(gateway.port, write_slice(tmp_path / "sent"))
    gateway.confirm(STUDY)
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    eventually(lambda: _only(problems_of(read_status(gateway.journal)), "did not take the report"))
    peer.status = 0x0000
    eventually(lambda: peer.report_on(transaction))


def test_device_that_is_gone_for_good_is_given_up_in_words(start: Start, make_peer: MakePeer, tmp_path: Path) -> None:
    peer = make_peer(listens=False)
    gateway = start(peer, commitment={"call_back_days": 1e-9})
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    eventually(lambda: _equal(state_of(gateway, transaction), "given_up"))
    assert "host, port" in refusal_that_says(gateway, "could not be brought to the device").remedy


def test_request_is_answered_after_a_restart(start: Start, make_peer: MakePeer, tmp_path: Path) -> None:
    peer = make_peer()
    gateway = start(peer)
    send(gateway.port, write_slice(tmp_path / "sent"))
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    gateway.stop()
    again = start(peer)
    again.confirm(STUDY)
    eventually(lambda: peer.report_on(transaction))


def test_same_request_again_is_answered_again(start: Start, make_peer: MakePeer, tmp_path: Path) -> None:
    peer = make_peer()
    gateway = start(peer)
    _, transaction = peer.ask(gateway.port, [(CT, instance_uid(1))])
    eventually(lambda: _equal(state_of(gateway, transaction), "told"))
    status, _ = peer.ask(gateway.port, [(CT, instance_uid(1))], transaction_uid=transaction)
    assert status.Status == 0x0000
    eventually(lambda: _equal(len(peer.reports), 2))
    status, _ = peer.ask(gateway.port, [(CT, instance_uid(2))], transaction_uid=transaction)
    assert status.Status == 0x0115


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"references": []}, 0x0115, "names no instance"),
        ({"references": [(CT, "")]}, 0x0115, "missing or illegal UID"),
        ({"references": [("", instance_uid(1))]}, 0x0115, "missing or illegal UID"),
        ({"action_type": 2}, 0x0123, "no such action"),
        ({"instance": "1.2.3"}, 0x0112, "another SOP Instance"),
    ],
)
def test_request_that_is_wrong_is_refused_in_words(
    start: Start, make_peer: MakePeer, changes: dict[str, Any], status: int, words: str
) -> None:
    peer = make_peer()
    gateway = start(peer)
    answer, _ = peer.ask(gateway.port, **{"references": [(CT, instance_uid(1))], **changes})
    assert answer.Status == status
    assert words in answer.ErrorComment
    assert refusal_that_says(gateway, words).status == status
    assert read_commitments(gateway.journal, 5) == []


def test_request_without_a_sequence_is_refused_and_commits_nothing(start: Start, make_peer: MakePeer) -> None:
    peer = make_peer()
    gateway = start(peer)
    information = Dataset()
    information.TransactionUID = "1.2.3.4"
    assert peer.send(gateway.port, information, 1, "1.2.840.10008.1.20.1.1").Status == 0x0115


def test_device_whose_address_is_not_known_is_told_to_people(start: Start, make_peer: MakePeer) -> None:
    gateway = start(make_peer("CT1"))
    nowhere = make_peer("US1", listens=False)
    with pytest.raises(AssertionError, match="storage commitment was refused"):
        nowhere.ask(gateway.port, [(CT, instance_uid(1))])
    assert "host and port" in refusal_that_says(gateway, "not known where to answer it").remedy


def test_request_for_all_that_has_arrived_and_more_says_how_many_are_to_come(
    start: Start, make_peer: MakePeer, tmp_path: Path
) -> None:
    peer = make_peer()
    gateway = start(peer)
    send(gateway.port, *[write_slice(tmp_path / "sent", number) for number in (1, 2)])
    peer.ask(gateway.port, [(CT, instance_uid(1))])
    peer.ask(gateway.port, [(CT, instance_uid(1)), (CT, instance_uid(9))])
    assert gateway.expected == []
    peer.ask(gateway.port, [(CT, instance_uid(number)) for number in (1, 2, 3)])
    assert gateway.expected == [(STUDY, 3)]


def _equal(found: object, wanted: object) -> None:
    assert found == wanted


def _only(lines: list[str], words: str) -> str:
    found = [line for line in lines if words in line]
    assert len(found) == 1, lines
    return found[0]
