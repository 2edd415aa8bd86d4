"""The clinic's pages of orders (申请单): what waits, the form, one order.

What somebody typed is in no address and no log, and comes back with the form when something is wrong with it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.orders import order_entry
from reading_queue.services.orders.further_orders import OrderedStudy, find_ordered_studies
from reading_queue.services.orders.order_entry import CHANGEABLE
from reading_queue.services.orders.unmatched import (
    WaitingStudies,
    WaitingStudy,
    find_study_to_order,
    find_waiting_studies,
)
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.order_lists import DONE, decide, show_all, show_lists
from reading_queue.web.order_sheets import CONSENT, Sheet, enter_or_show, show_form, wanted_of, with_typed, zone_of
from reading_queue.web.parsing import Form, field, whole_number
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.contract.identifiers import new_id
from storage.contract.orders import MODALITIES
from storage.screens.order_form import OPTIONS, FieldFault, empty_form, form_moment, limit_of
from storage.screens.requests import redirect

LIST: Final = "/clinic/orders"


async def lists(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show what waits for its other half, and the orders that changed last."""
    return await show_lists(request, viewer, "clinic")


async def all_orders(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show all orders a page at a time, filtered, or those that hold the words of a form."""
    return await show_all(request, viewer)


async def match(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Confirm or reject that an order is of a study; a refusal shows the page with the reason."""
    try:
        done = await decide(request, viewer)
    except HubError as exc:
        return await show_lists(request, viewer, "clinic", exc)
    return redirect(f"{LIST}?done={done}")


async def new(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show an empty form, or one that begins with what a study says."""
    sheet = await _begin(request, viewer, request.query)
    text = empty_form(request.config_dict[HUB].clock(), zone_of(sheet)) | dict.fromkeys(CONSENT, "")
    if sheet.study is not None:
        text |= _said_by(sheet.study)
    return show_form(request, replace(sheet, text=text))


async def enter(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make an order of what was typed, or show the form again with what is wrong with it."""
    form: Form = await request.post()
    hub = request.config_dict[HUB]
    sheet, typed = with_typed(await _begin(request, viewer, form), form, hub.clock())
    if not sheet.site_id:
        missing = (FieldFault("site_id", "site_missing"),)
        return show_form(request, replace(sheet, faults=missing), status=Invalid.status)
    enter_typed = partial(order_entry.enter_order, hub, viewer, wanted_of(sheet, typed, form))
    made = await enter_or_show(request, sheet, enter_typed)
    if isinstance(made, web.Response):
        return made
    done = "order_for_study" if sheet.study_uid else "order_entered"
    return redirect(f"{LIST}/{made.order_id}?done={done}")


async def show(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one order, and what has come of it. A look is a line of the audit trail."""
    return await show_order(request, viewer)


async def cancel(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Cancel the order with a reason; it leaves the worklists."""
    form, order_id = await request.post(), request.match_info["order_id"]
    what = (order_id, whole_number(field(form, "version")), field(form, "reason"))
    try:
        await in_thread(request, order_entry.cancel_order, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await show_order(request, viewer, exc)
    return redirect(f"{LIST}/{order_id}?done=order_cancelled")


async def show_order(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.Response:
    """Answer the page of one order, with the words of a refusal."""
    hub, done = request.config_dict[HUB], request.query.get("done", "")
    sheet = await in_thread(request, order_entry.show_order, hub, viewer, request.match_info["order_id"])
    waiting = WaitingStudies((), has_more=False)
    ordered: tuple[OrderedStudy, ...] = ()
    if sheet.study_uid is None and sheet.order.state in CHANGEABLE:
        ordered = await in_thread(request, find_ordered_studies, hub, viewer, sheet.order.order_id)
    if sheet.study_uid is None and sheet.is_open:
        waiting = await in_thread(request, find_waiting_studies, hub, viewer, sheet.order.site_id)
    return page(
        request,
        "clinic/order.html",
        status=refused.status if refused is not None else 200,
        sheet=sheet,
        order=sheet.order,
        waiting=waiting,
        ordered=ordered,
        now=hub.clock(),
        done=done if done in DONE else "",
        refused=words_of(refused) if refused is not None else "",
    )


async def _begin(request: web.Request, viewer: Viewer, given: Form) -> Sheet:
    """Return an empty sheet: for which site and, where one is named, for which study."""
    hub, study_uid = request.config_dict[HUB], field(given, "study_uid")
    sites = await in_thread(request, order_entry.order_sites, hub, viewer)
    site_id = field(given, "site_id") or (sites[0].site_id if len(sites) == 1 else "")
    study = await in_thread(request, find_study_to_order, hub, viewer, site_id, study_uid) if study_uid else None
    return Sheet({}, field(given, "order_id") or new_id(), sites, site_id, study_uid=study_uid, study=study)


def _said_by(study: WaitingStudy) -> dict[str, str]:
    """Return what a study says of its patient and examination, as the form has it."""
    alphabetic, ideographic = (group.rstrip("^ ") for group in f"{study.pn}=".split("=")[:2])
    return {
        "patient_number": study.patient_number,
        "patient_name": ideographic or alphabetic,
        "patient_name_latin": alphabetic if ideographic else "",
        "birth_date": study.birth_date.isoformat() if study.birth_date else "",
        "sex": study.sex if study.sex in OPTIONS["sex"] else "",
        "modality": study.modality if study.modality in MODALITIES else "",
        "procedure_name": study.description.replace("^", " ")[: limit_of("procedure_name")],
        "lane": study.lane,
        "scheduled_at": form_moment(study.since, ZoneInfo(study.time_zone)),
    }
