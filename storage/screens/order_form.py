"""The order's form: what was typed made into an order's fields, and what is wrong with it beside each field. Pure.

Nothing that was typed is lost: the form comes back with it. Words are keys of the catalogues, `fault.CODE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from storage.contract.lanes import Lane
from storage.contract.national_id import (
    IdentityKind,
    NationalIdProblem,
    ResidentId,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import (
    CHILDREN_AT_ONCE_MAX,
    MODALITIES,
    GreenChannel,
    Order,
    OrderFault,
    OrderGap,
    Pregnancy,
    VisitKind,
    explain_faults,
    find_gaps,
)
from storage.dicom.person_name import parse_written_name

USUAL_MODALITIES: Final = ("CT", "DX", "CR", "MR", "US", "MG", "RF", "XA", "ECG", "ES")
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {  # what a list on the form offers, the usual first
    "sex": ("M", "F", "O"),
    "identity_kind": tuple(IdentityKind),
    "lane": tuple(Lane),
    "green_channel": tuple(GreenChannel),
    "visit_kind": tuple(VisitKind),
    "pregnancy": tuple(answer for answer in Pregnancy if answer),
    "modality": (*USUAL_MODALITIES, *sorted(MODALITIES - set(USUAL_MODALITIES))),
    "birth_order": tuple(str(number) for number in range(1, CHILDREN_AT_ONCE_MAX + 1)),
}
TEXTS: Final = (
    "patient_number",
    "patient_name",
    "patient_name_latin",
    "identity_number",
    "visit_number",
    "modality",
    "station_ae_title",
    "body_part",
    "procedure_name",
    "history",
    "question",
    "allergies",
    "requesting_physician",
    "requesting_department",
    "contact_phone",
)
CHOICES: Final = ("sex", "identity_kind", "lane", "green_channel", "visit_kind", "pregnancy")
NAMES: Final = (*TEXTS, *CHOICES, "birth_date", "birth_order", "scheduled_at", "consent_recorded")
PERSONS: Final = ("patient_name", "patient_name_latin", "requesting_physician")  # shown and typed as people write them
STORED: Final = "_stored"  # behind the name of such a field: the PN that the page shows in it
ACCESSION: Final = "accession_number"  # asked of a new order only: scanners know an order by it
NEW_NAMES: Final = (ACCESSION, *NAMES)

# A fault between fields is told beside the one that is most often mended.
_PLACES: Final = {
    "name_missing": "patient_name",
    "pregnant_man": "pregnancy",
    "green_channel_lane": "lane",
    "birth_date_future": "birth_date",
    "identity_missing": "identity_number",
    "identity_kind_missing": "identity_kind",
    "birth_date_differs": "birth_date",
    "sex_differs": "sex",
}
# What the checks of the contract call by several names, depending on where in a field's rule they stand.
_SAME: Final = {"string_too_long": "too_long", "string_too_short": "too_short", "missing": "too_short"}
_STAND_INS: Final = {
    ACCESSION: "0",
    "patient_number": "0",
    "patient_name": "-",
    "modality": "OT",
    "procedure_name": "-",
    "lane": Lane.STAT,
}
_NATIONAL_ID: Final = "national_id_"
_HELD: Final = frozenset({Lane.ROUTINE, Lane.BACKGROUND})  # an emergency waits for no form
_ASKED: Final = frozenset({OrderGap.HISTORY, OrderGap.QUESTION, OrderGap.CONSENT})
_READ_FROM: Final = {
    IdentityKind.RESIDENT: parse_resident_id,
    IdentityKind.OLD_RESIDENT: parse_old_resident_id,
}


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field: `fault.CODE` has the words; `limit` is the most characters that it takes."""

    field: str
    code: str
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody typed. `fields` are for an `Order`, `text` is what the form shows again."""

    text: Mapping[str, str]
    fields: Mapping[str, Any]
    faults: tuple[FieldFault, ...] = field(default=())


def read_form(form: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> Typed:
    """Return what was typed; the resident number fills a date of birth and a sex that were left out.

    Names are PN in `text` and `fields`; a page shows them as people write them and sends beside them what it shows so.
    """
    text = {name: _text(form, name) for name in NEW_NAMES}
    written = [name for name in PERSONS if name + STORED in form]
    text |= {name: parse_written_name(text[name], _text(form, name + STORED)) for name in written}
    fields: dict[str, Any] = {name: text[name] for name in TEXTS}
    fields |= {name: text[name].strip() for name in CHOICES}
    fields["identity_kind"] = fields["identity_kind"] or IdentityKind.NONE
    fields["green_channel"] = fields["green_channel"] or None
    fields["birth_date"] = text["birth_date"].strip() or None
    fields["birth_order"] = text["birth_order"].strip() or None
    fields["consent_recorded"] = text["consent_recorded"] == "yes"
    if text[ACCESSION].strip():
        fields[ACCESSION] = text[ACCESSION]
    faults = []
    if text["scheduled_at"].strip():
        try:
            fields["scheduled_at"] = _parse_moment(text["scheduled_at"].strip(), zone)
        except ValueError:
            faults.append(FieldFault("scheduled_at", "datetime_form"))
    resident = find_resident(fields["identity_kind"], fields["identity_number"], now)
    if resident is not None:
        if fields["identity_kind"] == IdentityKind.RESIDENT:
            fields["identity_number"] = resident.number
        fields["birth_date"] = fields["birth_date"] or resident.birth_date
        fields["sex"] = fields["sex"] or resident.sex
    return Typed(text, fields, tuple(faults))


def _text(form: Mapping[str, Any], name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def find_resident(kind: str, number: str, now: datetime) -> ResidentId | None:
    """Return what a resident's identity number says, None where it is of another kind or wrong."""
    parse = _READ_FROM.get(IdentityKind(kind)) if kind in set(IdentityKind) else None
    if parse is None or not number.strip():
        return None
    try:
        return parse(number, today=now.date() + timedelta(days=1))
    except NationalIdProblem:
        return None


