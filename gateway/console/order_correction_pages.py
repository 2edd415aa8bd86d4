"""A refused HL7 message as the order's form: read, corrected by a person, and sent. The message stays as it came.

One that changes an order that is here opens that order's own form (`order_pages`), with what the message says.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Final

from aiohttp import web

from gateway.console.action_pages import operator_of
from gateway.console.errors import Conflict, Invalid
from gateway.console.keys import DESK, in_thread
from gateway.console.language import in_words
from gateway.console.order_forms import TAKEN, Sheet, check_new, show_form, with_changes
from gateway.console.order_message_pages import DIGITS_MAX, MessageSettled, number_of
from gateway.console.parsing import Form, field
from gateway.console.rendering import screen_zone
from gateway.his_orders.correcting import Corrections, NothingToCorrect, build_corrections
from gateway.his_orders.intake import MessageGone, build_intake, dismiss_message
from gateway.journal.message_corrections import find_correction
from gateway.journal.order_messages import KeptMessage, find_message
from gateway.journal.orders import AccessionTaken
from gateway.operations import Asker
from gateway.orders import AccessionReserved, NotEnrolled
from storage.contract.identifiers import new_id
from storage.hl7.corrections import OpenOrder, known_ids
from storage.hl7.faults import Fault
from storage.screens import order_form
from storage.screens.order_form import FieldFault, Typed
from storage.screens.order_message_form import MessageOrder, place_faults, prefill, said
from storage.screens.requests import redirect

NUMBER_DIGITS_MAX: Final = 3  # of an order in its message


async def correction_form(request: web.Request) -> web.StreamResponse:
    """Show an order of a refused message, with what was wrong with it beside each field."""
    asker, zone = operator_of(request), screen_zone(request)
    chosen, message = await _open_order(request, _wanted_number(request.query))
    typed = order_form.read_form(prefill(chosen.request, asker.at, zone), zone, asker.at)
    sheet = Sheet(typed.text, new_id(), message=message)
    _, faults = await in_thread(request, check_new, request.config_dict[DESK], typed, asker.actor, sheet.order_id)
    told = {name: _told(fault) for name, fault in place_faults(chosen.faults).items()}
    return await show_form(request, with_changes(sheet, faults=faults, told=told))


async def correct(request: web.Request) -> web.StreamResponse:
    """Make the order of what was corrected, or show the form again with what is wrong with it."""
    asker, desk = operator_of(request), request.config_dict[DESK]
    form: Form = await request.post()
    order_id = field(form, "order_id") or new_id()
    if await in_thread(request, find_correction, desk.journal, order_id) is not None:  # the same sheet again
        return redirect(f"/orders/{order_id}?done=order_entered")
    _, message = await _open_order(request, _wanted_number(form))
    typed = order_form.read_form(form, screen_zone(request), asker.at)
    sheet = Sheet(typed.text, order_id, message=message)
    order, faults = await in_thread(request, check_new, desk, typed, asker.actor, order_id)
    if order is None:
        return await show_form(request, with_changes(sheet, faults=faults), status=Invalid.status)
    gaps = order_form.gaps_to_ask(order, field(form, "confirmed").split(","))
    if gaps:
        return await show_form(request, with_changes(sheet, gaps=gaps))
    return await _enter(request, asker, message, sheet, typed)


async def _enter(
    request: web.Request, asker: Asker, message: MessageOrder, sheet: Sheet, typed: Typed
) -> web.StreamResponse:
    enter = partial(_corrections(request).enter, by=asker.actor, now=asker.at, order_id=sheet.order_id)
    try:
        made = await in_thread(request, enter, message.message_id, message.number, typed.fields)
    except NothingToCorrect as exc:
        raise MessageSettled from exc
    except AccessionTaken:
        return await show_form(request, with_changes(sheet, faults=(TAKEN,)), status=Invalid.status)
    except AccessionReserved:
        reserved = FieldFault(order_form.ACCESSION, "accession_reserved")
        return await show_form(request, with_changes(sheet, faults=(reserved,)), status=Invalid.status)
    except NotEnrolled:
        faults = (FieldFault("", "not_enrolled"),)
        return await show_form(request, with_changes(sheet, faults=faults), status=Conflict.status)
    desk = request.config_dict[DESK]
    intake = build_intake(desk.settings, desk.journal, desk.clock)
    await in_thread(request, intake.retry_later, message.message_id, [made.order_id], asker.actor)
    return redirect(f"/orders/{made.order_id}?done=order_entered")


async def fill_change(request: web.Request, sheet: Sheet) -> Sheet:
    """Return the sheet of an order's change with what a refused message says, where the address names one."""
    found = await _find_change(request, sheet.order_id, request.query)
    if found is None:
        return sheet
    kept, asked = found
    told = {name: _told(fault) for name, fault in place_faults(asked.faults).items()}
    text = dict(sheet.text) | said(asked.request, screen_zone(request))
    return with_changes(sheet, text=text, told=told, message=MessageOrder(kept.message_id, asked.request.number, 1))


async def find_message_of_change(request: web.Request, order_id: str, form: Form) -> MessageOrder | None:
    """Return of which refused message the form of an order's change was filled, None where of none that waits."""
    found = await _find_change(request, order_id, form)
    return MessageOrder(found[0].message_id, found[1].request.number, 1) if found is not None else None


async def settle_change(request: web.Request, message: MessageOrder) -> None:
    """Say of a message that was about one order that nothing has to be done any more: a person has changed it."""
    desk, asker = request.config_dict[DESK], operator_of(request)
    kept = await in_thread(request, find_message, desk.journal, message.message_id)
    orders = await in_thread(request, _corrections(request).list_orders, kept) if kept is not None else []
    if len(orders) == 1:
        with contextlib.suppress(MessageGone):  # somebody else has
            await in_thread(request, dismiss_message, desk.journal, message.message_id, asker.actor, asker.at)


async def _find_change(request: web.Request, order_id: str, values: Form) -> tuple[KeptMessage, OpenOrder] | None:
    text = field(values, "message")
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX):
        return None
    operator_of(request)
    kept = await in_thread(request, find_message, request.config_dict[DESK].journal, int(text))
    if kept is None or not kept.needs_somebody:
        return None
    orders = await in_thread(request, _corrections(request).list_orders, kept)
    return next(((kept, one) for one in orders if one.is_change and order_id in known_ids([one])), None)


async def _open_order(request: web.Request, number: int | None) -> tuple[OpenOrder, MessageOrder]:
    """Return the order of a refused message that is to be made. Raises MessageSettled: there is none."""
    try:
        kept, chosen = await in_thread(request, _corrections(request).get_open, number_of(request), number)
    except NothingToCorrect as exc:
        raise MessageSettled from exc
    still_open = await in_thread(request, _corrections(request).list_open, kept)
    return chosen, MessageOrder(kept.message_id, chosen.request.number, len(still_open))


def _corrections(request: web.Request) -> Corrections:
    desk = request.config_dict[DESK]
    return build_corrections(desk.settings, desk.journal)


def _told(fault: Fault) -> str:
    """Return what was wrong with a message in the reader's words, with its place there."""
    return f"{fault.where} {in_words(fault.words)}"


def _wanted_number(values: Form) -> int | None:
    text = field(values, "number")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX else None
