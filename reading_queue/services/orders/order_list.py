"""The orders (申请单) of the viewer's sites, a page at a time: filtered, searched, what changed last first. Reads only.

However many there are, a page costs what it shows: by the number of the change, which indexes have for each filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.order_tables import OrderSearch
from reading_queue.db.tables import ClinicOrder
from reading_queue.errors import Invalid
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.holds import AT_THE_SITE
from reading_queue.services.hub import Hub
from storage.catalogue.name_keys import keys_of_search
from storage.catalogue.order_keys import keys_of_number_search
from storage.contract.lanes import Lane
from storage.contract.orders import Order, OrderState

SEARCH_CHARACTERS_MAX: Final = 64
PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders are wanted; all that is given must hold.

    `text`: the beginning of a part of the patient's name, in characters or pinyin, or of a patient or accession number.
    """

    site_id: str = ""
    state: OrderState | None = None
    lane: Lane | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ListedOrders:
    """One page. `next_before`: where the next one begins, None after the last."""

    orders: tuple[Order, ...]
    next_before: int | None


def list_orders(
    hub: Hub, viewer: Viewer, wanted: OrderFilter, *, before: int | None = None, limit: int = PAGE
) -> ListedOrders:
    """Return the orders of the viewer's sites that are wanted and changed before the change `before`, newest first.

    Raises:
        Invalid: the page is larger than the policy allows, or smaller than one order.
    """
    require(viewer, *AT_THE_SITE)
    if not 0 < limit <= hub.policy.page_size_max:
        raise Invalid(f"a page has 1 to {hub.policy.page_size_max} orders")
    with hub.transaction() as session:
        conditions = _conditions(session, viewer, wanted, hub)
        if before is not None:
            conditions.append(ClinicOrder.change_number < before)
        found = select(ClinicOrder.content, ClinicOrder.change_number).where(*conditions)
        rows = session.execute(found.order_by(ClinicOrder.change_number.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    return ListedOrders(
        orders=tuple(Order.model_validate(content) for content, _ in shown),
        next_before=shown[-1].change_number if len(rows) > limit else None,
    )


def _conditions(session: Session, viewer: Viewer, wanted: OrderFilter, hub: Hub) -> list[ColumnElement[bool]]:
    sites = visible_sites(session, viewer, hub.clock())
    if wanted.site_id:
        sites = sites & {wanted.site_id}
    # One site by equality: its changes are read in order, and no other site's.
    of_sites = ClinicOrder.site_id == next(iter(sites)) if len(sites) == 1 else ClinicOrder.site_id.in_(sorted(sites))
    conditions: list[ColumnElement[bool]] = [of_sites]
    if wanted.state is not None:
        conditions.append(ClinicOrder.state == wanted.state)
    if wanted.lane is not None:
        conditions.append(ClinicOrder.lane == wanted.lane)
    text = " ".join(wanted.text.split())[:SEARCH_CHARACTERS_MAX]
    if text:
        ways = [OrderSearch.keys.contains(keys) for keys in (keys_of_search(text), keys_of_number_search(text)) if keys]
        conditions.append(ClinicOrder.order_id.in_(select(OrderSearch.order_id).where(or_(*ways))))
    return conditions
