"""Many at once, and requests that nobody serves: each is answered, told in words, and the next scanner is served."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from tests.integration.gateway_receive.instances import write_slice
from tests.integration.gateway_receive.modality import send
from tests.integration.gateway_receive.receiving import ReceivingGateway, with_settings
from tests.integration.gateway_services.answering import AnsweringGateway
from tests.integration.gateway_services.conftest import refusal_that_says
from tests.support.commitment_peer import COMMITMENT, INSTANCE
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

ACCEPTED, REJECTED, CLOSED = 0x02, 0x03, 0x00


def association_request(calling: str) -> bytes:
    length = MaximumLengthNotification()
    length.maximum_length_received = 16_382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3")
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = calling, "GATEWAY"
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    request.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def first_byte(connection: socket.socket) -> int:
    try:
        data = connection.recv(1)
    except ConnectionError:
        return CLOSED
    return data[0] if data else CLOSED


def test_two_hundred_associations_at_once_are_each_answered_and_then_forgotten(
    start: Callable[..., ReceivingGateway], tmp_path: Path
) -> None:
    gateway = start(
        settings=with_settings(
            associations_max=20, connections_per_address_max=150, network_timeout_s=60, acse_timeout_s=60
        )
    )
    request = association_request("CT1")
    crowd = [socket.create_connection(("127.0.0.1", gateway.port), timeout=60) for _ in range(200)]
    try:
        for connection in crowd:
            try:
                connection.sendall(request)
            except ConnectionError:
                continue
        answers = Counter(first_byte(connection) for connection in crowd)
    finally:
        for connection in crowd:
            connection.close()
    assert answers[ACCEPTED] == 20
    assert answers[REJECTED] + answers[CLOSED] == 180
    assert answers[REJECTED] >= 100
    refusal_that_says(gateway, "Too many associations")
    path = write_slice(tmp_path / "sent")
    eventually(lambda: _stores(gateway, path))


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[AnsweringGateway]:
    peers = [{"name": "ct1", "ae_title": "CT1", "host": "127.0.0.1", "port": 1, "may": ["store", "commit", "query"]}]
    gateway = AnsweringGateway(
        tmp_path / "gateway", dicom={"peers": peers, "allowed_calling_ae_titles": ["US1"]}
    ).start()
    yield gateway
    gateway.stop()


def test_request_that_nobody_serves_is_told_to_people(answering: AnsweringGateway, tmp_path: Path) -> None:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(COMMITMENT)
    association = ae.associate("127.0.0.1", answering.port, ae_title="GATEWAY")
    assert association.is_established
    status, _ = association.send_n_get([0x00100010], COMMITMENT, INSTANCE)
    assert status.get("Status") != 0x0000
    if association.is_established:
        association.release()
    assert "CONFORMANCE.md" in refusal_that_says(answering, "does not serve it").remedy
    assert send(answering.port, write_slice(tmp_path / "sent")) == [0x0000]


def test_query_of_garbage_is_refused_in_words_and_breaks_nothing(answering: AnsweringGateway, tmp_path: Path) -> None:
    model = "1.2.840.10008.5.1.4.1.2.2.1"
    ae = AE(ae_title="CT1")
    ae.add_requested_context(model, "1.2.840.10008.1.2")
    association = ae.associate("127.0.0.1", answering.port, ae_title="GATEWAY")
    assert association.is_established
    garbage = Dataset()
    garbage.add_new(0x00080052, "OB", b"\xff" * 30)
    statuses = [status.Status for status, _ in association.send_c_find(garbage, model)]
    association.release()
    assert statuses[-1] in (0xA900, 0xC001)
    refusal_that_says(answering, "Level is missing")
    assert send(answering.port, write_slice(tmp_path / "sent")) == [0x0000]


def _stores(gateway: ReceivingGateway, path: Path) -> None:
    assert send(gateway.port, path) == [0x0000]
