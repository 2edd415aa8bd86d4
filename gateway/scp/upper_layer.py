"""The bytes of an association, taken apart and put together: PDUs, PDVs and the C-STORE command. Pure.

Sources: DICOM PS3.8 section 9.3 (PDUs) and annex E (PDVs), PS3.7 section 6.3.1 and annex E (command sets). Nothing here
copies a fragment of a dataset: it is handed on as a view of the buffer into which it was read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

PDU_BYTES_MAX: Final = 1024 * 1024  # an A-ASSOCIATE-RQ of 128 contexts with every transfer syntax takes 150 kB
COMMAND_BYTES_MAX: Final = 64 * 1024

P_DATA_TF: Final = 0x04
_PDU_TYPES: Final = range(0x01, 0x08)
_HEAD_BYTES: Final = 6  # of a PDU: type, reserved, length; of a PDV: length, context id, control
_PDV_HEAD_COUNTED: Final = 2  # context id and control are part of a PDV's length
_COMMAND_BIT, _LAST_BIT = 0x01, 0x02

C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_NO_DATASET: Final = 0x0101

AFFECTED_SOP_CLASS_UID: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_RESPONDED_TO: Final = 0x0120
_DATASET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_ERROR_COMMENT: Final = 0x0902
_AFFECTED_SOP_INSTANCE_UID: Final = 0x1000


class MalformedPdu(Exception):
    """The peer sent something that PS3.8 does not allow; the association must be aborted."""


class Fragment(NamedTuple):
    """A piece of a command or dataset. `is_last`: the command or dataset ends with it."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class PduStream:
    """Cuts what one connection brings into fragments of messages and other PDUs, as it comes.

    Volatile: it keeps heads that came in part, and PDUs other than P-DATA-TF until they are whole.
    """

    def __init__(self) -> None:
        self.pdus_begun = 0
        self._head = bytearray()
        self._other = bytearray()
        self._pdu_left = 0
        self._pdv_left = 0
        self._is_data = False
        self._context_id = 0
        self._control = 0

    @property
    def within_pdu(self) -> bool:
        """Return whether the PDU that has begun is not whole yet."""
        return bool(self._pdu_left or self._head)

    def feed(self, data: memoryview) -> Iterator[Fragment | bytes]:
        """Yield the fragments in `data`, and every other PDU when it is whole, head included.

        The views are valid until the next `feed`; the caller exhausts the iterator.

        Raises:
            MalformedPdu: an unknown type, a PDU over PDU_BYTES_MAX, a PDV that its PDU cannot hold.
        """
        position = 0
        while position < len(data):
            if self._pdv_left:
                piece = data[position : position + self._pdv_left]
                position += len(piece)
                self._pdv_left -= len(piece)
                self._pdu_left -= len(piece)
                yield self._fragment(piece)
            elif self._pdu_left and not self._is_data:
                piece = data[position : position + self._pdu_left]
                position += len(piece)
                self._pdu_left -= len(piece)
                self._other += piece
                if not self._pdu_left:
                    yield bytes(self._other)
            else:
                piece = data[position : position + _HEAD_BYTES - len(self._head)]
                position += len(piece)
                self._head += piece
                if len(self._head) == _HEAD_BYTES:
                    yield from self._begin()

    def _begin(self) -> Iterator[Fragment | bytes]:
        head = bytes(self._head)
        self._head.clear()
        if self._pdu_left:
            if not self._begin_pdv(head):
                yield self._fragment(memoryview(b""))
        elif not self._begin_pdu(head) and not self._is_data:
            yield head

    def _begin_pdu(self, head: bytes) -> int:
        """Return how much follows the head."""
        kind, length = head[0], int.from_bytes(head[2:], "big")
        if kind not in _PDU_TYPES or length > PDU_BYTES_MAX:
            raise MalformedPdu(f"a PDU of type {kind} and {length} bytes")
        self._is_data, self._pdu_left = kind == P_DATA_TF, length
        self.pdus_begun += 1
        self._other = bytearray(head)
        return length

    def _begin_pdv(self, head: bytes) -> int:
        """Return how much follows the head."""
        length = int.from_bytes(head[:4], "big")
        if length < _PDV_HEAD_COUNTED or length + 4 > self._pdu_left:
            raise MalformedPdu(f"a PDV of {length} bytes where its PDU has {self._pdu_left} left")
        self._context_id, self._control = head[4], head[5]
        self._pdv_left = length - _PDV_HEAD_COUNTED
        self._pdu_left -= _HEAD_BYTES
        if 0 < self._pdu_left - self._pdv_left < _HEAD_BYTES:
            raise MalformedPdu("a PDU ends inside the head of a PDV")
        return self._pdv_left

    def _fragment(self, piece: memoryview) -> Fragment:
        is_last = bool(self._control & _LAST_BIT) and not self._pdv_left
        return Fragment(self._context_id, bool(self._control & _COMMAND_BIT), is_last, piece)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ as the peer wrote it; nothing in it is trusted."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool


