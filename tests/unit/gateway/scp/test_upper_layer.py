"""PDUs and C-STORE commands, taken apart and put together."""

from __future__ import annotations

import struct
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from gateway.scp.data_phase import MonotonicTimer
from gateway.scp.upper_layer import (
    PDU_BYTES_MAX,
    Fragment,
    MalformedPdu,
    PduStream,
    StoreRequest,
    find_store_request,
    p_data,
    store_response,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
RELEASE = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def pdu(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BBI", 4, 0, len(body)) + body


def feed(stream: PduStream, data: bytes) -> list[Fragment | bytes]:
    return [
        piece if isinstance(piece, bytes) else piece._replace(data=memoryview(bytes(piece.data)))
        for piece in stream.feed(memoryview(data))
    ]


def joined(pieces: list[Fragment | bytes]) -> list[tuple[int, bool, bytes] | bytes]:
    """Put the fragments of each message part together, up to the last one."""
    found: list[tuple[int, bool, bytes] | bytes] = []
    part = b""
    for piece in pieces:
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        part += piece.data
        if piece.is_last:
            found.append((piece.context_id, piece.is_command, part))
            part = b""
    assert part == b""
    return found


MESSAGE = (
    pdu(pdv(3, 3, b"command"), pdv(3, 0, b"first "))
    + pdu(pdv(3, 0, b""), pdv(3, 0, b"second "))
    + pdu(pdv(3, 2, b"last"))
    + RELEASE
)


@given(st.lists(st.integers(0, len(MESSAGE)), max_size=12))
@settings(max_examples=200)
def test_stream_means_the_same_however_it_arrives(cuts: list[int]) -> None:
    stream = PduStream()
    edges = [0, *sorted(cuts), len(MESSAGE)]
    pieces: list[Fragment | bytes] = []
    for start, end in pairwise(edges):
        pieces += feed(stream, MESSAGE[start:end])
    assert joined(pieces) == [(3, True, b"command"), (3, False, b"first second last"), RELEASE]
    assert not stream.within_pdu


def test_pdu_under_way_is_known() -> None:
    stream = PduStream()
    feed(stream, MESSAGE[:3])
    assert stream.within_pdu
    feed(stream, MESSAGE[3:])
    assert not stream.within_pdu


@pytest.mark.parametrize(
    "data",
    [
        bytes([9, 0, 0, 0, 0, 4]),
        struct.pack(">BBI", 4, 0, PDU_BYTES_MAX + 1),
        struct.pack(">BBIIBB", 4, 0, 10, 100, 1, 0),
        struct.pack(">BBIIBB", 4, 0, 10, 1, 1, 0),
        struct.pack(">BBIIBB", 4, 0, 12, 4, 1, 0),
    ],
    ids=["unknown type", "longer than allowed", "PDV beyond its PDU", "PDV without a head", "rest too short"],
)
def test_what_the_standard_does_not_allow_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedPdu):
        feed(PduStream(), data)


def store_command(*, with_dataset: bool = True) -> bytes:
    """Return a command set as pynetdicom writes it."""
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3"
    if with_dataset:
        from io import BytesIO

        primitive.DataSet = BytesIO(b"\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    (first, *_) = message.encode_msg(1, 0)
    return bytes(first.presentation_data_value_list[0][1][1:])


def test_store_request_is_read_as_pynetdicom_writes_it() -> None:
    assert find_store_request(1, store_command()) == StoreRequest(1, 7, CT, "1.2.3", has_dataset=True)
    bare = find_store_request(1, store_command(with_dataset=False))
    assert bare is not None
    assert not bare.has_dataset


def test_other_messages_are_no_store_request() -> None:
    echo = struct.pack("<HHIH", 0, 0x0100, 2, 0x0030)
    assert find_store_request(1, echo) is None
    assert find_store_request(1, b"") is None


@pytest.mark.parametrize("command", [b"\0\0", struct.pack("<HHI", 0, 2, 99), struct.pack("<HHI", 8, 5, 0)])
def test_broken_command_is_malformed(command: bytes) -> None:
    with pytest.raises(MalformedPdu):
        find_store_request(1, command)


@pytest.mark.parametrize("pdu_bytes_max", [0, 16_384, 64])
def test_response_is_read_by_pynetdicom_whatever_size_it_takes(pdu_bytes_max: int) -> None:
    request = StoreRequest(5, 41, CT, "1.2.3", has_dataset=True)
    data = store_response(request, 0xA700, "No room is left", pdu_bytes_max)
    message = C_STORE_RSP()
    pdus = 0
    while data:
        length = int.from_bytes(data[2:6], "big")
        assert not pdu_bytes_max or length <= pdu_bytes_max
        received = P_DATA_TF()
        received.decode(data[: 6 + length])
        whole = message.decode_msg(received.to_primitive())
        data, pdus = data[6 + length :], pdus + 1
    assert whole
    assert pdus == 1 if pdu_bytes_max != 64 else pdus > 1
    answer = message.message_to_primitive()
    assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0xA700, 41)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert answer.ErrorComment == "No room is left"


def test_timer_of_an_association_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = MonotonicTimer(30)
    assert not timer.expired
    timer.start()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    assert not timer.expired
    assert 0 < timer.remaining <= 30
    monotonic = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic + 31)
    assert timer.expired
    timer.restart()
    assert not timer.expired


def test_fragment_is_wrapped_for_pynetdicom() -> None:
    received = P_DATA_TF()
    received.decode(p_data(9, b"abcd", is_command=False, is_last=True))
    assert received.to_primitive().presentation_data_value_list == [(9, b"\x02abcd")]
