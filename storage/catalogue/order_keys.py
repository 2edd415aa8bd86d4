"""The keys under which an order is found: its patient's name, and the beginnings of its numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from storage.catalogue.name_keys import Readings, compact, keys_of_name
from storage.contract.orders import Order

NUMBER: Final = "#"  # before a key of a number: no name has it
KEY_CHARACTERS_MAX: Final = 24


def keys_of_order(order: Order, readings: Readings) -> list[str]:
    """Return all keys of an order; `readings`: how each character is read."""
    names = (order.patient_name, order.patient_name_latin)
    keys = {key for name in names if name for key in keys_of_name(name, readings)}
    for number in (order.accession_number, order.patient_number, order.visit_number):
        letters = compact(number)[:KEY_CHARACTERS_MAX]
        keys |= {NUMBER + letters[:end] for end in range(1, len(letters) + 1)}
    return sorted(keys)


def keys_of_number_search(text: str) -> Sequence[str]:
    """Return the key that an order has one of whose numbers begins so; none for a text without letters and digits."""
    letters = compact(text)[:KEY_CHARACTERS_MAX]
    return [NUMBER + letters] if letters else []
