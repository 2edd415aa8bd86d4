"""The pages of orders (申请单): the list, the form, one order with its study, the slip for the patient.

Everybody who may log in at the clinic enters orders: physicians write them, technicians type them in. What somebody
typed is in no address and no log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from pydantic import ValidationError

from gateway import orders as actions
from gateway.console.errors import Conflict, Invalid, NotFound
from gateway.console.green_channels import list_green_orders
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.language import translate
from gateway.console.order_correction_pages import fill_change, find_message_of_change, settle_change
from gateway.console.order_forms import TAKEN, Sheet, check_new, checked, show_form, with_changes, words_of
from gateway.console.orders import SEARCH_CHARACTERS_MAX, OrderFilter, list_order_lines, studies_of_order
from gateway.console.parsing import Form, id_of
from gateway.console.parsing import field as text_of
from gateway.console.rendering import page, screen_zone
from gateway.console.studies import find_study
from gateway.journal.accounts import names_of
from gateway.journal.actions import record_action
from gateway.journal.identity import find_identity
from gateway.journal.message_corrections import find_correction
from gateway.journal.orders import (
    CHANGEABLE_STATES,
    OPEN_STATES,
    AccessionTaken,
    OrderRow,
    StaleOrder,
    find_order,
    is_reported,
)
from gateway.orders import NotEnrolled, OrderNotOpen
from storage.contract.identifiers import new_id
from storage.contract.orders import (
    OrderOrigin,
    OrderState,
    explain_faults,
)
from storage.screens import order_form
from storage.screens.order_form import FieldFault
from storage.screens.requests import is_refresh, redirect

LIST: Final = "/orders"


class OrderClosed(Conflict):
    """The examination is over, or the order was cancelled; it cannot be changed any more."""

    code = "order_closed"


class OrderReported(Conflict):
    """The report of the order is signed; at the hub a note can be added."""

    code = "order_reported"


class OrderChanged(Conflict):
    """Somebody else changed the order meanwhile; look at it again."""

    code = "order_changed"


async def orders(request: web.Request) -> web.StreamResponse:
    """Show today's orders and what is still open, or those of a day or a state."""
    get_viewer(request)
    return await _list(request, _wanted(request.query))


async def search(request: web.Request) -> web.StreamResponse:
    """Show the orders that hold the words of the form: a name belongs in no address. Without words, the plain list."""
    get_viewer(request)
    form: Form = await request.post()
    wanted = _wanted(form, with_text=True)
    return await _list(request, wanted) if wanted.text else redirect(_address(wanted))


async def new(request: web.Request) -> web.StreamResponse:
    """Show an empty form."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    return await show_form(request, Sheet(order_form.empty_form(desk.clock(), screen_zone(request)), new_id()))


async def enter(request: web.Request) -> web.StreamResponse:
    """Make an order of what was typed, or show the form again with what is wrong with it."""
    viewer, desk = get_viewer(request), request.config_dict[DESK]
    form: Form = await request.post()
    now = desk.clock()
    typed = order_form.read_form(form, screen_zone(request), now)
    sheet = Sheet(typed.text, text_of(form, "order_id") or new_id())
    order, faults = await in_thread(request, check_new, desk, typed, viewer.account_id, sheet.order_id)
    if order is None:
        return await show_form(request, with_changes(sheet, faults=faults), status=Invalid.status)
    gaps = order_form.gaps_to_ask(order, text_of(form, "confirmed").split(","))
    if gaps:
        return await show_form(request, with_changes(sheet, gaps=gaps))
    make = partial(
        actions.enter_order,
        entered_by=viewer.account_id,
        origin=OrderOrigin.CONSOLE,
        now=now,
        order_id=sheet.order_id,
    )
    try:
        made = await in_thread(request, make, desk.journal, typed.fields)
    except AccessionTaken:
        return await show_form(request, with_changes(sheet, faults=(TAKEN,)), status=Invalid.status)
    except NotEnrolled:
        return await show_form(
            request, with_changes(sheet, faults=(FieldFault("", "not_enrolled"),)), status=Conflict.status
        )
    return redirect(f"{LIST}/{made.order_id}?done=order_entered")


async def check(request: web.Request) -> web.StreamResponse:
    """Answer as JSON what is wrong with what has been typed so far, and what a resident's number says."""
    viewer, desk = get_viewer(request), request.config_dict[DESK]
    form: Form = await request.post()
    now = desk.clock()
    typed = order_form.read_form(form, screen_zone(request), now)
    _, faults = await in_thread(request, check_new, desk, typed, viewer.account_id, new_id())
    resident = order_form.find_resident(typed.fields["identity_kind"], typed.fields["identity_number"], now)
    says = {"birth_date": resident.birth_date.isoformat(), "sex": resident.sex} if resident is not None else {}
    return web.json_response(
        {"faults": {fault.field: words_of(fault) for fault in faults if fault.field}, "says": says}
    )


