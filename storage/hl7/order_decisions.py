"""What an order message does to a site's orders, whoever keeps them: gateway and hub decide alike.

Nothing is durable here: an `OrderBook` works within its caller's transaction, so that a message is done as a whole or
not at all, together with the record of it. Done twice it changes nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import ValidationError

from storage.contract.accession_numbers import is_form_of_site
from storage.contract.identifiers import Uid, new_id, new_uid
from storage.contract.national_id import (
    IdentityKind,
    NationalIdProblem,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import Order, OrderOrigin, OrderState, explain_faults
from storage.hl7.faults import ErrorCode, Fault, OrderFaulty
from storage.hl7.message import LOST
from storage.hl7.order_message import EMERGENCIES, Control, OrderRequest

OPEN_STATES: Final = (OrderState.SCHEDULED, OrderState.IN_PROGRESS)
CHANGEABLE_STATES: Final = (*OPEN_STATES, OrderState.DONE)  # it is still to be read
ENDED_UNDONE: Final = (OrderState.CANCELLED, OrderState.DISCONTINUED)
ACTOR: Final = "hl7"  # whose orders these are
CLOCKS_DIFFER: Final = timedelta(minutes=10)
_OF_IDENTITY: Final = frozenset({"birth_date_differs", "sex_differs", "identity_missing"})
_RESIDENTS: Final = {IdentityKind.RESIDENT: parse_resident_id, IdentityKind.OLD_RESIDENT: parse_old_resident_id}
# ORC-5 of a status message, HL7 table 0038.
_STATES: Final = {"IP": OrderState.IN_PROGRESS, "CM": OrderState.DONE, "DC": OrderState.DISCONTINUED}
_CANCELLED: Final = frozenset({"CA"})
_LOST: Final = frozenset({LOST, "?"})  # what systems write for a character that they cannot say

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
    "green_channel_lane": "TQ1-9",
}


class OrderBook(Protocol):
    """Where orders of one site are kept; every method works within the caller's transaction.

    `add`, `replace` and `next_accession_number` write, and raise OrderFaulty where the book cannot take it.
    """

    @property
    def site_id(self) -> str:
        """Whose orders these are."""

    @property
    def now(self) -> datetime:
        """When the message is decided on."""

    def find_by_placer(self, namespace: str, placer_number: str) -> Order | None:
        """Return the order that a placer calls so."""

    def find_by_accession(self, accession_number: str) -> Order | None:
        """Return the order with this accession number."""

    def find_by_study_uid(self, study_uid: Uid) -> Order | None:
        """Return the order for which this Study Instance UID was given out."""

    def has_study(self, order: Order) -> bool:
        """Return whether images of the order have come: under its accession number or its Study Instance UID."""

    def next_accession_number(self) -> str:
        """Return an accession number that nobody at this site has or will get."""

    def add(self, order: Order, request: OrderRequest) -> None:
        """Add the first version of an order, and by which number its placer knows it."""

    def replace(self, order: Order, request: OrderRequest, verb: str) -> None:
        """Put the next version of an order in the place of the one before."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one request. `left_out`: what an emergency was not made to wait for."""

    request: OrderRequest
    order: Order
    left_out: tuple[Fault, ...] = ()


def apply_request(book: OrderBook, request: OrderRequest) -> Done:
    """Do what one ORC asks. Raises OrderFaulty, after which the transaction must be rolled back."""
    held = _find_held(book, request)
    request = _require_past_consent(book, request)
    if request.control is Control.NEW:
        return _enter(book, request, held)
    if held is None:
        words = "no order is known here by this number: send it as a new one (NW) first"
        raise _fault(request, "ORC-2", ErrorCode.UNKNOWN_KEY_IDENTIFIER, words)
    if held.patient_number != request.fields.get("patient_number"):
        words = "the order of this number is another patient's"
        raise _fault(request, "PID-3", ErrorCode.UNKNOWN_KEY_IDENTIFIER, words)
    is_status = request.control is Control.STATUS
    if request.control is Control.CANCEL or (is_status and request.status in _CANCELLED):
        return _cancel(book, request, held)
    if is_status and request.status in _STATES:
        return _set_state(book, request, held)
    return _change(book, request, held)


