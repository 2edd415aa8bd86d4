"""What an order message does to the clinic's orders. Every function works within its caller's transaction.

So a message is done as a whole or not at all, together with the record of it. Done twice it changes nothing more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from gateway.hl7.faults import ErrorCode, Fault, OrderFaulty
from gateway.hl7.order_message import Control, OrderRequest
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.identity import Identity
from gateway.journal.order_messages import find_order_of_placer, name_by_placer
from gateway.journal.orders import (
    OPEN_STATES,
    add_order,
    change_order,
    find_by_accession,
    find_by_study_uid,
    find_order,
    next_accession_number,
)
from storage.contract.accession_numbers import is_form_of_site
from storage.contract.identifiers import Uid, new_id, new_uid
from storage.contract.lanes import Lane
from storage.contract.national_id import (
    IdentityKind,
    NationalIdProblem,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import Order, OrderOrigin, OrderState, explain_faults

ACTOR: Final = "hl7"
_EMERGENCIES: Final = frozenset({Lane.STAT, Lane.URGENT})
_OF_IDENTITY: Final = frozenset({"birth_date_differs", "sex_differs", "identity_missing"})
_RESIDENTS: Final = {IdentityKind.RESIDENT: parse_resident_id, IdentityKind.OLD_RESIDENT: parse_old_resident_id}
# ORC-5 of a status message, HL7 table 0038.
_STATES: Final = {"IP": OrderState.IN_PROGRESS, "CM": OrderState.DONE, "DC": OrderState.DISCONTINUED}
_CANCELLED: Final = frozenset({"CA"})

# Where a field of an order is looked for in a message that does not say where it was read from.
_PLACES: Final[Mapping[str, str]] = {
    "patient_number": "PID-3",
    "patient_name": "PID-5",
    "patient_name_latin": "PID-5",
    "birth_date": "PID-7",
    "sex": "PID-8",
    "identity_number": "PID-3",
    "identity_kind": "PID-3",
    "allergies": "AL1-3",
    "visit_kind": "PV1-2",
    "visit_number": "PV1-19",
    "pregnancy": "OBX-5",
    "modality": "OBR-24",
    "procedure_name": "OBR-4",
    "accession_number": "OBR-18",
    "state_reason": "ORC-16",
    "name_missing": "PID-5",
    "pregnant_man": "PID-8",
    "birth_date_future": "PID-7",
    "birth_date_differs": "PID-7",
    "sex_differs": "PID-8",
    "reason_missing": "ORC-16",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where orders are entered, and when."""

    journal: Journal
    connection: sqlite3.Connection
    identity: Identity
    now: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one request. `left_out`: what an emergency was not made to wait for."""

    request: OrderRequest
    order: Order
    left_out: tuple[Fault, ...] = ()


def apply_request(site: Site, request: OrderRequest) -> Done:
    """Do what one ORC asks. Raises OrderFaulty, after which the transaction must be rolled back."""
    held = _find_held(site, request)
    if request.control is Control.NEW:
        return _enter(site, request, held)
    if held is None:
        words = "no order is known here by this number: send it as a new one (NW) first"
        raise _fault(request, "ORC-2", ErrorCode.UNKNOWN_KEY_IDENTIFIER, words)
    if held.patient_number != request.fields.get("patient_number"):
        words = "the order of this number is another patient's"
        raise _fault(request, "PID-3", ErrorCode.UNKNOWN_KEY_IDENTIFIER, words)
    is_status = request.control is Control.STATUS
    if request.control is Control.CANCEL or (is_status and request.status in _CANCELLED):
        return _cancel(site, request, held)
    if is_status and request.status in _STATES:
        return _set_state(site, request, held)
    return _change(site, request, held)


def has_study(journal: Journal, order: Order) -> bool:
    """Return whether images of an order have come: under its accession number or its Study Instance UID."""
    query = "SELECT 1 FROM studies WHERE accession_number = ? OR study_uid = ? LIMIT 1"
    return bool(journal.read(query, (order.accession_number, order.study_uid)))


def _find_held(site: Site, request: OrderRequest) -> Order | None:
    """Return the order that is meant: by the placer's number, else by the accession number."""
    if request.placer_number:
        order_id = find_order_of_placer(site.journal, request.placer_namespace, request.placer_number)
        row = find_order(site.journal, order_id) if order_id else None
        if row is not None:
            return row.order
        if request.control is Control.NEW:
            return None  # another order's accession number is a contradiction
    row = find_by_accession(site.journal, request.accession_number) if request.accession_number else None
    return row.order if row is not None else None