async def order_page(request: web.Request) -> web.StreamResponse:
    """Show one order, and the study that came of it. A look is a line of the audit trail."""
    viewer, desk, row = get_viewer(request), request.config_dict[DESK], await _row(request)
    if not is_refresh(request):
        await in_thread(request, _note, desk, viewer.account_id, "order_viewed", row.order.order_id)
    return await _order(request, row, reason="")


async def change_form(request: web.Request) -> web.StreamResponse:
    """Show the form with what the order holds, and what a refused message says of it where the address names one."""
    get_viewer(request)
    row = await _row(request)
    await _require_changeable(request, row)
    text = order_form.form_of(row.order, screen_zone(request))
    return await show_form(request, await fill_change(request, Sheet(text, row.order.order_id, order=row.order)))


async def change(request: web.Request) -> web.StreamResponse:
    """Save what was typed as the order's next version, or show the form again with what stands against it."""
    viewer, desk, row = get_viewer(request), request.config_dict[DESK], await _row(request)
    form: Form = await request.post()
    zone, now = screen_zone(request), desk.clock()
    typed = order_form.read_form(form, zone, now)
    message = await find_message_of_change(request, row.order.order_id, form)
    sheet = Sheet(typed.text, row.order.order_id, order=row.order, message=message)
    await _require_changeable(request, row)
    saved = order_form.form_of(row.order, zone)
    fields = {name: value for name, value in typed.fields.items() if name in order_form.NAMES}
    if typed.text["scheduled_at"].strip() in {"", saved["scheduled_at"]}:
        fields.pop("scheduled_at", None)  # the form knows no seconds
    version = _version(form)
    if version != row.order.version:
        return await show_form(
            request, with_changes(sheet, saved=order_form.differences(typed.text, saved)), status=Conflict.status
        )
    wanted, faults = checked(row.order.model_dump() | fields, typed)
    if wanted is None:
        return await show_form(request, with_changes(sheet, faults=faults), status=Invalid.status)
    gaps = order_form.gaps_to_ask(wanted, text_of(form, "confirmed").split(","))
    if gaps:
        return await show_form(request, with_changes(sheet, gaps=gaps))
    amend = partial(actions.amend_order, changed_by=viewer.account_id, now=now)
    await _ask(request, partial(amend, desk.journal, row.order.order_id, version, fields))
    if message is not None:
        await settle_change(request, message)
    return redirect(f"{LIST}/{row.order.order_id}?done=order_changed")


async def cancel(request: web.Request) -> web.StreamResponse:
    """Cancel the order with a reason; it leaves the worklist."""
    viewer, desk, row = get_viewer(request), request.config_dict[DESK], await _row(request)
    form: Form = await request.post()
    reason = text_of(form, "reason")
    end = partial(actions.cancel_order, cancelled_by=viewer.account_id, now=desk.clock())
    try:
        await _ask(request, partial(end, desk.journal, row.order.order_id, _version(form), reason))
    except ValidationError as exc:
        faults = order_form.place_faults(explain_faults(exc))
        words = words_of(faults[0]) if faults else translate("fault.other")
        return await _order(request, row, reason=reason, problem=words, status=Invalid.status)
    return redirect(f"{LIST}/{row.order.order_id}?done=order_cancelled")