def _find_held(book: OrderBook, request: OrderRequest) -> Order | None:
    """Return the order that is meant: by the placer's number, else by the accession number."""
    if request.placer_number:
        known = book.find_by_placer(request.placer_namespace, request.placer_number)
        if known is not None:
            return known
        if request.control is Control.NEW:
            return None  # another order's accession number is a contradiction
    return book.find_by_accession(request.accession_number) if request.accession_number else None


def _enter(book: OrderBook, request: OrderRequest, held: Order | None) -> Done:
    if held is not None:
        if held.state in ENDED_UNDONE:
            words = "the order of this number was cancelled or broken off: send a new one under another number"
            raise _fault(request, "ORC-2", ErrorCode.RECORD_LOCKED, words)
        order, left_out = _validate_sent(request, held.model_dump() | _typed(book, request, held))
        if _is_same(held, order):
            return Done(request, held, left_out)
        words = "an order of this number is here already and says something else: change it by XO"
        raise _fault(request, "ORC-2", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words)
    own = {
        "order_id": new_id(),
        "version": 1,
        "site_id": book.site_id,
        "origin": OrderOrigin.HL7,
        "entered_by": ACTOR,
        "entered_at": book.now,
        "changed_at": book.now,
    }
    values = (
        {"scheduled_at": book.now, "study_uid": new_uid(), "accession_number": "0"} | _typed(book, request, None) | own
    )
    _require_free(book, request)
    order, left_out = _validate_sent(request, values)
    if not request.accession_number:  # no number is spent on what is refused
        order = order.model_copy(update={"accession_number": book.next_accession_number()})
    book.add(order, request)
    return Done(request, order, left_out)


def _change(book: OrderBook, request: OrderRequest, held: Order) -> Done:
    _require_open(request, held, CHANGEABLE_STATES)
    if request.accession_number and request.accession_number != held.accession_number:
        if book.has_study(held):
            words = "images have come under the order's accession number: it cannot get another"
            raise _fault(request, "", ErrorCode.RECORD_LOCKED, words, of="accession_number")
        _require_free(book, request, held)
    order, left_out = _validate_sent(request, held.model_dump() | _typed(book, request, held))
    if _is_same(held, order):
        return Done(request, held, left_out)
    return Done(request, _replace(book, request, held, order.model_dump(), "order_changed"), left_out)


def _cancel(book: OrderBook, request: OrderRequest, held: Order) -> Done:
    if held.state is OrderState.CANCELLED:
        return Done(request, held)
    if book.has_study(held):
        words = "images of this order have come: it cannot be cancelled; withdraw the study itself"
        raise _fault(request, "ORC-1", ErrorCode.RECORD_LOCKED, words)
    _require_open(request, held, OPEN_STATES)
    changes = {"state": OrderState.CANCELLED, "state_reason": request.reason or "cancelled by the HIS"}
    order, _ = _validate(request, held.model_dump() | changes)
    return Done(request, _replace(book, request, held, order.model_dump(), "order_cancelled"))


def _set_state(book: OrderBook, request: OrderRequest, held: Order) -> Done:
    """Note what the RIS says of the examination; what is known to be further already stays."""
    state = _STATES[request.status]
    if held.state not in OPEN_STATES or held.state is state:
        return Done(request, held)
    order, _ = _validate(request, held.model_dump() | {"state": state, "state_reason": request.reason})
    return Done(request, _replace(book, request, held, order.model_dump(), "order_changed"))


def _replace(book: OrderBook, request: OrderRequest, held: Order, values: dict[str, Any], verb: str) -> Order:
    order = Order.model_validate(values | {"version": held.version + 1, "changed_at": book.now})
    book.replace(order, request, verb)
    return order


def _require_open(request: OrderRequest, held: Order, states: Collection[OrderState]) -> None:
    if held.state not in states:
        words = "the examination is over or the order was cancelled: nothing of it can be changed any more"
        raise _fault(request, "ORC-1", ErrorCode.RECORD_LOCKED, words)