def parse_command(command: bytes) -> dict[int, bytes]:
    """Return the raw values of a command set by element number; all are of group 0000, implicit little endian.

    Raises:
        MalformedPdu: it is no command set.
    """
    values: dict[int, bytes] = {}
    offset = 0
    while offset < len(command):
        if offset + 8 > len(command):
            raise MalformedPdu("a command set ends inside the head of an element")
        group, number, length = struct.unpack_from("<HHI", command, offset)
        offset += 8
        if group != 0 or offset + length > len(command):
            raise MalformedPdu("a command set with an element that is not of its group or not whole")
        values[number] = command[offset : offset + length]
        offset += length
    return values


def find_store_request(context_id: int, command: bytes) -> StoreRequest | None:
    """Return the C-STORE-RQ that the command set is, None for every other message.

    Raises:
        MalformedPdu: it is no command set.
    """
    values = parse_command(command)
    if _number(values, _COMMAND_FIELD) != C_STORE_RQ:
        return None
    return StoreRequest(
        context_id=context_id,
        message_id=_number(values, _MESSAGE_ID),
        sop_class_uid=_uid(values, AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(values, _AFFECTED_SOP_INSTANCE_UID),
        has_dataset=_number(values, _DATASET_TYPE) != _NO_DATASET,
    )


def store_response(request: StoreRequest, status: int, error_comment: str, pdu_bytes_max: int) -> bytes:
    """Return the C-STORE-RSP as P-DATA-TF PDUs that the peer takes (PS3.7 section 9.3.1.2; 0: it set no limit)."""
    elements = b"".join(
        (
            _element(AFFECTED_SOP_CLASS_UID, request.sop_class_uid.encode("ascii", "replace"), b"\0"),
            _element(_COMMAND_FIELD, struct.pack("<H", _C_STORE_RSP)),
            _element(_MESSAGE_ID_RESPONDED_TO, struct.pack("<H", request.message_id)),
            _element(_DATASET_TYPE, struct.pack("<H", _NO_DATASET)),
            _element(_STATUS, struct.pack("<H", status)),
            _element(_ERROR_COMMENT, error_comment.encode("ascii", "replace"), b" ") if error_comment else b"",
            _element(_AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid.encode("ascii", "replace"), b"\0"),
        )
    )
    command = _element(0x0000, struct.pack("<I", len(elements))) + elements
    step = max(pdu_bytes_max - _HEAD_BYTES, 2) if pdu_bytes_max else len(command)
    starts = range(0, len(command), step)
    return b"".join(
        p_data(request.context_id, command[start : start + step], is_command=True, is_last=start == starts[-1])
        for start in starts
    )


def p_data(context_id: int, fragment: bytes | memoryview, *, is_command: bool, is_last: bool) -> bytes:
    """Return a P-DATA-TF PDU with one PDV."""
    control = is_command * _COMMAND_BIT | is_last * _LAST_BIT
    length = len(fragment) + _PDV_HEAD_COUNTED
    return struct.pack(">BBIIBB", P_DATA_TF, 0, length + 4, length, context_id, control) + fragment


def _element(number: int, value: bytes, padding: bytes = b"") -> bytes:
    value += padding * (len(value) % 2)
    return struct.pack("<HHI", 0x0000, number, len(value)) + value


def _number(values: dict[int, bytes], number: int) -> int:
    return int.from_bytes(values.get(number, b"")[:2], "little")


def _uid(values: dict[int, bytes], number: int) -> str:
    return values.get(number, b"").decode("ascii", "replace").strip(" \0")
