"""What a kept message asks, as sender and site are now: which of its orders a person may make, and which were made.

Reads only, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.message_tables import OrderCorrection, OrderMessage
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.order_book import find_by_accession, find_by_placer
from reading_queue.services.order_messages.sealing import MessageSealed, unseal
from storage.contract.orders import Order
from storage.hl7.acknowledging import read_message, require_kind
from storage.hl7.corrections import OpenOrder, all_made, find_known, made_of_repeated, orders_of
from storage.hl7.faults import ErrorCode, Fault, MessageRejected
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import Message
from storage.hl7.order_decisions import Done
from storage.hl7.order_message import KINDS, OrderRequest, read_orders
from storage.ledger.tables import Site


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message of orders as it was read. `zone`: the site's; `faults`: with what is wrong as it is read today."""

    content: bytes
    message: Message
    zone: ZoneInfo
    requests: tuple[OrderRequest, ...]
    faults: tuple[Fault, ...]


def character_set_of(hub: Hub, row: OrderMessage) -> str:
    """Return in which character set the sender writes where MSH-18 is empty."""
    sender = hub.order_senders.get(row.sender_name)
    return sender.character_set if sender is not None else "UNICODE UTF-8"


def read_kept(session: Session, hub: Hub, row: OrderMessage) -> ReadMessage | None:
    """Return a message of orders of a site in the network, None for any other. Raises MessageSealed."""
    content = unseal(hub.keys, row.content, row.digest)
    zone_name = session.scalar(select(Site.time_zone).where(Site.site_id == row.site_id))
    message = _parse(hub, row, content)
    if zone_name is None or message is None:
        return None
    sender, zone = hub.order_senders.get(row.sender_name), ZoneInfo(zone_name)
    requests, found = read_orders(message, zone=zone, codes=sender.codes if sender is not None else LocalCodes())
    return ReadMessage(content, message, zone, requests, (*faults_of(row.faults), *found))


def list_orders(session: Session, hub: Hub, row: OrderMessage) -> tuple[ReadMessage | None, list[OpenOrder]]:
    """Return a message and its orders, also those that are here already; none where it was taken or settled.

    Raises:
        MessageSealed: nobody can read it here.
    """
    read = read_kept(session, hub, row) if row.state == "refused" and row.needs_somebody else None
    if read is None:
        return None, []
    return read, orders_of(read.requests, read.faults, _finder(session, row.site_id))


def list_open(session: Session, hub: Hub, row: OrderMessage) -> tuple[ReadMessage | None, list[OpenOrder]]:
    """Return a message and those of its orders that a person may make; as `list_orders`."""
    read, found = list_orders(session, hub, row)
    return read, [one for one in found if one.is_open]


def find_made(session: Session, message_id: int, requests: tuple[OrderRequest, ...]) -> tuple[Done, ...]:
    """Return the orders that people made of a message, nothing where one of them is still open."""
    its = select(OrderCorrection.number, ClinicOrder.content).where(OrderCorrection.message_id == message_id)
    found = session.execute(its.join(ClinicOrder, ClinicOrder.order_id == OrderCorrection.order_id))
    return all_made(requests, {row[0]: Order.model_validate(row[1]) for row in found})


def recognise(session: Session, hub: Hub, row: OrderMessage) -> tuple[Done, ...]:
    """Return what became of a faulty message that says what one said of which people made every order, else nothing."""
    read = read_kept(session, hub, row)
    if read is None:
        return ()
    find = _finder(session, row.site_id)
    known = next((found for one in read.requests if (found := find(one))), None)
    if known is None:
        return ()
    of_order = select(OrderMessage).join(OrderCorrection, OrderCorrection.message_id == OrderMessage.message_id)
    original = session.scalars(of_order.where(OrderCorrection.order_id == known.order_id)).one_or_none()
    if original is None:
        return ()
    try:
        said = _parse(hub, original, unseal(hub.keys, original.content, original.digest))
    except MessageSealed:
        return ()
    return made_of_repeated(said, read.message, find_made(session, original.message_id, read.requests))


def faults_of(kept: list[dict[str, Any]]) -> tuple[Fault, ...]:
    """Return faults as they were kept with a message."""
    return tuple(Fault(**(fault | {"code": ErrorCode(fault["code"])})) for fault in kept)


def _parse(hub: Hub, row: OrderMessage, content: bytes) -> Message | None:
    try:
        message = read_message(content, character_set_of(hub, row))
        require_kind(message, KINDS)
    except MessageRejected:
        return None
    return message


def _finder(session: Session, site_id: str) -> Callable[[OrderRequest], Order | None]:
    """Return what finds the order of a site that a request means."""
    by_placer, by_accession = partial(find_by_placer, session, site_id), partial(find_by_accession, session, site_id)
    return partial(find_known, by_placer=by_placer, by_accession=by_accession)
