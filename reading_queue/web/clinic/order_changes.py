"""The clinic's pages that change an order (申请单), and the note that takes a change's place after the signature.

What somebody typed comes back with the form when something stands against it, a change by somebody else among it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages import changing
from reading_queue.services.orders import order_changing, order_entry
from reading_queue.services.orders.order_changing import FIXED, OrderChange
from reading_queue.services.orders.order_entry import (
    Consent,
    OrderGapsUnconfirmed,
    OrderNotAcceptable,
    OrderNotOpen,
    OrderSheet,
    ReportSigned,
    StaleOrder,
)
from reading_queue.web.clinic import orders
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.order_sheets import CONSENT, consent_of, told_of
from reading_queue.web.parsing import Form, whole_number
from reading_queue.web.parsing import field as text_of
from reading_queue.web.problems import fault_words, words_of
from reading_queue.web.rendering import page
from storage.screens.order_form import NAMES, OPTIONS, FieldFault, Typed, differences, form_of, limit_of, read_form
from storage.screens.order_message_form import said
from storage.screens.requests import redirect

_FIELDS: Final = frozenset(NAMES) - FIXED


@dataclass(frozen=True, slots=True)
class ChangeSheet:
    """The form of a change: the order as it is, what was typed, what stands against it.

    `saved`: fields that somebody else has saved otherwise meanwhile.
    """

    held: OrderSheet
    text: Mapping[str, str]
    faults: tuple[FieldFault, ...] = ()
    gaps: tuple[str, ...] = ()
    refused: str = ""
    saved: Mapping[str, str] = field(default_factory=dict)
    message_id: int | None = None  # of the refused HL7 message that it was filled in from
    told: Mapping[str, str] = field(default_factory=dict)  # what was wrong with that, in words, by field


async def change_form(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the form with what the order says, and what a refused message says of it where the address names one."""
    held = await _sheet(request, viewer)
    if not held.is_changeable:
        raise ReportSigned if held.is_reported else OrderNotOpen
    return _form(request, await _filled(request, viewer, ChangeSheet(held, _text_of(held))))


async def change(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save what was typed as the order's next version, or show the form again with what stands against it."""
    form: Form = await request.post()
    hub, held = request.config_dict[HUB], await _sheet(request, viewer)
    zone = ZoneInfo(held.time_zone)
    typed = read_form(form, zone, hub.clock())
    sheet = ChangeSheet(held, {**typed.text, **{name: text_of(form, name) for name in CONSENT}})
    what = held.order.order_id, whole_number(text_of(form, "version")), _wanted(held, typed, form, zone)
    put = partial(order_changing.change_order, hub, viewer, *what)
    if text_of(form, "message"):
        message_id = whole_number(text_of(form, "message"))
        sheet = replace(sheet, message_id=message_id)
        put = partial(changing.change_by_message, hub, viewer, message_id, *what)
    try:
        await in_thread(request, put)
    except OrderNotAcceptable as exc:
        return _form(request, replace(sheet, faults=exc.faults), status=exc.status)
    except OrderGapsUnconfirmed as exc:
        return _form(request, replace(sheet, gaps=exc.gaps), status=exc.status)
    except StaleOrder as exc:
        saved = differences(typed.text, _text_of(held))
        return _form(request, replace(sheet, refused=words_of(exc), saved=saved), status=exc.status)
    except HubError as exc:
        return _form(request, replace(sheet, refused=words_of(exc)), status=exc.status)
    return redirect(f"{orders.LIST}/{held.order.order_id}?done=order_changed")


async def note(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add a note to an order whose report is signed."""
    form, order_id = await request.post(), request.match_info["order_id"]
    words = text_of(form, "words")
    try:
        await in_thread(request, order_changing.note_order, request.config_dict[HUB], viewer, order_id, words)
    except HubError as exc:
        return await orders.show_order(request, viewer, exc)
    return redirect(f"{orders.LIST}/{order_id}?done=order_noted")


async def _sheet(request: web.Request, viewer: Viewer) -> OrderSheet:
    hub, order_id = request.config_dict[HUB], request.match_info["order_id"]
    return await in_thread(request, order_entry.show_order, hub, viewer, order_id)


async def _filled(request: web.Request, viewer: Viewer, sheet: ChangeSheet) -> ChangeSheet:
    """Return the sheet with what a refused message says of the order, where the address names one that waits."""
    if not text_of(request.query, "message"):
        return sheet
    hub, message_id = request.config_dict[HUB], whole_number(text_of(request.query, "message"))
    find = partial(changing.open_change, hub, viewer, message_id, sheet.held.order.order_id)
    asked = await in_thread(request, find)
    if asked is None:
        return sheet
    zone, name = ZoneInfo(sheet.held.time_zone), sheet.held.order.patient_name
    text = {**sheet.text, **said(asked.request, zone), **consent_of(asked.request, name, hub.clock(), zone)}
    return replace(sheet, text=text, message_id=message_id, told=told_of(asked.faults))


def _text_of(held: OrderSheet) -> dict[str, str]:
    return form_of(held.order, ZoneInfo(held.time_zone)) | dict.fromkeys(CONSENT, "")


def _wanted(held: OrderSheet, typed: Typed, form: Form, zone: ZoneInfo) -> OrderChange:
    """Return what was typed; a time that was not touched keeps its seconds, which the form does not know."""
    fields = {name: value for name, value in typed.fields.items() if name in _FIELDS}
    if typed.text["scheduled_at"].strip() in {"", _text_of(held)["scheduled_at"]}:
        fields.pop("scheduled_at", None)
    if "station_ae_title" not in form:
        fields.pop("station_ae_title", None)
    consent, faults = None, typed.faults
    if not held.order.consent_recorded and typed.text["consent_recorded"] == "yes":
        try:
            consent = Consent(text_of(form, "consent_given_by"), _moment(form, zone))
        except ValueError:
            faults = (*faults, FieldFault("consent_at", "consent_at_form"))
    return OrderChange(fields, consent, tuple(text_of(form, "confirmed").split(",")), faults)


def _moment(form: Form, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text_of(form, "consent_at")).replace(tzinfo=zone)


def _form(request: web.Request, sheet: ChangeSheet, *, status: int = 200) -> web.Response:
    return page(
        request,
        "clinic/order_change.html",
        status=status,
        sheet=sheet,
        order=sheet.held.order,
        faults={fault.field: fault_words(fault) for fault in sheet.faults} | dict(sheet.told),
        choices=OPTIONS,
        limits={name: limit_of(name) for name in sheet.text},
    )
