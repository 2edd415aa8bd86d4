"""The form of a new order (申请单) as both desks show it: empty, with what a study says, or what a message said.

What somebody typed is in no address and no log, and comes back with the form when something is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.orders.order_entry import (
    Consent,
    OrderGapsUnconfirmed,
    OrderNotAcceptable,
    SiteOfOrders,
    StudyHasOrder,
    Wanted,
)
from reading_queue.services.orders.unmatched import WaitingStudy
from reading_queue.web.keys import in_thread
from reading_queue.web.language import in_words
from reading_queue.web.parsing import SCREEN_ZONE, Form
from reading_queue.web.parsing import field as text_of
from reading_queue.web.problems import fault_words, words_of
from reading_queue.web.rendering import page
from storage.contract.orders import Order
from storage.dicom.person_name import display_name
from storage.hl7.faults import Fault
from storage.hl7.order_message import OrderRequest
from storage.screens.order_form import ACCESSION, OPTIONS, FieldFault, Typed, form_moment, limit_of, read_form
from storage.screens.order_message_form import MessageOrder, place_faults

CONSENT: Final = ("consent_given_by", "consent_at")


@dataclass(frozen=True, slots=True)
class Sheet:
    """The form as it is shown: for whom, what was typed, what is wrong with it, what is asked back."""

    text: Mapping[str, str]
    order_id: str
    sites: tuple[SiteOfOrders, ...]
    site_id: str
    study_uid: str = ""
    study: WaitingStudy | None = None  # None as well when it has an order by now
    faults: tuple[FieldFault, ...] = ()
    gaps: tuple[str, ...] = ()
    refused: str = ""
    asks_further: bool = False  # the study has an order already: does one read answer both?
    message: MessageOrder | None = None  # which refused message it is made of
    told: Mapping[str, str] = field(default_factory=dict)  # what was wrong with the message, in words, by field


def zone_of(sheet: Sheet) -> ZoneInfo:
    """Return the time zone of the sheet's site."""
    return ZoneInfo(next((site.time_zone for site in sheet.sites if site.site_id == sheet.site_id), SCREEN_ZONE))


def with_typed(sheet: Sheet, form: Form, now: datetime) -> tuple[Sheet, Typed]:
    """Return the sheet with what was typed, and what that says."""
    typed = read_form(form, zone_of(sheet), now)
    return replace(sheet, text={**typed.text, **{name: text_of(form, name) for name in CONSENT}}), typed


def consent_of(request: OrderRequest, patient_name: str, now: datetime, zone: ZoneInfo) -> dict[str, str]:
    """Return the form's fields of the consent that a message tells, empty where it tells none."""
    said = request.consent
    if said is None or not said.given:
        return dict.fromkeys(CONSENT, "")
    given_by = display_name(said.by or patient_name)
    return {"consent_given_by": given_by, "consent_at": form_moment(said.moment or now, zone)}


def told_of(faults: Iterable[Fault]) -> dict[str, str]:
    """Return what was wrong with a message in the reader's words, with its place there, by field of the form."""
    return {name: f"{fault.where} {in_words(fault.words)}" for name, fault in place_faults(faults).items()}


def wanted_of(sheet: Sheet, typed: Typed, form: Form) -> Wanted:
    """Return what was typed as an order that is wanted; its number is the hub's, but for an order of a message."""
    unasked = {"consent_recorded"} | ({ACCESSION} if sheet.message is None else set())
    fields = {name: value for name, value in typed.fields.items() if name not in unasked}
    consent, faults = None, typed.faults
    if typed.text["consent_recorded"] == "yes":
        try:
            at = datetime.fromisoformat(sheet.text["consent_at"]).replace(tzinfo=zone_of(sheet))
            consent = Consent(sheet.text["consent_given_by"], at)
        except ValueError:
            faults = (*faults, FieldFault("consent_at", "consent_at_form"))
    confirmed = tuple(text_of(form, "confirmed").split(","))
    further = text_of(form, "further") == "yes"
    return Wanted(sheet.site_id, fields, consent, sheet.study_uid or None, sheet.order_id, confirmed, faults, further)


async def enter_or_show(request: web.Request, sheet: Sheet, enter: Callable[[], Order]) -> Order | web.Response:
    """Return the order that was made, else the form again with what stands against it."""
    try:
        return await in_thread(request, enter)
    except OrderNotAcceptable as exc:
        return show_form(request, replace(sheet, faults=exc.faults), status=exc.status)
    except OrderGapsUnconfirmed as exc:
        return show_form(request, replace(sheet, gaps=exc.gaps), status=exc.status)
    except HubError as exc:
        asks = isinstance(exc, StudyHasOrder)
        return show_form(request, replace(sheet, refused=words_of(exc), asks_further=asks), status=exc.status)


def show_form(request: web.Request, sheet: Sheet, *, status: int = 200) -> web.Response:
    """Answer the form."""
    return page(
        request,
        "clinic/order_form.html",
        status=status,
        sheet=sheet,
        faults={fault.field: fault_words(fault) for fault in sheet.faults} | dict(sheet.told),
        choices=OPTIONS,
        limits={name: limit_of(name) for name in sheet.text},
    )