def _enter(site: Site, request: OrderRequest, held: Order | None) -> Done:
    if held is not None:
        order, left_out = _validate(request, held.model_dump() | _typed(site, request, held))
        if _is_same(held, order):
            return Done(request, held, left_out)
        words = "an order of this number is here already and says something else: change it by XO"
        raise _fault(request, "ORC-2", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words)
    own = {
        "order_id": new_id(),
        "version": 1,
        "site_id": site.identity.site_id,
        "origin": OrderOrigin.HL7,
        "entered_by": ACTOR,
        "entered_at": site.now,
        "changed_at": site.now,
    }
    values = (
        {"scheduled_at": site.now, "study_uid": new_uid(), "accession_number": "0"} | _typed(site, request, None) | own
    )
    _require_free(site, request)
    order, left_out = _validate(request, values)
    if not request.accession_number:  # no number is spent on what is refused
        number = next_accession_number(site.connection, site.identity.site_id, site.identity.gateway_id)
        order = order.model_copy(update={"accession_number": number})
    add_order(site.connection, order)
    if request.placer_number:
        name_by_placer(site.connection, request.placer_namespace, request.placer_number, order.order_id)
    record_action(site.connection, site.now, ACTOR, "order_entered", order.order_id, version=order.version)
    return Done(request, order, left_out)


def _change(site: Site, request: OrderRequest, held: Order) -> Done:
    _require_open(request, held)
    if request.accession_number and request.accession_number != held.accession_number:
        if has_study(site.journal, held):
            words = "images have come under the order's accession number: it cannot get another"
            raise _fault(request, "", ErrorCode.RECORD_LOCKED, words, of="accession_number")
        _require_free(site, request, held)
    order, left_out = _validate(request, held.model_dump() | _typed(site, request, held))
    if _is_same(held, order):
        return Done(request, held, left_out)
    return Done(request, _replace(site, held, order.model_dump(), "order_changed"), left_out)


def _cancel(site: Site, request: OrderRequest, held: Order) -> Done:
    if held.state is OrderState.CANCELLED:
        return Done(request, held)
    if has_study(site.journal, held):
        words = "images of this order have come: it cannot be cancelled; withdraw the study at the clinic's console"
        raise _fault(request, "ORC-1", ErrorCode.RECORD_LOCKED, words)
    _require_open(request, held)
    changes = {"state": OrderState.CANCELLED, "state_reason": request.reason or "cancelled by the HIS"}
    order, _ = _validate(request, held.model_dump() | changes)
    return Done(request, _replace(site, held, order.model_dump(), "order_cancelled"))


def _set_state(site: Site, request: OrderRequest, held: Order) -> Done:
    """Note what the RIS says of the examination; what is known to be further already stays."""
    state = _STATES[request.status]
    if held.state not in OPEN_STATES or held.state is state:
        return Done(request, held)
    order, _ = _validate(request, held.model_dump() | {"state": state, "state_reason": request.reason})
    return Done(request, _replace(site, held, order.model_dump(), "order_changed"))


def _replace(site: Site, held: Order, values: dict[str, Any], verb: str) -> Order:
    order = Order.model_validate(values | {"version": held.version + 1, "changed_at": site.now})
    change_order(site.connection, order)
    record_action(site.connection, site.now, ACTOR, verb, order.order_id, version=order.version)
    return order


