"""A refused HL7 message as the order's form: read, corrected by a person, and sent. The message stays as it came."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from gateway.console.action_pages import operator_of
from gateway.console.errors import Conflict, Invalid
from gateway.console.keys import DESK, in_thread
from gateway.console.language import in_words
from gateway.console.order_forms import TAKEN, MessageOrder, Sheet, check_new, show_form, with_changes
from gateway.console.order_message_form import place_faults, prefill
from gateway.console.order_message_pages import MessageSettled, number_of
from gateway.console.parsing import Form, field
from gateway.console.rendering import screen_zone
from gateway.his_orders.correcting import Corrections, NothingToCorrect, OpenOrder, build_corrections
from gateway.his_orders.intake import build_intake
from gateway.journal.message_corrections import find_correction
from gateway.journal.orders import AccessionTaken
from gateway.operations import Asker
from gateway.orders import AccessionReserved, NotEnrolled
from storage.contract.identifiers import new_id
from storage.hl7.faults import Fault
from storage.screens import order_form
from storage.screens.order_form import FieldFault, Typed
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
