"""The form of an order as it is shown and checked, whoever opens it: empty, with an order, with what a message said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from gateway import orders as actions
from gateway.console.keys import DESK, Desk, in_thread
from gateway.console.language import translate, translate_or
from gateway.console.rendering import page
from gateway.journal.identity import find_identity
from gateway.journal.orders import AccessionTaken
from gateway.orders import AccessionReserved
from gateway.peers import Permission
from storage.contract.orders import (
    Order,
    OrderGap,
    OrderOrigin,
)
from storage.screens import order_form
from storage.screens.order_form import FieldFault, Typed
from storage.screens.order_message_form import MessageOrder

TAKEN: Final = FieldFault(order_form.ACCESSION, "accession_taken")


@dataclass(frozen=True, slots=True)
class Sheet:
    """The form as it is shown: what was typed, what is wrong with it, what is asked back."""

    text: Mapping[str, str]
    order_id: str
    faults: tuple[FieldFault, ...] = ()
    gaps: tuple[OrderGap, ...] = ()
    saved: Mapping[str, str] = field(default_factory=dict)  # fields that somebody else has saved otherwise meanwhile
    order: Order | None = None  # the one that is changed, None for a new one
    message: MessageOrder | None = None  # which refused message it is made of
    told: Mapping[str, str] = field(default_factory=dict)  # what was wrong with the message, in words, by field


def words_of(fault: FieldFault) -> str:
    """Return a fault in words of the request's language."""
    if fault.code == "too_long":
        return translate("fault.too_long", limit=fault.limit)
    return translate_or(f"fault.{fault.code}", translate("fault.other"))


def stations(desk: Desk) -> tuple[tuple[str, str], ...]:
    """Return the devices that may ask for the worklist: AE title and name."""
    dicom = desk.settings.dicom
    return tuple((peer.ae_title, peer.name) for peer in dicom.to_peers() if Permission.WORKLIST in peer.may)


def check_new(desk: Desk, typed: Typed, account_id: str, order_id: str) -> tuple[Order | None, tuple[FieldFault, ...]]:
    """Return the order that would be entered, or what is wrong with it."""
    identity, now = find_identity(desk.journal), desk.clock()
    own = {
        "order_id": order_id,
        "version": 1,
        "site_id": identity.site_id if identity is not None else "site",
        "study_uid": "1.2.3",
        "origin": OrderOrigin.CONSOLE,
        "entered_by": account_id,
        "entered_at": now,
        "changed_at": now,
    }
    values = {"scheduled_at": now, order_form.ACCESSION: "0"} | dict(typed.fields) | own
    order, faults = checked(values, typed)
    if order_form.ACCESSION in typed.fields and all(fault.field != order_form.ACCESSION for fault in faults):
        faults += _accession_faults(
            desk, str(own["site_id"]), str(typed.fields[order_form.ACCESSION]).strip(), order_id
        )
    return (None, faults) if faults else (order, ())


def _accession_faults(desk: Desk, site_id: str, number: str, order_id: str) -> tuple[FieldFault, ...]:
    try:
        actions.require_free(desk.journal, site_id, number, order_id=order_id)
    except AccessionTaken:
        return (TAKEN,)
    except AccessionReserved:
        return (FieldFault(order_form.ACCESSION, "accession_reserved"),)
    return ()


def checked(values: Mapping[str, Any], typed: Typed) -> tuple[Order | None, tuple[FieldFault, ...]]:
    """Return the order, or what is wrong with it and with how it was typed."""
    order, faults = order_form.check(values)
    return (None, (*typed.faults, *faults)) if typed.faults or faults else (order, ())


def with_changes(sheet: Sheet, **changes: Any) -> Sheet:
    """Return the sheet with these of its parts."""
    values = {name: getattr(sheet, name) for name in Sheet.__slots__}
    return Sheet(**(values | changes))


async def show_form(request: web.Request, sheet: Sheet, *, status: int = 200) -> web.Response:
    """Answer the form."""
    desk = request.config_dict[DESK]
    identity = await in_thread(request, find_identity, desk.journal)
    return page(
        request,
        "order_form.html",
        status=status,
        sheet=sheet,
        faults={fault.field: words_of(fault) for fault in reversed(sheet.faults)} | dict(sheet.told),
        choices=order_form.OPTIONS,
        stations=stations(desk),
        limits={name: order_form.limit_of(name) for name in (order_form.ACCESSION, *order_form.TEXTS)},
        is_enrolled=identity is not None,
    )