async def slip(request: web.Request) -> web.StreamResponse:
    """Show a small sheet with the accession number, for the patient to bring to the scanner."""
    viewer, desk, row = get_viewer(request), request.config_dict[DESK], await _row(request)
    await in_thread(request, _note, desk, viewer.account_id, "order_printed", row.order.order_id)
    identity = await in_thread(request, find_identity, desk.journal)
    site_name = identity.site_name if identity is not None else row.order.site_id
    return page(request, "order_slip.html", order=row.order, site_name=site_name, now=desk.clock())


def _wanted(values: Form, *, with_text: bool = False) -> OrderFilter:
    """Return which orders a query or a form asks for. Raises Invalid."""
    day, state = text_of(values, "day"), text_of(values, "state")
    try:
        return OrderFilter(
            text=text_of(values, "text")[:SEARCH_CHARACTERS_MAX] if with_text else "",
            day=date.fromisoformat(day) if day else None,
            state=OrderState(state) if state else None,
        )
    except ValueError as exc:
        raise Invalid from exc


def _address(wanted: OrderFilter) -> str:
    """Return the address of the list with this filter; the words of a search are not part of it."""
    query = urlencode({name: value for name, value in (("state", wanted.state), ("day", wanted.day)) if value})
    return f"{LIST}?{query}" if query else LIST


def _version(form: Form) -> int:
    text = text_of(form, "version")
    if not (text.isascii() and text.isdecimal() and len(text) <= 7):
        raise Invalid
    return int(text)


async def _require_changeable(request: web.Request, row: OrderRow) -> None:
    if row.order.state not in CHANGEABLE_STATES:
        raise OrderClosed
    if await in_thread(request, is_reported, request.config_dict[DESK].journal, row.order):
        raise OrderReported


def _note(desk: Desk, account_id: str, verb: str, order_id: str) -> None:
    with desk.journal.transaction() as connection:
        record_action(connection, desk.clock(), account_id, verb, order_id)


async def _row(request: web.Request) -> OrderRow:
    row = await in_thread(request, find_order, request.config_dict[DESK].journal, id_of(request, "order_id"))
    if row is None:
        raise NotFound
    return row


async def _ask(request: web.Request, operation: Callable[[], object]) -> None:
    try:
        await in_thread(request, operation)
    except StaleOrder as exc:
        raise OrderChanged from exc
    except actions.OrderReported as exc:
        raise OrderReported from exc
    except OrderNotOpen as exc:
        raise OrderClosed from exc


async def _list(request: web.Request, wanted: OrderFilter) -> web.Response:
    desk = request.config_dict[DESK]
    days = desk.settings.dicom.worklist_days
    listed = await in_thread(request, list_order_lines, desk.journal, wanted, desk.clock(), screen_zone(request), days)
    return page(
        request,
        "_orders.html" if is_refresh(request) else "orders.html",
        listed=listed,
        green=await in_thread(request, list_green_orders, desk.journal, desk.clock()),
        wanted=wanted,
        is_filtered=wanted != OrderFilter(),
        here=_address(wanted),
        states=tuple(OrderState),
        text_max=SEARCH_CHARACTERS_MAX,
        now=desk.clock(),
    )


async def _order(
    request: web.Request, row: OrderRow, *, reason: str, problem: str = "", status: int = 200
) -> web.Response:
    desk = request.config_dict[DESK]
    uids = await in_thread(request, studies_of_order, desk.journal, row)
    studies = [await in_thread(request, find_study, desk.journal, uid) for uid in uids]
    names = await in_thread(request, names_of, desk.journal)
    correction = await in_thread(request, find_correction, desk.journal, row.order.order_id)
    is_read = await in_thread(request, is_reported, desk.journal, row.order)
    return page(
        request,
        "_order.html" if is_refresh(request) else "order.html",
        status=status,
        row=row,
        order=row.order,
        is_open=row.order.state in OPEN_STATES,
        message_id=correction.message_id if correction is not None else None,
        is_changeable=row.order.state in CHANGEABLE_STATES and not is_read,
        studies=[line for line in studies if line is not None],
        entered_by=names.get(row.order.entered_by, ""),
        reason=reason,
        problem=problem,
        done=text_of(request.query, "done"),
        now=desk.clock(),
    )
