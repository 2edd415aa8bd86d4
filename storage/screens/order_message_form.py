"""A refused order message as the order's form: what could be read filled in, what was wrong beside its field. Pure.

The words of what was wrong are English texts that the screens have in their languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from storage.contract.national_id import IdentityKind
from storage.hl7.faults import ErrorCode, Fault
from storage.hl7.order_message import OrderRequest
from storage.screens import order_form

# Which field of the form a place in a message fills; what is not here is told above the form.
_FIELDS: Final[Mapping[str, str]] = {
    "PID-5": "patient_name",
    "PID-7": "birth_date",
    "PID-8": "sex",
    "PID-19": "identity_number",
    "PV1-2": "visit_kind",
    "PV1-19": "visit_number",
    "AL1-3": "allergies",
    "IPC-1": order_form.ACCESSION,
    "OBR-18": order_form.ACCESSION,
    "ORC-3": order_form.ACCESSION,
    "OBR-3": order_form.ACCESSION,
    "IPC-5": "modality",
    "OBR-24": "modality",
    "OBR-4": "procedure_name",
    "OBR-44": "procedure_name",
    "OBR-15": "body_part",
    "IPC-9": "station_ae_title",
    "TQ1-9": "lane",
    "OBR-27.6": "lane",
    "ORC-7.6": "lane",
    "OBR-5": "lane",
    "TQ1-7": "scheduled_at",
    "OBR-27.4": "scheduled_at",
    "ORC-7.4": "scheduled_at",
    "OBR-36": "scheduled_at",
    "OBR-13": "history",
    "OBR-31": "question",
    "OBX-5": "pregnancy",
    "ORC-12": "requesting_physician",
    "OBR-16": "requesting_physician",
    "ORC-17": "requesting_department",
    "ORC-14": "contact_phone",
    "OBR-17": "contact_phone",
}
_IDENTIFIERS: Final = "PID-3"  # the patient's number and the identity number
_OF_THE_NUMBER: Final = frozenset({ErrorCode.REQUIRED_FIELD_MISSING, ErrorCode.UNKNOWN_KEY_IDENTIFIER})


@dataclass(frozen=True, slots=True)
class MessageOrder:
    """One order of a refused HL7 message: its number there, and how many of them are still to be made."""

    message_id: int
    number: int
    count: int


def prefill(request: OrderRequest, now: datetime, zone: ZoneInfo) -> dict[str, str]:
    """Return what the form shows of an order of a message: what it says, and of the rest what an empty form has."""
    text = order_form.empty_form(now, zone) | {"identity_kind": IdentityKind.NONE}
    return text | said(request, zone) | {order_form.ACCESSION: request.accession_number}


def said(request: OrderRequest, zone: ZoneInfo) -> dict[str, str]:
    """Return what the form shows of that which an order of a message says."""
    return {name: _written(value, zone) for name, value in request.fields.items() if name in order_form.NEW_NAMES}


def place_faults(faults: Iterable[Fault]) -> dict[str, Fault]:
    """Return what was wrong, the first of each field of the form; under the empty name what no field of it mends."""
    placed: dict[str, Fault] = {}
    for fault in faults:
        placed.setdefault(field_of(fault), fault)
    return placed


def field_of(fault: Fault) -> str:
    """Return the field of the form that was wrong, empty for what the form does not ask."""
    if fault.where.partition(".")[0] == _IDENTIFIERS:
        return "patient_number" if fault.code in _OF_THE_NUMBER else "identity_number"
    return _FIELDS.get(fault.where) or _FIELDS.get(re.sub(r"\..*", "", fault.where), "")


def _written(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, datetime):
        return order_form.form_moment(value, zone)
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value)
