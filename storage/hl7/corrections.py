"""Refused order messages that a person makes orders of, and their repetitions, which are known again. Pure.

A gateway's console and the hub's desk open the same orders of a message, and know the same repetitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from storage.contract.orders import Order
from storage.hl7.faults import Fault
from storage.hl7.message import Message
from storage.hl7.order_decisions import ENDED_UNDONE, Done
from storage.hl7.order_message import Control, OrderRequest

_MAKE_ORDERS: Final = frozenset({Control.NEW, Control.CHANGE})
_HEADER: Final = "MSH"
_WRITTEN_AT: Final = ("ORC", 9)


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One order of a refused message. `faults`: those of this order, and those of the patient.

    `known`: the order that is here already, as `find_known` finds it.
    """

    request: OrderRequest
    faults: tuple[Fault, ...]
    known: Order | None

    @property
    def is_open(self) -> bool:
        """Return whether a person may make an order of it."""
        return self.known is None and self.request.control in _MAKE_ORDERS

    @property
    def is_change(self) -> bool:
        """Return whether it says something else of an order of this patient that is here."""
        is_known = self.known is not None and _is_of_patient(self.known, self.request)
        return is_known and self.request.control is not Control.CANCEL


def find_known(
    request: OrderRequest,
    by_placer: Callable[[str, str], Order | None],
    by_accession: Callable[[str], Order | None],
) -> Order | None:
    """Return the order that is here already: by the placer's namespace and number, else by the accession number.

    By that only where an order of this patient is to be changed, cancelled or told of.
    """
    if request.placer_number:
        known = by_placer(request.placer_namespace, request.placer_number)
        if known is not None:
            return known
    if request.control is Control.NEW or not request.accession_number:
        return None
    known = by_accession(request.accession_number)
    return known if known is not None and _is_of_patient(known, request) else None


def orders_of(
    requests: Iterable[OrderRequest], faults: Iterable[Fault], find: Callable[[OrderRequest], Order | None]
) -> list[OpenOrder]:
    """Return the orders of a refused message, also those that are here already; `faults` are all of the message."""
    told = tuple(dict.fromkeys(faults))
    return [
        OpenOrder(
            request,
            tuple(fault for fault in told if fault.order == request.number or fault.where.startswith("PID")),
            find(request),
        )
        for request in requests
    ]


def known_ids(orders: Iterable[OpenOrder]) -> list[str]:
    """Return the ids of the orders that are here already, each once."""
    return list(dict.fromkeys(one.known.order_id for one in orders if one.known is not None))


def all_made(requests: Sequence[OrderRequest], made: Mapping[int, Order | None]) -> tuple[Done, ...]:
    """Return what became of a message whose orders people have made, by number; nothing where one is still open."""
    rows = [(request, made.get(request.number)) for request in requests]
    if any(order is None for _, order in rows):
        return ()
    return tuple(Done(request, order) for request, order in rows if order is not None)


def is_of_header(faults: Iterable[Fault]) -> bool:
    """Return whether it was the message's header that was wrong, whatever its orders say."""
    return any(fault.where.startswith(_HEADER) for fault in faults)


def made_of_repeated(original: Message | None, message: Message, made: tuple[Done, ...]) -> tuple[Done, ...]:
    """Return what became of a faulty message that says what `original` said, of which people made these orders.

    Nothing for any other, nor where one of them was cancelled or broken off since. Its header may differ, and when its
    orders were written down (ORC-9).
    """
    is_repeated = original is not None and say_the_same(original, message)
    return made if is_repeated and all(one.order.state not in ENDED_UNDONE for one in made) else ()


def say_the_same(one: Message, other: Message) -> bool:
    """Return whether two messages differ in nothing but their headers and when their orders were written (ORC-9)."""
    return _body(one) == _body(other)


def _is_of_patient(order: Order, request: OrderRequest) -> bool:
    return order.patient_number == request.fields.get("patient_number")


def _body(message: Message) -> list[list[str]]:
    return [
        [field for number, field in enumerate(fields) if (fields[0], number) != _WRITTEN_AT]
        for fields in message.segments
        if fields[0] != _HEADER
    ]
