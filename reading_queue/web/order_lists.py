"""What both desks show of orders and studies that wait for their other half, and what a person decides about a pair."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.orders import order_entry, order_matching
from reading_queue.services.orders.order_list import PAGE, SEARCH_CHARACTERS_MAX, OrderFilter, list_orders
from reading_queue.services.orders.unmatched import Places, list_unmatched
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, page_place, whole_number, word_of
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.contract.lanes import Lane
from storage.contract.orders import OrderState
from storage.screens.requests import is_refresh

PLACES: Final = ("proposals_after", "orders_after", "studies_after")  # as in `Places`
DONE: Final = frozenset(
    {"order_entered", "order_for_study", "order_changed", "order_noted", "order_cancelled"}
    | {"match_confirmed", "match_rejected"}
)


async def show_lists(request: web.Request, viewer: Viewer, desk: str, refused: HubError | None = None) -> web.Response:
    """Answer a desk's page of orders, or the part of it that refreshes itself; `desk` is its first part of the path."""
    hub, done = request.config_dict[HUB], request.query.get("done", "")
    at = {name: request.query[name] for name in PLACES if request.query.get(name)}
    return page(
        request,
        "_order_lists.html" if is_refresh(request) else f"{desk}/orders.html",
        status=refused.status if refused is not None else 200,
        desk=desk,
        found=await in_thread(request, list_unmatched, hub, viewer, places_of(request.query)),
        here=f"/{desk}/orders" + (f"?{urlencode(at)}" if at else ""),
        recent=await in_thread(request, order_entry.recent_orders, hub, viewer),
        now=hub.clock(),
        done=done if done in DONE else "",
        refused=words_of(refused) if refused is not None else "",
    )


def places_of(query: Form) -> Places:
    """Return behind which row each list of what waits begins. Raises Invalid."""
    return Places(*(page_place(field(query, name)) for name in PLACES))


async def show_all(request: web.Request, viewer: Viewer) -> web.Response:
    """Answer a page of all orders: by the address, or, with words, by a form, as a name belongs in no address."""
    given = await request.post() if request.method == "POST" else request.query
    hub, wanted = request.config_dict[HUB], filter_of(given, with_text=request.method == "POST")
    before, limit = place_of(given)
    find = partial(list_orders, before=before, limit=limit)
    return page(
        request,
        "clinic/all_orders.html",
        listed=await in_thread(request, find, hub, viewer, wanted),
        sites=await in_thread(request, order_entry.order_sites, hub, viewer),
        wanted=wanted,
        here={name: value for name, value in (("site_id", wanted.site_id), *_choices(wanted)) if value},
        states=tuple(OrderState),
        lanes=tuple(Lane),
        text_max=SEARCH_CHARACTERS_MAX,
    )


def filter_of(given: Form, *, with_text: bool = False) -> OrderFilter:
    """Return which orders a query or a form asks for. Raises Invalid."""
    state, lane = field(given, "state"), field(given, "lane")
    return OrderFilter(
        site_id=field(given, "site_id"),
        state=word_of(OrderState, state) if state else None,
        lane=word_of(Lane, lane) if lane else None,
        text=field(given, "text") if with_text else "",
    )


def place_of(given: Form) -> tuple[int | None, int]:
    """Return before which change a page begins, and how many orders it has. Raises Invalid."""
    before, limit = field(given, "before"), field(given, "limit")
    return whole_number(before) if before else None, whole_number(limit) if limit else PAGE


def _choices(wanted: OrderFilter) -> tuple[tuple[str, str | None], ...]:
    return ("state", wanted.state), ("lane", wanted.lane)


async def decide(request: web.Request, viewer: Viewer) -> str:
    """Do what a form says about an order and a study; return what was done. Raises HubError."""
    form, order_id = await request.post(), request.match_info["order_id"]
    hub, study_uid = request.config_dict[HUB], field(form, "study_uid")
    match field(form, "act"):
        case "confirm":
            version = whole_number(field(form, "version"))
            further = field(form, "further") == "yes"
            confirm = partial(order_matching.confirm_match, further=further)
            await in_thread(request, confirm, hub, viewer, order_id, study_uid, version)
            return "match_confirmed"
        case "reject":
            await in_thread(
                request, order_matching.reject_match, hub, viewer, order_id, study_uid, field(form, "words")
            )
            return "match_rejected"
        case _:
            raise Invalid("confirm or reject is needed")
