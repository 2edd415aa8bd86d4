"""Orders (申请单) as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages.changing import change_by_message
from reading_queue.services.orders import order_changing, order_entry, order_matching
from reading_queue.services.orders.further_orders import find_ordered_studies
from reading_queue.services.orders.order_list import OrderFilter, list_orders
from reading_queue.services.orders.unmatched import list_unmatched
from reading_queue.web import order_lists
from reading_queue.web.api import order_models
from reading_queue.web.api.handlers import answer, body_of, nothing
from reading_queue.web.keys import HUB, in_thread


async def orders(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List orders, what changed last first, and the sites for which the caller may order."""
    return await _list(request, viewer, order_lists.filter_of(request.query), *order_lists.place_of(request.query))


async def search_orders(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the orders that hold the words: a name belongs in no address."""
    given = await body_of(request, order_models.OrderSearchWords)
    return await _list(request, viewer, given.wanted(), given.before, given.limit)


async def _list(
    request: web.Request, viewer: Viewer, wanted: OrderFilter, before: int | None, limit: int
) -> web.Response:
    hub, find = request.config_dict[HUB], partial(list_orders, before=before, limit=limit)
    found = await in_thread(request, find, hub, viewer, wanted)
    return answer(order_models.OrdersAnswer.of(found, await in_thread(request, order_entry.order_sites, hub, viewer)))


async def enter_order(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make an order; the site's gateways fetch it for their worklists."""
    hub, given = request.config_dict[HUB], await body_of(request, order_models.NewOrder)
    made = await in_thread(request, order_entry.enter_order, hub, viewer, given.wanted())
    return await answer_order(request, viewer, made.order_id, status=201)


async def order(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show an order."""
    return await answer_order(request, viewer, request.match_info["order_id"], audited=True)


async def change_order(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Change what an order says; whoever reads its study is told."""
    given, order_id = await body_of(request, order_models.ChangedOrder), request.match_info["order_id"]
    hub, what = request.config_dict[HUB], (order_id, given.version, given.wanted())
    if given.message_id is None:
        await in_thread(request, order_changing.change_order, hub, viewer, *what)
    else:
        await in_thread(request, change_by_message, hub, viewer, given.message_id, *what)
    return await answer_order(request, viewer, order_id)


async def note_order(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add a note to an order whose report is signed."""
    given, order_id = await body_of(request, order_models.OrderNoteWords), request.match_info["order_id"]
    await in_thread(request, order_changing.note_order, request.config_dict[HUB], viewer, order_id, given.words)
    return await answer_order(request, viewer, order_id, status=201)


async def cancel_order(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Cancel an order whose examination has not been done."""
    given, order_id = await body_of(request, order_models.OrderCancellation), request.match_info["order_id"]
    what = order_id, given.version, given.reason
    await in_thread(request, order_entry.cancel_order, request.config_dict[HUB], viewer, *what)
    return await answer_order(request, viewer, order_id)


async def unmatched(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List orders without a study, studies without an order, and which of them may belong together."""
    places = order_lists.places_of(request.query)
    found = await in_thread(request, list_unmatched, request.config_dict[HUB], viewer, places)
    return answer(order_models.UnmatchedAnswer(unmatched=order_models.UnmatchedPage.of(found)))


async def further_studies(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the studies that have an order already and whose read may answer this one too."""
    hub, order_id = request.config_dict[HUB], request.match_info["order_id"]
    found = await in_thread(request, find_ordered_studies, hub, viewer, order_id)
    return answer(order_models.FurtherStudies(studies=found))


async def decide_match(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that an order is, or is not, of a study."""
    given, order_id = await body_of(request, order_models.MatchDecision), request.match_info["order_id"]
    hub, what = request.config_dict[HUB], (order_id, given.study_uid)
    if given.decision == "confirm":
        confirm = partial(order_matching.confirm_match, further=given.further)
        await in_thread(request, confirm, hub, viewer, *what, given.version)
    else:
        await in_thread(request, order_matching.reject_match, hub, viewer, *what, given.reason)
    return nothing()


async def answer_order(
    request: web.Request, viewer: Viewer, order_id: str, *, status: int = 200, audited: bool = False
) -> web.Response:
    """Answer an order as it is now."""
    hub = request.config_dict[HUB]
    sheet = await in_thread(request, order_entry.show_order, hub, viewer, order_id, audited=audited)
    return answer(order_models.OrderAnswer.of(sheet), status=status)
