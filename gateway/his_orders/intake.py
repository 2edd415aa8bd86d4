"""Takes order messages: keeps each, decides on it, and says what became of it.

Durable: every message, committed before its acknowledgement is made; an order, in the transaction that records what
became of its message. Volatile: nothing. A gateway that is killed in between decides after its start on what it has
kept, and the sender, who has heard nothing, gets the same answer when it repeats the message.

AA: done, for good. AE: kept, and shown to the clinic's people, who can have it tried again, or make the order of it
themselves (`correcting`). AR: of a kind that is not taken here; kept too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from gateway.his_orders.correcting import Corrections
from gateway.his_orders.order_book import JournalBook
from gateway.his_orders.settings import Hl7Settings
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.identity import find_identity
from gateway.journal.order_messages import (
    SUBJECT,
    Envelope,
    KeptMessage,
    decide_on_message,
    find_first_of_control_id,
    find_message,
    keep_message,
    list_refused_after,
    undecided_messages,
)
from gateway.journal.quarantine import SETTLED
from gateway.settings import GatewaySettings
from storage.hl7.acknowledging import read_message, require_kind
from storage.hl7.corrections import is_of_header, known_ids, say_the_same
from storage.hl7.faults import ErrorCode, Fault, MessageRejected, OrderFaulty
from storage.hl7.message import Message
from storage.hl7.order_answers import (
    ANY_ACK,
    Verdict,
    answer_orders,
    kind_of_answer,
    read_letterhead,
    try_reading,
)
from storage.hl7.order_decisions import apply_request
from storage.hl7.order_message import KINDS, parse_orders

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 60.0
TRIED_AGAIN: Final = "order_message_retried"


class MessageGone(Exception):
    """There is no such message here any more, or it needs nobody."""


class OrderIntake:
    """The handler of the listener, and one step of a `Loop` for what a crash left undecided."""

    def __init__(
        self, journal: Journal, settings: Hl7Settings, *, zone: ZoneInfo, clock: Callable[[], datetime]
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._zone = zone
        self._clock = clock
        self._corrections = Corrections(journal, settings, zone)

    def handle(self, data: bytes, address: str) -> bytes:
        """Keep the message, do what it asks, and return the acknowledgement."""
        message_id = self._keep(data, address)
        return self.decide(message_id)

    def refuse_long(self, head: bytes, address: str) -> bytes:
        """Keep how a message begins that is too long, and return its refusal."""
        message_id = self._keep(head, address)
        words = f"the message is longer than {self._settings.message_bytes_max} bytes and was not read to its end"
        fault = Fault("MSH-1", ErrorCode.INTERNAL_ERROR, words)
        return self._record(
            message_id, Verdict("AR", ANY_ACK, (fault,)), try_reading(head, self._settings.character_set)
        )

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
        now = find_message(self._journal, message_id) or kept
        self.retry_later(message_id, now.order_ids, by)
        return now

    def retry_later(self, message_id: int, order_ids: Collection[str], by: str) -> None:
        """Try again what came after a message and was refused because these orders of it were not here yet.

        So what a HIS has cancelled meanwhile is cancelled as soon as somebody has made an order of it.
        """
        after: int | None = message_id
        while order_ids and after is not None:
            waiting = list_refused_after(self._journal, after)
            for kept in waiting:
                is_early = any(fault.code is ErrorCode.UNKNOWN_KEY_IDENTIFIER for fault in kept.faults)
                if is_early and not set(order_ids).isdisjoint(known_ids(self._corrections.list_orders(kept))):
                    self.decide(kept.message_id, by=by)
            after = waiting[-1].message_id if waiting else None

    def decide(self, message_id: int, *, by: str = "") -> bytes:
        """Return the answer to a kept message; what was decided stays, unless somebody (`by`) has it tried again."""
        kept = find_message(self._journal, message_id)
        if kept is None:
            raise MessageGone
        if kept.answer is not None and kept.state != "received" and not by:
            return kept.answer
        message = try_reading(kept.content, self._settings.character_set)
        try:
            read = read_message(kept.content, self._settings.character_set)
            require_kind(read, KINDS)
            return self._apply(kept, read, by)
        except MessageRejected as exc:
            verdict = Verdict("AR", ANY_ACK, (exc.fault,))
        except OrderFaulty as exc:
            done = () if is_of_header(exc.faults) else self._corrections.recognise(read)
            kind = kind_of_answer(message)
            verdict = Verdict("AA", kind, (), done) if done else Verdict("AE", kind, exc.faults)
        return self._record(message_id, verdict, message, by=by)

    def _keep(self, data: bytes, address: str) -> int:
        head = read_letterhead(data, self._settings.character_set)
        with self._journal.transaction() as connection:
            return keep_message(connection, Envelope(address, head, data), self._clock())

    def _apply(self, kept: KeptMessage, message: Message, by: str) -> bytes:
        """Do all that the message asks and record it, in one transaction. Raises OrderFaulty: then nothing is done."""
        first = find_first_of_control_id(self._journal, kept)
        if first.message_id != kept.message_id:
            repeated = self._repeat(first, kept, message, by)
            if repeated is not None:
                return repeated
            words = "another message came under this control id before: what is not a repetition needs one of its own"
            raise OrderFaulty(Fault("MSH-10", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words))
        identity = find_identity(self._journal)
        if identity is None:
            words = "this gateway is not enrolled at a hub yet and takes no orders"
            raise OrderFaulty(Fault("MSH-6", ErrorCode.INTERNAL_ERROR, words))
        requests = parse_orders(message, zone=self._zone, codes=self._settings.codes)
        now = self._clock()
        with self._journal.transaction() as connection:
            current = find_message(self._journal, kept.message_id)
            if current is not None and current.state != kept.state and current.answer is not None:
                return current.answer  # another connection brought the same message
            book = JournalBook(self._journal, connection, identity, now)
            done = tuple(apply_request(book, request) for request in requests)
            left_out = tuple(fault for one in done for fault in one.left_out)
            verdict = Verdict("AA", kind_of_answer(message), left_out, done)
            return self._write(connection, kept.message_id, verdict, message, now, by)

    def _repeat(self, first: KeptMessage, kept: KeptMessage, message: Message, by: str) -> bytes | None:
        """Answer a repetition that was written anew as the message was that it repeats, None where it is none."""
        said = try_reading(first.content, self._settings.character_set)
        if first.state != "taken" or first.answer is None or said is None or not say_the_same(said, message):
            return None
        with self._journal.transaction() as connection:
            decide_on_message(
                connection,
                kept.message_id,
                code=first.code,
                answer=first.answer,
                faults=(),
                order_ids=first.order_ids,
                now=self._clock(),
                by=by,
            )
        return first.answer

    def _record(self, message_id: int, verdict: Verdict, message: Message | None, *, by: str = "") -> bytes:
        with self._journal.transaction() as connection:
            current = find_message(self._journal, message_id)
            if current is not None and current.state == "taken" and current.answer is not None:
                return current.answer
            return self._write(connection, message_id, verdict, message, self._clock(), by)

    def _write(
        self,
        connection: sqlite3.Connection,
        message_id: int,
        verdict: Verdict,
        message: Message | None,
        now: datetime,
        by: str,
    ) -> bytes:
        answer = answer_orders(verdict, message, self._settings.character_set, now)
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
