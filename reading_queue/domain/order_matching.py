"""Which order is perhaps of which study, by patient, modality and day. Pure.

What comes of it is a proposal that a person confirms or rejects: nothing is ever joined by likeness alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, tzinfo
from enum import StrEnum
from typing import Final

from storage.contract.national_id import IdentityKind
from storage.contract.order_patient import find_person_differences
from storage.contract.orders import Order

DAYS_APART_MAX: Final = 3
OF_PERSON: Final = ("patient_number", "patient_name", "patient_name_latin", "birth_date", "sex", "identity_number")
# Names under which devices send one and the same kind of examination.
_SAME_KIND: Final = {"CR": "DX", "RG": "DX", "RF": "XA"}


class SamePatient(StrEnum):
    """What speaks for it that order and study are of one patient."""

    NUMBER = "number"  # the clinic's patient number, and nothing against it
    PERSON = "person"  # name, birth date and sex; the number is another one or missing


@dataclass(frozen=True, slots=True)
class StudyOfPatient:
    """What is compared of a study; `name` is PN with its component groups, `day` that of the examination."""

    site_id: str
    study_uid: str
    patient_number: str
    name: str
    birth_date: date | None
    sex: str
    modalities: tuple[str, ...]
    day: date


@dataclass(frozen=True, slots=True)
class Likeness:
    """What speaks for it that an order and a study belong together."""

    same: SamePatient
    days_apart: int


def compare(order: Order, study: StudyOfPatient, zone: tzinfo) -> Likeness | None:
    """Return that the two may belong together, None when modality, day or patient speak against it."""
    if _kind(order.modality) not in {_kind(modality) for modality in study.modalities}:
        return None
    days_apart = abs((order.scheduled_at.astimezone(zone).date() - study.day).days)
    same = _find_sameness(order, study)
    if days_apart > DAYS_APART_MAX or same is None:
        return None
    return Likeness(same, days_apart)


def are_two_patients(one: Order, other: Order) -> bool:
    """Return whether two orders are of two people: another patient number, and another name, birth date, sex or ID."""
    if one.patient_number == other.patient_number:
        return False
    residents = {order.identity_number for order in (one, other) if order.identity_kind is IdentityKind.RESIDENT}
    named = "patient_name" in find_person_differences(one, other.patient_number, other.person_name())
    return (
        len(residents) > 1
        or (named and other.identity_kind is not IdentityKind.UNNAMED)
        or _differ(one.birth_date, other.birth_date)
        or {one.sex, other.sex} == {"M", "F"}
    )


def find_contradictions(one: Order, other: Order) -> tuple[str, ...]:
    """Return in which fields two orders cannot both be of one study; empty when one read can answer both.

    What one does not say contradicts nothing. Another modality is another examination, but for two names of one kind.
    """
    residents = {order.identity_number for order in (one, other) if order.identity_kind is IdentityKind.RESIDENT}
    differs = {
        "patient_number": are_two_patients(one, other),
        "identity_number": len(residents) > 1,
        "birth_date": _differ(one.birth_date, other.birth_date),
        "sex": {one.sex, other.sex} == {"M", "F"},
        "modality": _kind(one.modality) != _kind(other.modality),
    }
    return tuple(name for name, is_different in differs.items() if is_different)


def is_same_person(one: Order, other: Order) -> bool:
    """Return whether two orders say the same of who the patient is."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_PERSON)


def _find_sameness(order: Order, study: StudyOfPatient) -> SamePatient | None:
    differing = find_person_differences(order, study.patient_number, study.name)
    contradicts = _differ(order.birth_date, study.birth_date) or {order.sex, study.sex} == {"M", "F"}
    if "patient_name" in differing or contradicts:
        return None
    if order.patient_number == study.patient_number:
        return SamePatient.NUMBER
    is_whole = bool(order.patient_name and study.name and study.birth_date and study.sex)
    same_person = order.birth_date == study.birth_date and order.sex == study.sex
    return SamePatient.PERSON if is_whole and same_person else None


def _differ(one: date | None, other: date | None) -> bool:
    return None not in (one, other) and one != other


def _kind(modality: str) -> str:
    return _SAME_KIND.get(modality, modality)
