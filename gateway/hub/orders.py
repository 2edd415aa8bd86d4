"""Tells the hub the clinic's orders, and fetches what changed elsewhere.

Durable: which versions the hub has, which it refuses and why, and how far its own were fetched, in the journal. Days
offline cost nothing: orders are made and used here all the same.
"""

from __future__ import annotations

from typing import Final

import structlog

from gateway.hub.errors import HubError
from gateway.hub.exchange import HubExchange
from gateway.journal import orders
from storage.contract.orders import Order
from storage.contract.wire import ORDERS_PER_BATCH_MAX, OrderBatch, OrdersAnswer

log = structlog.get_logger(__name__)

FETCH_EVERY_S: Final = 15.0


class OrderSync(HubExchange):
    """Orders made here are told first, so that those made elsewhere meet them."""

    name = "orders"

    def _exchange(self) -> float:
        self._report()
        self._fetch()
        return FETCH_EVERY_S

    def _report(self) -> None:
        while due := orders.unreported_orders(self._journal, ORDERS_PER_BATCH_MAX):
            answer = self._client.report_orders(OrderBatch(orders=tuple(due)))
            if not self._note(due, answer):
                raise HubError("the hub said nothing of the orders that it was given")

    def _note(self, reported: list[Order], answer: OrdersAnswer) -> bool:
        """Write down what became of each order; return whether the answer speaks of any of them."""
        held = set(answer.accepted)
        told = [order for order in reported if order.order_id in held]
        with self._journal.transaction() as connection:
            for order in told:
                orders.mark_order_reported(connection, order)
            for refusal in answer.refused:
                orders.note_order_refused(connection, refusal.order_id, refusal.version, refusal.reason)
        for refusal in answer.refused:
            log.warning("order_refused", order_id=refusal.order_id, code=refusal.code)
        return bool(told or answer.refused)

    def _fetch(self) -> None:
        """Fetch to the end; from the first order that could not be kept yet all is fetched again the next time."""
        after, is_all_here = orders.fetched_through(self._journal), True
        while True:
            page = self._client.fetch_orders(after)
            is_taken = orders.take_over_orders(self._journal, page.orders, page.through if is_all_here else 0)
            if not is_taken:
                log.warning("orders_wait_for_their_number", after=after)
            is_all_here = is_all_here and is_taken
            if not page.orders or page.through <= after:
                return
            after = page.through