def _require_open(request: OrderRequest, held: Order) -> None:
    if held.state not in OPEN_STATES:
        words = "the examination is over or the order was cancelled: nothing of it can be changed any more"
        raise _fault(request, "ORC-1", ErrorCode.RECORD_LOCKED, words)


def _require_free(site: Site, request: OrderRequest, held: Order | None = None) -> None:
    """Let pass numbers that no other order has or will get."""
    number, own_id = request.accession_number, held.order_id if held is not None else ""
    holder = find_by_accession(site.journal, number) if number else None
    if holder is not None and holder.order.order_id != own_id:
        is_same_patient = holder.order.patient_number == request.fields.get("patient_number")
        same = "another order of this patient has this accession number already"
        other = "the order of this accession number is another patient's"
        words = same if is_same_patient else other
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="accession_number")
    if number and holder is None and is_form_of_site(site.identity.site_id, number):
        words = "this accession number has the form of those that this gateway gives: leave it empty or use another"
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="accession_number")
    uid = request.fields.get("study_uid")
    row = find_by_study_uid(site.journal, Uid(uid)) if uid else None
    if (
        row is not None
        and row.order.order_id != own_id
        and row.order.patient_number != request.fields["patient_number"]
    ):
        words = "another patient's order has this Study Instance UID"
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="study_uid")


def _typed(site: Site, request: OrderRequest, held: Order | None) -> dict[str, Any]:
    """Return the fields that were sent, with what a resident's number says where that was left out."""
    fields = dict(request.fields)
    if request.accession_number:
        fields["accession_number"] = request.accession_number
    if held is not None and not fields.get("study_uid"):
        fields.pop("study_uid", None)
    parse = _RESIDENTS.get(fields.get("identity_kind", IdentityKind.NONE))
    if parse is not None:
        try:
            resident = parse(fields["identity_number"], today=site.now.date() + timedelta(days=1))
        except NationalIdProblem:
            return fields  # the order's own check tells it
        if fields["identity_kind"] is IdentityKind.RESIDENT:
            fields["identity_number"] = resident.number
        fields["birth_date"] = fields.get("birth_date") or resident.birth_date
        fields["sex"] = fields.get("sex") or resident.sex
    return fields


def _validate(request: OrderRequest, values: dict[str, Any]) -> tuple[Order, tuple[Fault, ...]]:
    """Return the order. An emergency waits for no identity: its number is left out, and that is told."""
    try:
        return Order.model_validate(values), ()
    except ValidationError as exc:
        found = explain_faults(exc)
        faults = tuple(_told(request, fault.field, fault.code, fault.words) for fault in found)
    is_of_identity = all(one.code in _OF_IDENTITY or one.code.startswith("national_id_") for one in found)
    if values.get("lane") not in _EMERGENCIES or not is_of_identity:
        raise OrderFaulty(*faults)
    without = values | {"identity_kind": IdentityKind.NONE, "identity_number": ""}
    return _validate(request, without)[0], faults


def _told(request: OrderRequest, name: str, code: str, words: str) -> Fault:
    """Return a broken rule of orders as the place in the message that has to be mended."""
    if code.startswith("national_id_"):
        where = "PID-3"
    else:
        where = request.sources.get(name) or _PLACES.get(name) or _PLACES.get(code) or "ORC-1"
    missing = code in {"missing", "string_too_short", "name_missing", "reason_missing"}
    kind = ErrorCode.REQUIRED_FIELD_MISSING if missing else ErrorCode.DATA_TYPE_ERROR
    return Fault(where, kind, words, order=request.number)


def _is_same(one: Order, other: Order) -> bool:
    of_version = {"version", "changed_at"}
    return one.model_dump(exclude=of_version) == other.model_dump(exclude=of_version)


def _fault(request: OrderRequest, where: str, code: ErrorCode, words: str, *, of: str = "") -> OrderFaulty:
    place = where or request.sources.get(of) or _PLACES.get(of, "ORC-2")
    return OrderFaulty(Fault(place, code, words, order=request.number))
