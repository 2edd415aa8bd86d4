"""What is wrong with a message that came, as its sender and the clinic's people are told. Pure.

The words are constant texts that name a rule and never quote the message: they go into acknowledgements and onto the
console, which has them in its languages too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\.(\d+))?")


class ErrorCode(StrEnum):
    """HL7 table 0357, message error condition codes."""

    REQUIRED_FIELD_MISSING = "101"
    DATA_TYPE_ERROR = "102"
    TABLE_VALUE_NOT_FOUND = "103"
    UNSUPPORTED_MESSAGE_TYPE = "200"
    UNSUPPORTED_EVENT_CODE = "201"
    UNSUPPORTED_PROCESSING_ID = "202"
    UNSUPPORTED_VERSION_ID = "203"
    UNKNOWN_KEY_IDENTIFIER = "204"
    DUPLICATE_KEY_IDENTIFIER = "205"
    RECORD_LOCKED = "206"
    INTERNAL_ERROR = "207"


NAMES: Final = {
    ErrorCode.REQUIRED_FIELD_MISSING: "Required field missing",
    ErrorCode.DATA_TYPE_ERROR: "Data type error",
    ErrorCode.TABLE_VALUE_NOT_FOUND: "Table value not found",
    ErrorCode.UNSUPPORTED_MESSAGE_TYPE: "Unsupported message type",
    ErrorCode.UNSUPPORTED_EVENT_CODE: "Unsupported event code",
    ErrorCode.UNSUPPORTED_PROCESSING_ID: "Unsupported processing id",
    ErrorCode.UNSUPPORTED_VERSION_ID: "Unsupported version id",
    ErrorCode.UNKNOWN_KEY_IDENTIFIER: "Unknown key identifier",
    ErrorCode.DUPLICATE_KEY_IDENTIFIER: "Duplicate key identifier",
    ErrorCode.RECORD_LOCKED: "Application record locked",
    ErrorCode.INTERNAL_ERROR: "Application internal error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `where` is `PID-3` or `PID-3.1`; `order` counts the message's orders from 1."""

    where: str
    code: ErrorCode
    words: str
    order: int = 1

    def location(self) -> str:
        """Return it as ERR-2 (ERL): segment, which of its name, field, repetition, component."""
        found = _PLACE.fullmatch(self.where)
        if found is None:
            return ""
        segment, field, component = found.groups()
        sequence = self.order if segment in _OF_ONE_ORDER else 1
        return "^".join([segment, str(sequence), field, *(["1", component] if component else [])])


_OF_ONE_ORDER: Final = frozenset({"ORC", "OBR", "TQ1", "IPC", "OBX"})


class MessageRejected(Exception):
    """AR: nothing of the kind is taken here, whatever it says."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault


class OrderFaulty(Exception):
    """AE: an order message says something that cannot be so; all that was found wrong."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.where}: {fault.words}" for fault in faults))
        self.faults = faults