def _require_past_consent(book: OrderBook, request: OrderRequest) -> OrderRequest:
    """Return the request; a consent that is yet to be given is a fault, and of an emergency left out.

    Clocks of two machines may differ by CLOCKS_DIFFER.
    """
    said = request.consent
    if said is None or said.moment is None or said.moment <= book.now + CLOCKS_DIFFER:
        return request
    words = "the consent is dated in the future"
    fault = Fault(said.at_where, ErrorCode.DATA_TYPE_ERROR, words, order=request.number)
    if request.fields.get("lane") not in EMERGENCIES:
        raise OrderFaulty(fault)
    fields = {name: value for name, value in request.fields.items() if name != "consent_recorded"}
    return replace(request, fields=fields, consent=None, left_out=(*request.left_out, fault))


def _require_free(book: OrderBook, request: OrderRequest, held: Order | None = None) -> None:
    """Let pass numbers that no other order has or will get."""
    number, own_id = request.accession_number, held.order_id if held is not None else ""
    holder = book.find_by_accession(number) if number else None
    if holder is not None and holder.order_id != own_id:
        is_same_patient = holder.patient_number == request.fields.get("patient_number")
        same = "another order of this patient has this accession number already"
        other = "the order of this accession number is another patient's"
        words = same if is_same_patient else other
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="accession_number")
    if number and holder is None and is_form_of_site(book.site_id, number):
        words = "this accession number has the form of those that are given here: leave it empty or use another"
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="accession_number")
    uid = request.fields.get("study_uid")
    row = book.find_by_study_uid(Uid(uid)) if uid else None
    if row is not None and row.order_id != own_id and row.patient_number != request.fields["patient_number"]:
        words = "another patient's order has this Study Instance UID"
        raise _fault(request, "", ErrorCode.DUPLICATE_KEY_IDENTIFIER, words, of="study_uid")


def _typed(book: OrderBook, request: OrderRequest, held: Order | None) -> dict[str, Any]:
    """Return the fields that were sent, with what a resident's number says where that was left out."""
    fields = dict(request.fields)
    if request.accession_number:
        fields["accession_number"] = request.accession_number
    if held is not None and not fields.get("study_uid"):
        fields.pop("study_uid", None)
    parse = _RESIDENTS.get(fields.get("identity_kind", IdentityKind.NONE))
    if parse is not None:
        try:
            resident = parse(fields["identity_number"], today=book.now.date() + timedelta(days=1))
        except NationalIdProblem:
            return fields  # the order's own check tells it
        if fields["identity_kind"] is IdentityKind.RESIDENT:
            fields["identity_number"] = resident.number
        fields["birth_date"] = fields.get("birth_date") or resident.birth_date
        fields["sex"] = fields.get("sex") or resident.sex
    return fields


def _validate_sent(request: OrderRequest, values: dict[str, Any]) -> tuple[Order, tuple[Fault, ...]]:
    """Return the order of a message, and what an emergency was not made to wait for.

    A name that lost characters on its way is told, and only an emergency takes it.
    """
    order, left_out = _validate(request, values)
    left_out = (*request.left_out, *left_out)
    names = {request.fields.get(name, "") for name in ("patient_name", "patient_name_latin")}
    if not any(_LOST & set(name) for name in names):
        return order, left_out
    words = "the patient's name has lost characters on its way (? or U+FFFD): send it as it is written"
    lost = Fault("PID-5", ErrorCode.DATA_TYPE_ERROR, words, order=request.number)
    if order.lane not in EMERGENCIES:
        raise OrderFaulty(lost)
    return order, (*left_out, lost)


def _validate(request: OrderRequest, values: dict[str, Any]) -> tuple[Order, tuple[Fault, ...]]:
    """Return the order. An emergency waits for no identity: its number is left out, and that is told."""
    try:
        return Order.model_validate(values), ()
    except ValidationError as exc:
        found = explain_faults(exc)
        faults = tuple(_told(request, fault.field, fault.code, fault.words) for fault in found)
    is_of_identity = all(one.code in _OF_IDENTITY or one.code.startswith("national_id_") for one in found)
    if values.get("lane") not in EMERGENCIES or not is_of_identity:
        raise OrderFaulty(*faults)
    without = values | {"identity_kind": IdentityKind.NONE, "identity_number": ""}
    return _validate(request, without)[0], faults


def _told(request: OrderRequest, name: str, code: str, words: str) -> Fault:
    """Return a broken rule of orders as the place in the message that has to be mended."""
    if code.startswith("national_id_"):
        where = request.sources.get("identity_number", _PLACES["identity_number"])
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
