"""What people at the clinic do with orders: enter, change, cancel. Works with the line down; the hub hears of it later.

Durable when a function returns. Accession numbers and Study Instance UIDs are given here, so that the scanner's
worklist has the order at once. Each function writes who did it into the journal's actions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.identity import find_identity
from gateway.journal.orders import (
    CHANGEABLE_STATES,
    OPEN_STATES,
    AccessionTaken,
    StaleOrder,
    add_order,
    change_order,
    find_by_accession,
    find_order,
    is_reported,
    next_accession_number,
)
from storage.contract.accession_numbers import is_form_of_site
from storage.contract.identifiers import new_id, new_uid
from storage.contract.orders import Order, OrderOrigin, OrderState


class NotEnrolled(Exception):
    """This gateway does not know its site yet, and no order is anybody's: enrol it first."""


class AccessionReserved(Exception):
    """The given accession number has the form of this site's own: it may be given to another order by itself."""


class OrderNotOpen(Exception):
    """The examination was broken off or the order cancelled: it cannot be changed any more."""


class OrderReported(OrderNotOpen):
    """The report of the order is signed: what it was read by stands."""


def enter_order(
    journal: Journal,
    fields: Mapping[str, Any],
    *,
    entered_by: str,
    origin: OrderOrigin,
    now: datetime,
    order_id: str | None = None,
    also: Callable[[sqlite3.Connection, Order], None] = lambda _connection, _order: None,
) -> Order:
    """Make an order of what was typed and return it, with its accession number.

    `fields`: those of `Order` that a person fills in, and a Study Instance UID where one was given out elsewhere.
    `order_id`: the sheet that was filled in; the same content on the same sheet again (a second click, a page loaded
    anew) is the same order, other content is another one. `also` is done in the transaction that makes the order.

    Raises:
        NotEnrolled: there is no site yet.
        ValidationError: a rule is broken; `storage.contract.orders.explain_faults` says which, in words.
        AccessionTaken: the given accession number is another order's.
        AccessionReserved: the given accession number is one that this site's gateways or the hub may give.
    """
    identity = find_identity(journal)
    if identity is None:
        raise NotEnrolled("this gateway is not enrolled")
    own: dict[str, Any] = {
        "order_id": order_id or new_id(),
        "version": 1,
        "site_id": identity.site_id,
        "study_uid": fields.get("study_uid") or new_uid(),
        "origin": origin,
        "entered_by": entered_by,
        "entered_at": now,
        "changed_at": now,
    }
    given = {"scheduled_at": now} | {name: value for name, value in fields.items() if value is not None}
    typed = Order.model_validate({"accession_number": "0"} | given | own)  # no number is spent on what is refused
    with journal.transaction() as connection:
        before = find_order(journal, typed.order_id)
        if before is not None:
            if _is_same_entry(before.order, typed, fields):
                return before.order
            own["order_id"] = new_id()
        if given.get("accession_number"):
            require_free(journal, identity.site_id, typed.accession_number)
        else:
            given["accession_number"] = next_accession_number(connection, identity.site_id, identity.gateway_id)
        order = Order.model_validate(given | own)
        add_order(connection, order)
        record_action(connection, now, entered_by, "order_entered", order.order_id, version=order.version)
        also(connection, order)
    return order


def require_free(journal: Journal, site_id: str, accession_number: str, *, order_id: str = "") -> None:
    """Let pass an accession number from elsewhere, such as the clinic's HIS, that no other order has or will get.

    `order_id`: the order that may have it already. Raises AccessionTaken and AccessionReserved as `enter_order` does.
    """
    holder = find_by_accession(journal, accession_number)
    if holder is not None:
        if holder.order.order_id != order_id:
            raise AccessionTaken("another order has this accession number")
    elif is_form_of_site(site_id, accession_number):
        raise AccessionReserved("the accession number is one that this site gives")


def amend_order(
    journal: Journal, order_id: str, version: int, fields: Mapping[str, Any], *, changed_by: str, now: datetime
) -> Order:
    """Change what was typed and return the next version.

    Raises:
        StaleOrder: `version` is not the newest one, or there is no such order.
        OrderNotOpen: the examination was broken off or the order was cancelled.
        OrderReported: the report of its study is signed.
        ValidationError: a rule is broken.
    """
    before = _get_open(journal, order_id, version, CHANGEABLE_STATES)
    if is_reported(journal, before):
        raise OrderReported("the report of this order is signed")
    return _replace(journal, before, dict(fields), changed_by, "order_changed", now)


def cancel_order(
    journal: Journal, order_id: str, version: int, reason: str, *, cancelled_by: str, now: datetime
) -> Order:
    """Cancel an order whose examination has not been done; it leaves the worklist. Raises as `amend_order`."""
    before = _get_open(journal, order_id, version, OPEN_STATES)
    changes = {"state": OrderState.CANCELLED, "state_reason": reason}
    return _replace(journal, before, changes, cancelled_by, "order_cancelled", now)


def _is_same_entry(before: Order, typed: Order, fields: Mapping[str, Any]) -> bool:
    """Return whether an order is what was typed now, by the same person, and nobody has touched it since."""
    is_untouched = before.version == typed.version and before.entered_by == typed.entered_by
    return is_untouched and all(getattr(before, name) == getattr(typed, name) for name in fields)


def _get_open(journal: Journal, order_id: str, version: int, states: Collection[OrderState]) -> Order:
    row = find_order(journal, order_id)
    if row is None or row.order.version != version:
        raise StaleOrder("the order was changed meanwhile")
    if row.order.state not in states:
        raise OrderNotOpen("the examination is over, or the order was cancelled")
    return row.order


def _replace(journal: Journal, before: Order, changes: dict[str, Any], actor: str, verb: str, now: datetime) -> Order:
    values = before.model_dump() | changes | {"version": before.version + 1, "changed_at": now}
    order = Order.model_validate(values)
    with journal.transaction() as connection:
        change_order(connection, order)
        record_action(connection, now, actor, verb, order.order_id, version=order.version)
    return order
