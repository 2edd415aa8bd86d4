"""The orders that an import may be for, and what became of each: for the page of imports. Reads the journal only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.console.errors import Invalid
from gateway.console.keys import Desk
from gateway.importing.joining import WORDS, ImportedStudy, Joined, studies_of
from gateway.journal.database import Journal
from gateway.journal.imports import ImportRow
from gateway.journal.orders import find_order, list_orders
from storage.contract.orders import Order, OrderState


@dataclass(frozen=True, slots=True)
class JoinView:
    """An import's order. `words`: why its images are not the order's; `study`: whose they are, where that is asked."""

    order: Order
    words: str
    study: ImportedStudy | None


def offered_orders(desk: Desk, zone: ZoneInfo) -> list[Order]:
    """Return today's orders whose examination has not begun."""
    begins = datetime.combine(desk.clock().astimezone(zone).date(), time(), zone)
    until = begins + timedelta(days=1)
    return [row.order for row in list_orders(desk.journal, since=begins, until=until, states=[OrderState.SCHEDULED])]


def require_offered(journal: Journal, order_id: str) -> str | None:
    """Return the chosen order's id, None for none. Raises Invalid for an order that is none or has begun."""
    if not order_id:
        return None
    row = find_order(journal, order_id)
    if row is None or row.order.state is not OrderState.SCHEDULED:
        raise Invalid
    return order_id


def views_of(journal: Journal, rows: Iterable[ImportRow]) -> dict[str, JoinView]:
    """Return what is shown of the orders of imports, by import id."""
    found = {}
    for row in rows:
        order = find_order(journal, row.order_id) if row.order_id is not None else None
        if order is not None:
            joined = Joined(row.joined) if row.joined is not None else Joined.JOINED
            studies = studies_of(journal, row.association_id or "") if joined is Joined.PATIENT_DIFFERS else []
            found[row.import_id] = JoinView(order.order, WORDS.get(joined, ""), studies[0] if studies else None)
    return found
