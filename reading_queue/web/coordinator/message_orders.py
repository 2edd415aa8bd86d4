"""A refused HL7 message as the order's form: read, corrected by a person, and entered. The message stays as it came.

One that changes an order that is here leads to that order's own form (`clinic.order_changes`), with what it says.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages import changing, correcting
from reading_queue.services.order_messages.correcting import NothingToEnter, OpenedOrder
from reading_queue.services.orders.order_entry import OrderGapsUnconfirmed, OrderNotAcceptable, check_wanted
from reading_queue.web.coordinator.order_messages import LIST
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.order_sheets import (
    Sheet,
    consent_of,
    enter_or_show,
    show_form,
    told_of,
    wanted_of,
    with_typed,
    zone_of,
)
from reading_queue.web.parsing import Form, field, whole_number
from storage.contract.identifiers import new_id
from storage.hl7.corrections import known_ids
from storage.screens.order_form import FieldFault
from storage.screens.order_message_form import MessageOrder, prefill
from storage.screens.requests import redirect


async def order_form(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show an order of a refused message, with what was wrong with it beside each field; else the order it means."""
    try:
        opened = await _open(request, viewer, request.query, audited=True)
    except NothingToEnter:
        return await _lead_on(request, viewer)
    sheet, now = _sheet(opened, new_id()), request.config_dict[HUB].clock()
    said, zone = opened.order.request, zone_of(sheet)
    text = prefill(said, now, zone)
    sheet, typed = with_typed(sheet, text | consent_of(said, text["patient_name"], now, zone), now)
    faults: tuple[FieldFault, ...] = ()
    try:
        check_wanted(viewer, wanted_of(sheet, typed, {}), None, now)
    except OrderNotAcceptable as exc:
        faults = exc.faults
    except OrderGapsUnconfirmed:
        faults = ()  # gaps are asked about when the order is entered
    return show_form(request, replace(sheet, faults=faults, told=told_of(opened.order.faults)))


async def enter(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make the order of what was corrected, or show the form again with what is wrong with it."""
    form: Form = await request.post()
    hub, order_id, message_id = request.config_dict[HUB], field(form, "order_id") or new_id(), _number(request)
    made = await in_thread(request, correcting.find_entered, hub, viewer, message_id, order_id)
    if made is None:  # else the same sheet came again
        opened = await _open(request, viewer, form, audited=False)
        sheet, typed = with_typed(_sheet(opened, order_id), form, hub.clock())
        what = hub, viewer, message_id, opened.order.request.number, wanted_of(sheet, typed, form)
        entered = await enter_or_show(request, sheet, partial(correcting.enter, *what))
        if isinstance(entered, web.Response):
            return entered
        made = entered.order_id
    return redirect(f"/clinic/orders/{made}?done=order_entered")


async def _lead_on(request: web.Request, viewer: Viewer) -> web.Response:
    """Lead to the order that a message means: to its form where it is to be changed. Raises NothingToEnter."""
    message_id = _number(request)
    known = await in_thread(request, changing.list_known, request.config_dict[HUB], viewer, message_id)
    match known_ids(known):
        case []:
            raise NothingToEnter
        case [order_id]:
            change = f"/change?message={message_id}" if any(one.is_change for one in known) else ""
            return redirect(f"/clinic/orders/{order_id}{change}")
        case _:
            return redirect(f"{LIST}/{message_id}")


async def _open(request: web.Request, viewer: Viewer, given: Form, *, audited: bool) -> OpenedOrder:
    """Return the order of a refused message that is meant, the first that is open where none is named."""
    text = field(given, "number")
    number = whole_number(text) if text else None
    find = partial(correcting.open_order, audited=audited)
    return await in_thread(request, find, request.config_dict[HUB], viewer, _number(request), number)


def _sheet(opened: OpenedOrder, order_id: str) -> Sheet:
    message = MessageOrder(opened.message_id, opened.order.request.number, opened.count)
    return Sheet({}, order_id, (opened.site,), opened.site.site_id, message=message)


def _number(request: web.Request) -> int:
    return whole_number(request.match_info["message_id"])
