"""Refused order messages that a person makes orders of, and their repetitions, which are known again.

The message stays as it came, with the orders made of it. When each of its orders has been made, it counts as taken: who
sent it is answered so when it comes again, under its own control id or another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.his_orders.settings import Hl7Settings
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.message_corrections import Correction, add_correction, corrections_of_message, find_correction
from gateway.journal.order_messages import (
    SUBJECT,
    KeptMessage,
    decide_on_message,
    find_message,
    find_order_of_placer,
    name_by_placer,
)
from gateway.journal.orders import find_by_accession, find_by_study_uid, find_order
from gateway.orders import enter_order
from gateway.settings import GatewaySettings
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.contract.orders import Order, OrderOrigin
from storage.hl7.acknowledging import read_message, require_kind
from storage.hl7.corrections import OpenOrder, all_made, find_known, made_of_repeated, orders_of
from storage.hl7.faults import Fault, MessageRejected
from storage.hl7.message import Message
from storage.hl7.order_answers import Verdict, answer_orders, kind_of_answer
from storage.hl7.order_decisions import Done
from storage.hl7.order_message import KINDS, OrderRequest, read_orders

CORRECTED: Final = "order_message_corrected"


class NothingToCorrect(Exception):
    """The message is not here any more, was not refused, or no order can be made of it, or it has been made."""


class Corrections:
    """Reads what refused messages ask, as the settings say, and makes orders of them."""

    def __init__(self, journal: Journal, settings: Hl7Settings, zone: ZoneInfo) -> None:
        self._journal = journal
        self._settings = settings
        self._zone = zone

    def list_open(self, kept: KeptMessage) -> list[OpenOrder]:
        """Return the orders of a refused message of which a person may make one; none where it cannot be read."""
        return [one for one in self.list_orders(kept) if one.is_open]

    def list_orders(self, kept: KeptMessage) -> list[OpenOrder]:
        """Return the orders of a refused message, also those that are here already; none where it cannot be read."""
        return self._read(kept) if kept.state == "refused" else []

    def get_open(self, message_id: int, number: int | None) -> tuple[KeptMessage, OpenOrder]:
        """Return a refused message and one of its orders, the first that is open where none is named.

        Raises:
            NothingToCorrect: there is none.
        """
        kept = find_message(self._journal, message_id)
        found = self.list_open(kept) if kept is not None else []
        chosen = next((one for one in found if number in {None, one.request.number}), None)
        if kept is None or chosen is None:
            raise NothingToCorrect
        return kept, chosen

    def enter(
        self, message_id: int, number: int, fields: Mapping[str, Any], *, by: str, now: datetime, order_id: str
    ) -> Order:
        """Make an order of what a person has corrected, known by the placer's number, and return it.

        What the form does not ask (the Study Instance UID, the code of an examination whose name was left) comes from
        the message. The same sheet again is the same order.

        Raises:
            NothingToCorrect: somebody was faster. And as `gateway.orders.enter_order`.
        """
        before = find_correction(self._journal, order_id)
        if before is not None and (before.message_id, before.number) == (message_id, number):
            row = find_order(self._journal, order_id)
            if row is not None:
                return row.order
        kept, chosen = self.get_open(message_id, number)
        request = chosen.request

        def link(connection: sqlite3.Connection, order: Order) -> None:
            self._link(connection, kept, request, order, by, now)

        return enter_order(
            self._journal,
            dict(fields) | self._unasked(request, fields),
            entered_by=by,
            origin=OrderOrigin.CONSOLE,
            now=now,
            order_id=order_id,
            also=link,
        )

    def recognise(self, message: Message) -> tuple[Done, ...]:
        """Return what became of a faulty message that says what one said of which a person made every order."""
        requests, _ = self._requests(message)
        known = next((found for request in requests if (found := self._find_known(request))), None)
        correction = find_correction(self._journal, known.order_id) if known is not None else None
        kept = find_message(self._journal, correction.message_id) if correction is not None else None
        if kept is None:
            return ()
        return made_of_repeated(self._parse(kept.content), message, self._done(kept.message_id, requests))

    def _link(
        self,
        connection: sqlite3.Connection,
        kept: KeptMessage,
        request: OrderRequest,
        order: Order,
        by: str,
        now: datetime,
    ) -> None:
        if request.placer_number:
            if find_order_of_placer(self._journal, request.placer_namespace, request.placer_number) is not None:
                raise NothingToCorrect
            name_by_placer(connection, request.placer_namespace, request.placer_number, order.order_id)
        try:
            add_correction(
                connection, Correction(kept.message_id, request.number, order.order_id, kept.faults, now, by)
            )
        except sqlite3.IntegrityError as exc:
            raise NothingToCorrect from exc
        subject = f"{SUBJECT}{kept.message_id}"
        record_action(connection, now, by, CORRECTED, subject, order_id=order.order_id, number=request.number)
        self._take_when_done(connection, kept, by, now)

    def _take_when_done(self, connection: sqlite3.Connection, kept: KeptMessage, by: str, now: datetime) -> None:
        """Let the message be taken when every order of it has been made."""
        message = self._parse(kept.content)
        done = self._done(kept.message_id, self._requests(message)[0]) if message is not None else ()
        if message is None or not done:
            return
        verdict = Verdict("AA", kind_of_answer(message), (), done)
        decide_on_message(
            connection,
            kept.message_id,
            code=verdict.code,
            answer=answer_orders(verdict, message, self._settings.character_set, now),
            faults=(),
            order_ids=list(dict.fromkeys(one.order.order_id for one in done)),
            now=now,
            by=by,
        )

    def _done(self, message_id: int, requests: Sequence[OrderRequest]) -> tuple[Done, ...]:
        """Return the orders that were made of a message, nothing where one is still open."""
        made = {}
        for one in corrections_of_message(self._journal, message_id):
            row = find_order(self._journal, one.order_id)
            made[one.number] = row.order if row is not None else None
        return all_made(requests, made)

    def _unasked(self, request: OrderRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if request.fields.get("procedure_name") == str(fields.get("procedure_name", "")).strip():
            found["procedure_code"] = request.fields.get("procedure_code", "")
        try:
            uid: Uid | None = parse_uid(request.fields.get("study_uid", ""))
        except InvalidIdentifier:
            uid = None
        if uid is not None and find_by_study_uid(self._journal, uid) is None:
            found["study_uid"] = uid
        return found

    def _read(self, kept: KeptMessage) -> list[OpenOrder]:
        message = self._parse(kept.content)
        if message is None:
            return []
        requests, found = self._requests(message)
        return orders_of(requests, (*kept.faults, *found), self._find_known)

    def _find_known(self, request: OrderRequest) -> Order | None:
        return find_known(request, self._by_placer, self._by_accession)

    def _by_placer(self, namespace: str, placer_number: str) -> Order | None:
        order_id = find_order_of_placer(self._journal, namespace, placer_number)
        row = find_order(self._journal, order_id) if order_id is not None else None
        return row.order if row is not None else None

    def _by_accession(self, accession_number: str) -> Order | None:
        row = find_by_accession(self._journal, accession_number)
        return row.order if row is not None else None

    def _requests(self, message: Message) -> tuple[tuple[OrderRequest, ...], tuple[Fault, ...]]:
        return read_orders(message, zone=self._zone, codes=self._settings.codes)

    def _parse(self, content: bytes) -> Message | None:
        """Return a message of orders, None for what is none."""
        try:
            message = read_message(content, self._settings.character_set)
            require_kind(message, KINDS)
        except MessageRejected:
            return None
        return message


def build_corrections(settings: GatewaySettings, journal: Journal) -> Corrections:
    """Return what makes orders of refused messages with a gateway's settings."""
    return Corrections(journal, settings.hl7, ZoneInfo(settings.console.time_zone))
