"""Takes order messages: keeps each, decides on it, and says what became of it.

Durable: every message, committed before its acknowledgement is made; an order, in the transaction that records what
became of its message. Volatile: nothing. A gateway that is killed in between decides after its start on what it has
kept, and the sender, who has heard nothing, gets the same answer when it repeats the message.

AA: done, for good. AE: kept, and shown to the clinic's people, who can have it tried again. AR: of a kind that is not
taken here; kept too.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from gateway.his_orders.applying import Done, Site, apply_request
from gateway.his_orders.settings import Hl7Settings
from gateway.hl7.acknowledging import APPLICATION, acknowledge, read_message, require_kind
from gateway.hl7.faults import ErrorCode, Fault, MessageRejected, OrderFaulty
from gateway.hl7.message import Message, MessageUnreadable, composite, parse_message, segment
from gateway.hl7.order_message import KINDS, Control, parse_orders
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.identity import find_identity
from gateway.journal.order_messages import (
    SUBJECT,
    Envelope,
    KeptMessage,
    decide_on_message,
    find_message,
    is_first_of_control_id,
    keep_message,
    undecided_messages,
)
from gateway.journal.orders import AccessionTaken
from gateway.journal.quarantine import SETTLED
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 60.0
NAME_CHARACTERS_MAX: Final = 100  # of what is kept of MSH-3, MSH-4, MSH-10
TRIED_AGAIN: Final = "order_message_retried"
_ANY_ACK: Final = "ACK"
# ORC-1 of the answer: what became of what was asked, HL7 table 0119.
_OUTCOMES: Final = {Control.NEW: "OK", Control.CHANGE: "XR", Control.CANCEL: "CR", Control.STATUS: "OK"}


class MessageGone(Exception):
    """There is no such message here any more, or it needs nobody."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of a message."""

    code: str
    kind: str  # MSH-9 of the answer
    faults: tuple[Fault, ...] = ()
    done: tuple[Done, ...] = ()


