"""The clinic's orders as the journal keeps them, for what order messages do to them.

Every method works within its caller's transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.identity import Identity
from gateway.journal.order_messages import find_order_of_placer, name_by_placer
from gateway.journal.orders import (
    AccessionTaken,
    OrderRow,
    add_order,
    change_order,
    find_by_accession,
    find_by_study_uid,
    find_order,
    is_reported,
    next_accession_number,
)
from storage.contract.identifiers import Uid
from storage.contract.orders import Order
from storage.hl7.faults import ErrorCode, Fault, OrderFaulty
from storage.hl7.order_decisions import ACTOR
from storage.hl7.order_message import OrderRequest


@dataclass(frozen=True, slots=True)
class JournalBook:
    """Where orders are entered, and when: an `OrderBook`."""

    journal: Journal
    connection: sqlite3.Connection
    identity: Identity
    now: datetime

    @property
    def site_id(self) -> str:
        """Whose orders these are."""
        return self.identity.site_id

    def find_by_placer(self, namespace: str, placer_number: str) -> Order | None:
        """Return the order that a placer calls so."""
        order_id = find_order_of_placer(self.journal, namespace, placer_number)
        return _order_of(find_order(self.journal, order_id)) if order_id else None

    def find_by_accession(self, accession_number: str) -> Order | None:
        """Return the order with this accession number."""
        return _order_of(find_by_accession(self.journal, accession_number))

    def find_by_study_uid(self, study_uid: Uid) -> Order | None:
        """Return the order for which this Study Instance UID was given out."""
        return _order_of(find_by_study_uid(self.journal, study_uid))

    def has_study(self, order: Order) -> bool:
        """Return whether images of the order have come: under its accession number or its Study Instance UID."""
        query = "SELECT 1 FROM studies WHERE accession_number = ? OR study_uid = ? LIMIT 1"
        return bool(self.journal.read(query, (order.accession_number, order.study_uid)))

    def next_accession_number(self) -> str:
        """Return an accession number that nobody at this site has or will get."""
        return next_accession_number(self.connection, self.site_id, self.identity.gateway_id)

    def add(self, order: Order, request: OrderRequest) -> None:
        """Add the first version of an order. Raises OrderFaulty: its accession number is another's."""
        try:
            add_order(self.connection, order)
        except AccessionTaken:
            words = "another order has this accession number already"
            raise OrderFaulty(Fault("OBR-18", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words)) from None
        if request.placer_number:
            name_by_placer(self.connection, request.placer_namespace, request.placer_number, order.order_id)
        self._record("order_entered", order)

    def replace(self, order: Order, _request: OrderRequest, verb: str) -> None:
        """Put the next version of an order in the place of the one before. Raises OrderFaulty: its report is signed."""
        if verb == "order_changed" and is_reported(self.journal, order):
            words = "the report of this order is signed: what it was read by cannot be changed any more"
            raise OrderFaulty(Fault("ORC-1", ErrorCode.RECORD_LOCKED, words))
        change_order(self.connection, order)
        self._record(verb, order)

    def _record(self, verb: str, order: Order) -> None:
        record_action(self.connection, self.now, ACTOR, verb, order.order_id, version=order.version)


def _order_of(row: OrderRow | None) -> Order | None:
    return row.order if row is not None else None
