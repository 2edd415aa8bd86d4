"""Whether an order and images name the same person. Pure."""

from __future__ import annotations

from storage.contract.national_id import IdentityKind
from storage.contract.orders import Order


def find_person_differences(order: Order, number: str, name: str) -> list[str]:
    """Return `patient_number` and `patient_name` where the images have others; what one side lacks is no difference.

    `number`: Patient ID (0010,0020). `name`: Patient's Name (0010,0010) with its component groups.
    """
    newborn = order.identity_kind is IdentityKind.NEWBORN
    unnamed = order.identity_kind is IdentityKind.UNNAMED
    names = {_plain(group) for group in name.split("=") if group}
    own = {_plain(one) for one in (order.patient_name, order.patient_name_latin) if one}
    differs = {
        "patient_number": bool(number) and order.patient_number != number,
        "patient_name": bool(names and own) and not names & own and not (unnamed or newborn),
    }
    return [field for field, is_different in differs.items() if is_different]


def _plain(name: str) -> str:
    """Return a name without what is written one way here and another way there."""
    return "".join(character for character in name.casefold() if character.isalnum())
