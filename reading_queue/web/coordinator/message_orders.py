"""A refused HL7 message as the order's form: read, corrected by a person, and entered. The message stays as it came."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages import correcting
from reading_queue.services.order_messages.correcting import OpenedOrder
from reading_queue.services.orders.order_entry import OrderGapsUnconfirmed, OrderNotAcceptable, check_wanted
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.language import in_words
from reading_queue.web.order_sheets import (
    CONSENT,
    Sheet,
    enter_or_show,
    show_form,
    wanted_of,
    with_typed,
    zone_of,
)
from reading_queue.web.parsing import Form, field, whole_number
from storage.contract.identifiers import new_id
from storage.hl7.faults import Fault
from storage.screens.order_form import FieldFault, form_moment
from storage.screens.order_message_form import MessageOrder, place_faults, prefill
from storage.screens.requests import redirect


async def order_form(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show an order of a refused message, with what was wrong with it beside each field."""
    opened = await _open(request, viewer, request.query, audited=True)
    sheet, now = _sheet(opened, new_id()), request.config_dict[HUB].clock()
    said, zone = opened.order.request, zone_of(sheet)
    text = prefill(said, now, zone) | dict.fromkeys(CONSENT, "")
    if said.consent is not None and said.consent.given:
        given_by = (said.consent.by or text["patient_name"]).replace("^", "")
        text |= {"consent_given_by": given_by, "consent_at": form_moment(said.consent.moment or now, zone)}
    sheet, typed = with_typed(sheet, text, now)
    told = {name: _told(fault) for name, fault in place_faults(opened.order.faults).items()}
    faults: tuple[FieldFault, ...] = ()
    try:
        check_wanted(viewer, wanted_of(sheet, typed, {}), None, now)
    except OrderNotAcceptable as exc:
        faults = exc.faults
    except OrderGapsUnconfirmed:
        faults = ()  # gaps are asked about when the order is entered
    return show_form(request, replace(sheet, faults=faults, told=told))


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


async def _open(request: web.Request, viewer: Viewer, given: Form, *, audited: bool) -> OpenedOrder:
    """Return the order of a refused message that is meant, the first that is open where none is named."""
    text = field(given, "number")
    number = whole_number(text) if text else None
    find = partial(correcting.open_order, audited=audited)
    return await in_thread(request, find, request.config_dict[HUB], viewer, _number(request), number)


def _sheet(opened: OpenedOrder, order_id: str) -> Sheet:
    message = MessageOrder(opened.message_id, opened.order.request.number, opened.count)
    return Sheet({}, order_id, (opened.site,), opened.site.site_id, message=message)


def _told(fault: Fault) -> str:
    """Return what was wrong with a message in the reader's words, with its place there."""
    return f"{fault.where} {in_words(fault.words)}"


def _number(request: web.Request) -> int:
    return whole_number(request.match_info["message_id"])
