"""Orders that a person changes by what a refused message says of them; the message stays as it came.

Durable: the order's next version, that nothing has to be done about the message any more where it was about this order
alone, and the audit trail, in one transaction.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from reading_queue.db.message_tables import OrderMessage
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.desk import OVERSIGHT, MessageUnopenable, get_message, record_act
from reading_queue.services.order_messages.open_orders import list_orders
from reading_queue.services.order_messages.sealing import MessageSealed
from reading_queue.services.orders.order_changing import OrderChange, put_change
from reading_queue.services.worklists.desk_events import tell
from storage.contract.orders import Order
from storage.hl7.corrections import OpenOrder, known_ids


def list_known(hub: Hub, viewer: Viewer, message_id: int) -> list[OpenOrder]:
    """Return the orders of a refused message that are here already. Raises NotFound, MessageUnopenable."""
    require(viewer, *OVERSIGHT)
    with hub.transaction() as session:
        _, found = _read(session, hub, viewer, message_id)
        return [one for one in found if one.known is not None]


def open_change(hub: Hub, viewer: Viewer, message_id: int, order_id: str, *, audited: bool = True) -> OpenOrder | None:
    """Return what a refused message says otherwise of an order.

    None where it says nothing of it, or nothing has to be done about it any more. Raises NotFound, MessageUnopenable.
    """
    require(viewer, *OVERSIGHT)
    with hub.transaction() as session:
        row, found = _read(session, hub, viewer, message_id)
        chosen = next((one for one in found if one.is_change and order_id in known_ids([one])), None)
        if chosen is not None and audited:
            record_act(session, hub.clock(), viewer, row, "R", "opened")
        return chosen


def change_by_message(
    hub: Hub, viewer: Viewer, message_id: int, order_id: str, version: int, change: OrderChange
) -> Order:
    """Change an order as a person has corrected what a message says of it; a message of one order is settled by it.

    Raises:
        NotFound: there is no such message of a site of the viewer. MessageUnopenable: nobody can read it here.
        And as of `change_order`.
    """
    require(viewer, *OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row, found = _read(session, hub, viewer, message_id, locked=True)
        order = put_change(session, hub, viewer, order_id, version, change, message_id=message_id)
        if len(found) == 1 and found[0].is_change and known_ids(found) == [order_id]:
            row.settled_at, row.settled_by, row.order_ids = now, viewer.account_id, [order_id]
            tell(session, "order", row.site_id)
            record_act(session, now, viewer, row, "U", "changed", order_id=order_id)
    return order


def _read(
    session: Session, hub: Hub, viewer: Viewer, message_id: int, *, locked: bool = False
) -> tuple[OrderMessage, list[OpenOrder]]:
    row = get_message(session, viewer, message_id, hub.clock(), locked=locked)
    try:
        return row, list_orders(session, hub, row)[1]
    except MessageSealed as exc:
        raise MessageUnopenable from exc