def form_of(order: Order, zone: ZoneInfo) -> dict[str, str]:
    """Return what the form shows of an order."""
    text = {name: str(getattr(order, name) or "") for name in NAMES}
    text["consent_recorded"] = "yes" if order.consent_recorded else ""
    text["birth_date"] = order.birth_date.isoformat() if order.birth_date is not None else ""
    text["scheduled_at"] = form_moment(order.scheduled_at, zone)
    return text


def empty_form(now: datetime, zone: ZoneInfo) -> dict[str, str]:
    """Return an empty form."""
    text = dict.fromkeys(NEW_NAMES, "")
    return text | {
        "identity_kind": IdentityKind.RESIDENT,
        "lane": Lane.ROUTINE,
        "visit_kind": "O",
        "scheduled_at": form_moment(now, zone),
    }


def form_moment(at: datetime, zone: ZoneInfo) -> str:
    """Return a time as a browser's field for date and time has it, in the clinic's zone."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def check(values: Mapping[str, Any]) -> tuple[Order | None, tuple[FieldFault, ...]]:
    """Return the order, or everything that is wrong with it, each beside a field of the form.

    The contract stops at the first contradiction, and looks for none while a single field is wrong. So what is wrong is
    taken out and the rest looked at again, until nothing is wrong with it.
    """
    found: dict[str, FieldFault] = {}
    rest = dict(values)
    while True:
        try:
            order = Order.model_validate(rest)
        except ValidationError as exc:
            news = [fault for fault in place_faults(explain_faults(exc)) if fault.field not in found]
            if not news:
                return None, tuple(found.values())
            for fault in news:
                found[fault.field] = fault
                rest |= _without(fault.field)
        else:
            return (None, tuple(found.values())) if found else (order, ())


def _without(name: str) -> dict[str, Any]:
    """Return what nobody can find wrong in the place of a field."""
    if name in {"identity_number", "identity_kind"}:
        return {"identity_number": "", "identity_kind": IdentityKind.NONE}
    if name in _STAND_INS:
        return {name: _STAND_INS[name]}
    return {name: Order.model_fields[name].get_default()} if name else {}


def place_faults(faults: Iterable[OrderFault]) -> tuple[FieldFault, ...]:
    """Return what is wrong, each beside a field of the form; `field` stays empty for what no field of it mends."""
    placed = []
    for fault in faults:
        name = fault.field or _PLACES.get(fault.code, "")
        if not name and fault.code.startswith(_NATIONAL_ID):
            name = "identity_number"
        code = _SAME.get(fault.code, fault.code)
        placed.append(FieldFault(name if name in NEW_NAMES else "", code, limit_of(name)))
    return tuple(placed)


def limit_of(name: str) -> int:
    """Return how many characters a field takes at most, 0 where the contract says nothing."""
    info = Order.model_fields.get(name)
    rules = info.metadata if info is not None else []
    return max((int(getattr(rule, "max_length", None) or 0) for rule in rules), default=0)


def gaps_to_ask(order: Order, confirmed: Sequence[str]) -> tuple[OrderGap, ...]:
    """Return what a person should say that it is missing on purpose; nothing in a lane that cannot wait."""
    if order.lane not in _HELD:
        return ()
    return tuple(gap for gap in find_gaps(order) if gap in _ASKED and gap not in confirmed)


def differences(typed: Mapping[str, str], saved: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that are saved otherwise than typed, with what is saved."""
    return {name: saved[name] for name in NAMES if _plain(typed[name]) != _plain(saved[name])}


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _parse_moment(text: str, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None or not date(2000, 1, 1) <= moment.date() <= date(2199, 12, 31):
        raise ValueError("no local time of an order")
    return moment.replace(tzinfo=zone)
