"""What two versions of one order say differently, and which of it a reader must hear of before signing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from storage.contract.order_merge import OF_EXAMINATION
from storage.contract.orders import Order, OrderState

# What makes a version, and who made the order; none of it is what the order says.
_OF_RECORD: Final = frozenset({"format", "order_id", "version", "site_id", "origin", "entered_by", "entered_at"})
_NOT_SAID: Final = _OF_RECORD | {"changed_at"}
# What a reader reads an examination by: in the order in which it is told.
TOLD: Final = (
    "lane",
    "green_channel",
    "question",
    "history",
    "allergies",
    "pregnancy",
    "procedure_name",
    "body_part",
    "patient_number",
    "patient_name",
    "birth_date",
    "sex",
)
# Told of an order as a whole: it was not there when the reading began, or is not there any more.
ADDED: Final = "order_added"
CANCELLED: Final = "order_cancelled"


def changed_fields(before: Order, after: Order) -> tuple[str, ...]:
    """Return the names of the fields that differ, in the order of `Order`."""
    names = (name for name in Order.model_fields if name not in _NOT_SAID)
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


def typed_fields(fields: Iterable[str]) -> tuple[str, ...]:
    """Return those that people typed: without what the scanner reports of the examination."""
    return tuple(name for name in fields if name not in OF_EXAMINATION)


def news_of(before: Order, after: Order) -> tuple[str, ...]:
    """Return what people changed: names of fields, or `CANCELLED` where the order does not count any more."""
    if after.state is OrderState.CANCELLED:
        return (CANCELLED,) if before.state is not OrderState.CANCELLED else ()
    return typed_fields(changed_fields(before, after))


def told_fields(fields: Iterable[str]) -> tuple[str, ...]:
    """Return those that a reader must hear of, in the order of `TOLD`."""
    changed = set(fields)
    return tuple(name for name in (ADDED, CANCELLED, *TOLD) if name in changed)
