"""Whether an order and images, or images alone, name one person; and what a doubt about it stops. Pure.

What one side does not say contradicts nothing. A doubt holds a case up that can wait, until a person has settled it; an
emergency goes on with a warning. Nobody signs over a doubt
without saying so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from storage.contract.lanes import Lane
from storage.contract.national_id import (
    RESIDENT_ID_CHARACTERS,
    IdentityKind,
    NationalIdProblem,
    ResidentId,
    parse_old_resident_id,
    parse_resident_id,
)
from storage.contract.orders import Order

NEVER_HELD: Final = frozenset({Lane.STAT, Lane.URGENT})
CHECKSUM: Final = "national_id_checksum"


class Mismatch(StrEnum):
    """What stands against the belief that it is one person."""

    ID_CHECKSUM = "id_checksum"  # a number with the form of a national ID whose last character does not prove it
    NATIONAL_ID = "national_id"  # order and images have two different national IDs
    ID_BIRTH_DATE = "id_birth_date"  # a national ID holds another birth date than the images
    ID_SEX = "id_sex"
    NAME = "name"
    BIRTH_DATE = "birth_date"
    SEX = "sex"


class Settlement(StrEnum):
    """How a doubt ended."""

    CONFIRMED = "confirmed"  # a person at the site or a coordinator: it is the same patient
    UNLINKED = "unlinked"  # the order is not of this study
    CORRECTED = "corrected"  # the order was wrong, and was changed
    AGREED = "agreed"  # order or images have changed, and nothing contradicts any more
    SIGNED = "signed"  # the verifier has signed over it, by name


@dataclass(frozen=True, slots=True)
class Imaged:
    """What the images say of the patient; `number` is Patient ID (0010,0020), empty where there is none."""

    number: str
    birth_date: date | None
    sex: str


def find_mismatches(order: Order | None, images: Imaged, *, names_differ: bool, today: date) -> tuple[Mismatch, ...]:
    """Return what contradicts, in the order of `Mismatch`; nothing when all that is said agrees.

    `names_differ` says that both have a name and that these cannot be one. `today` is the last day that can be one.
    """
    own, is_broken = _read_number(images.number, today)
    number = None
    if order is not None:
        number, broken_order = _number_of(order, today)
        is_broken = is_broken or broken_order
    numbers = [one for one in (own, number) if one is not None]
    found = {
        Mismatch.ID_CHECKSUM: is_broken,
        Mismatch.NATIONAL_ID: len({one.number for one in numbers}) > 1,
        Mismatch.ID_BIRTH_DATE: any(_differ(one.birth_date, images.birth_date) for one in numbers),
        Mismatch.ID_SEX: any(_sexes_differ(one.sex, images.sex) for one in numbers),
        Mismatch.NAME: order is not None and _is_named(order) and names_differ,
        Mismatch.BIRTH_DATE: order is not None and _differ(order.birth_date, images.birth_date),
        Mismatch.SEX: order is not None and _sexes_differ(order.sex, images.sex),
    }
    return tuple(mismatch for mismatch, is_so in found.items() if is_so)


def may_wait(lane: str) -> bool:
    """Return whether a case of this lane is held while it is in doubt whose it is."""
    return Lane(lane) not in NEVER_HELD


def must_confirm(lane: str, *, is_final: bool) -> bool:
    """Return whether a signature over an open doubt needs the signer's own word.

    Every final one does. The author of an emergency's report need not wait for anything: it is preliminary.
    """
    return is_final or may_wait(lane)


def _number_of(order: Order, today: date) -> tuple[ResidentId | None, bool]:
    """Return the patient's own national ID on an order, and whether its check character is wrong.

    A newborn's number is the mother's.
    """
    if order.identity_kind is IdentityKind.NEWBORN:
        return None, False
    if order.identity_kind is IdentityKind.OLD_RESIDENT:
        return parse_old_resident_id(order.identity_number, today=today), False
    return _read_number(order.identity_number, today)


def _read_number(text: str, today: date) -> tuple[ResidentId | None, bool]:
    """Return the national ID that a text is, and whether it is one but for its check character.

    Other numbers of the same length hold no province and date of birth, so that they are not taken for one.
    """
    if len(text.strip()) != RESIDENT_ID_CHARACTERS:
        return None, False
    try:
        return parse_resident_id(text, today=today), False
    except NationalIdProblem as problem:
        return None, problem.code == CHECKSUM


def _is_named(order: Order) -> bool:
    """A newborn has its mother's name in one system and none in the other; who is unnamed has none."""
    return order.identity_kind not in {IdentityKind.NEWBORN, IdentityKind.UNNAMED}


def _differ(one: date | None, other: date | None) -> bool:
    return None not in (one, other) and one != other


def _sexes_differ(one: str, other: str) -> bool:
    return {one, other} == {"M", "F"}
