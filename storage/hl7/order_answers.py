"""Order messages on their way in and out again: what is told of one before it is decided on, and its answer. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storage.hl7.acknowledging import APPLICATION, acknowledge, read_message
from storage.hl7.faults import Fault, MessageRejected
from storage.hl7.message import Message, MessageUnreadable, composite, parse_message, segment
from storage.hl7.order_decisions import Done
from storage.hl7.order_message import KINDS, Control

NAME_CHARACTERS_MAX: Final = (
    100  # of what is kept of MSH-3, MSH-4, MSH-9, MSH-10: a longer one as its beginning and digest
)
ANY_ACK: Final = "ACK"
# ORC-1 of the answer: what became of what was asked, HL7 table 0119.
_OUTCOMES: Final = {Control.NEW: "OK", Control.CHANGE: "XR", Control.CANCEL: "CR", Control.STATUS: "OK"}


@dataclass(frozen=True, slots=True)
class Letterhead:
    """By what a message is known; the texts are empty where it cannot be read. `digest`: SHA-256 of its bytes."""

    sender: str  # MSH-3 and MSH-4
    control_id: str
    kind: str  # such as OMI^O23
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message. `faults` of one that was taken are what was left out."""

    code: str  # AA, AE or AR
    kind: str  # MSH-9 of the answer
    faults: tuple[Fault, ...] = ()
    done: tuple[Done, ...] = ()


def try_reading(data: bytes, character_set: str) -> Message | None:
    """Return what can be read of a message at all: its header is wanted for the answer."""
    try:
        return read_message(data, character_set)
    except MessageRejected:
        try:
            return parse_message(data, character_set)
        except MessageUnreadable:
            return None


def read_letterhead(data: bytes, character_set: str) -> Letterhead:
    """Return by what the message is known."""
    message = try_reading(data, character_set)

    def get(field: int, component: int = 1) -> str:
        text = message.get("MSH", field, component) if message is not None else ""
        return _name(text.replace("\x00", ""))  # which no database takes

    return Letterhead(
        sender="|".join(get(field) for field in (3, 4)).strip("|"),
        control_id=get(10),
        kind=_name("^".join(filter(None, (get(9), get(9, 2))))),
        digest=hashlib.sha256(data).hexdigest(),
    )


def _name(text: str) -> str:
    """Return a name of at most NAME_CHARACTERS_MAX that no other text has."""
    if len(text) <= NAME_CHARACTERS_MAX:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return f"{text[: NAME_CHARACTERS_MAX - len(digest) - 1]} {digest}"


def kind_of_answer(message: Message | None) -> str:
    """Return MSH-9 of what answers a message: its type's own answer, else a general acknowledgement."""
    return ANY_ACK if message is None else KINDS.get((message.get("MSH", 9), message.get("MSH", 9, 2)), ANY_ACK)


def answer_orders(verdict: Verdict, message: Message | None, character_set: str, now: datetime) -> bytes:
    """Return the acknowledgement, which says of each order what became of it."""
    return acknowledge(
        verdict.code,
        message,
        verdict.faults,
        kind=verdict.kind,
        character_set=character_set,
        now=now,
        orders=_tell_orders(verdict.done),
    )


def _tell_orders(done: Sequence[Done]) -> list[str]:
    """Return an ORC for each order: the placer's number, and the accession number as the filler's."""
    return [
        segment(
            "ORC",
            {
                1: _OUTCOMES[one.request.control],
                2: composite(one.request.placer_number, one.request.placer_namespace),
                3: composite(one.order.accession_number, APPLICATION),
            },
        )
        for one in done
    ]