class OrderIntake:
    """The handler of the listener, and one step of a `Loop` for what a crash left undecided."""

    def __init__(
        self, journal: Journal, settings: Hl7Settings, *, zone: ZoneInfo, clock: Callable[[], datetime]
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._zone = zone
        self._clock = clock

    def handle(self, data: bytes, address: str) -> bytes:
        """Keep the message, do what it asks, and return the acknowledgement."""
        message_id = self._keep(data, address)
        return self.decide(message_id)

    def refuse_long(self, head: bytes, address: str) -> bytes:
        """Keep how a message begins that is too long, and return its refusal."""
        message_id = self._keep(head, address)
        words = f"the message is longer than {self._settings.message_bytes_max} bytes and was not read to its end"
        fault = Fault("MSH-1", ErrorCode.INTERNAL_ERROR, words)
        return self._record(message_id, _Verdict("AR", _ANY_ACK, (fault,)), _readable(head, self._settings))

    def step(self) -> float:
        """Decide on what was kept and not decided on; return the seconds until it is looked at again."""
        for message_id in undecided_messages(self._journal):
            self.decide(message_id)
        return LOOK_EVERY_S

    def retry(self, message_id: int, by: str) -> KeptMessage:
        """Try a refused message again, as the journal and the settings are now; return what became of it.

        Raises:
            MessageGone: there is none, or it was not refused.
        """
        kept = find_message(self._journal, message_id)
        if kept is None or kept.state != "refused":
            raise MessageGone
        self.decide(message_id, by=by)
        return find_message(self._journal, message_id) or kept

    def decide(self, message_id: int, *, by: str = "") -> bytes:
        """Return the answer to a kept message; what was decided stays, unless somebody (`by`) has it tried again."""
        kept = find_message(self._journal, message_id)
        if kept is None:
            raise MessageGone
        if kept.answer is not None and kept.state != "received" and not by:
            return kept.answer
        message = _readable(kept.content, self._settings)
        try:
            read = read_message(kept.content, self._settings.character_set)
            require_kind(read, KINDS)
            return self._apply(kept, read, by)
        except MessageRejected as exc:
            verdict = _Verdict("AR", _ANY_ACK, (exc.fault,))
        except OrderFaulty as exc:
            verdict = _Verdict("AE", _answer_to(message), exc.faults)
        return self._record(message_id, verdict, message, by=by)

    def _keep(self, data: bytes, address: str) -> int:
        message = _readable(data, self._settings)
        get = message.get if message is not None else (lambda *_place: "")
        with self._journal.transaction() as connection:
            return keep_message(
                connection,
                Envelope(
                    address=address,
                    sender="|".join(get("MSH", field)[:NAME_CHARACTERS_MAX] for field in (3, 4)).strip("|"),
                    control_id=get("MSH", 10)[:NAME_CHARACTERS_MAX],
                    kind="^".join(filter(None, (get("MSH", 9), get("MSH", 9, 2))))[:NAME_CHARACTERS_MAX],
                    digest=hashlib.sha256(data).hexdigest(),
                    content=data,
                ),
                self._clock(),
            )

    def _apply(self, kept: KeptMessage, message: Message, by: str) -> bytes:
        """Do all that the message asks and record it, in one transaction. Raises OrderFaulty: then nothing is done."""
        if not is_first_of_control_id(self._journal, kept):
            words = "another message came under this control id before: what is not a repetition needs one of its own"
            raise OrderFaulty(Fault("MSH-10", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words))
        identity = find_identity(self._journal)
        if identity is None:
            words = "this gateway is not enrolled at a hub yet and takes no orders"
            raise OrderFaulty(Fault("MSH-6", ErrorCode.INTERNAL_ERROR, words))
        requests = parse_orders(message, zone=self._zone, modalities=self._settings.modalities)
        now = self._clock()
        with self._journal.transaction() as connection:
            current = find_message(self._journal, kept.message_id)
            if current is not None and current.state != kept.state and current.answer is not None:
                return current.answer  # another connection brought the same message
            site = Site(self._journal, connection, identity, now)
            try:
                done = tuple(apply_request(site, request) for request in requests)
            except AccessionTaken:
                words = "another order has this accession number already"
                raise OrderFaulty(Fault("OBR-18", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words)) from None
            left_out = tuple(fault for one in done for fault in one.left_out)
            verdict = _Verdict("AA", _answer_to(message), left_out, done)
            return self._write(connection, kept.message_id, verdict, message, now, by)

    def _record(self, message_id: int, verdict: _Verdict, message: Message | None, *, by: str = "") -> bytes:
        with self._journal.transaction() as connection:
            current = find_message(self._journal, message_id)
            if current is not None and current.state == "taken" and current.answer is not None:
                return current.answer
            return self._write(connection, message_id, verdict, message, self._clock(), by)

    def _write(
        self,
        connection: sqlite3.Connection,
        message_id: int,
        verdict: _Verdict,
        message: Message | None,
        now: datetime,
        by: str,
    ) -> bytes:
        answer = acknowledge(
            verdict.code,
            message,
            verdict.faults,
            kind=verdict.kind,
            character_set=self._settings.character_set,
            now=now,
            orders=_tell_orders(verdict.done),
        )
        order_ids = list(dict.fromkeys(one.order.order_id for one in verdict.done))
        decide_on_message(
            connection,
            message_id,
            code=verdict.code,
            answer=answer,
            faults=verdict.faults,
            order_ids=order_ids,
            now=now,
            by=by,
        )
        if by:
            record_action(connection, now, by, TRIED_AGAIN, f"{SUBJECT}{message_id}", code=verdict.code)
        where = [fault.where for fault in verdict.faults]
        log.info("order_message_decided", message_id=message_id, code=verdict.code, where=where, order_ids=order_ids)
        return answer


def build_intake(settings: GatewaySettings, journal: Journal, clock: Callable[[], datetime]) -> OrderIntake:
    """Return what decides on order messages with a gateway's settings."""
    return OrderIntake(journal, settings.hl7, zone=ZoneInfo(settings.console.time_zone), clock=clock)


def dismiss_message(journal: Journal, message_id: int, by: str, now: datetime) -> None:
    """Say that nothing has to be done about a message any more; it is kept. Raises MessageGone."""
    kept = find_message(journal, message_id)
    if kept is None or not kept.needs_somebody:
        raise MessageGone
    with journal.transaction() as connection:
        record_action(connection, now, by, SETTLED, f"{SUBJECT}{message_id}")


def _readable(data: bytes, settings: Hl7Settings) -> Message | None:
    """Return what can be read of the message at all: its header is wanted for the answer."""
    try:
        return read_message(data, settings.character_set)
    except MessageRejected:
        try:
            return parse_message(data, settings.character_set)
        except MessageUnreadable:
            return None


def _answer_to(message: Message | None) -> str:
    return _ANY_ACK if message is None else KINDS.get((message.get("MSH", 9), message.get("MSH", 9, 2)), _ANY_ACK)


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
