"""Refused messages of which a person makes the orders; a message stays as it came, with the orders made of it.

Durable: the order, its placer's number, what was made of which message, and the audit trail, in one transaction. When
each of its orders has been made, the message counts as taken: who sent it is answered so when it comes again, under its
own control id or another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.message_tables import OrderCorrection, OrderMessage, PlacerOrder
from reading_queue.db.tables import ClinicOrder
from reading_queue.errors import WrongState
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.order_messages.desk import (
    OVERSIGHT,
    MessageUnopenable,
    get_message,
    record_act,
    retry_later,
)
from reading_queue.services.order_messages.intake import write_verdict
from reading_queue.services.order_messages.open_orders import ReadMessage, find_made, list_open
from reading_queue.services.order_messages.order_book import HubBook
from reading_queue.services.order_messages.sealing import MessageSealed
from reading_queue.services.orders.order_entry import (
    SiteOfOrders,
    Wanted,
    check_wanted,
    put_new_order,
)
from reading_queue.services.orders.study_orders import lock_orders_of
from storage.contract.accession_numbers import is_form_of_site
from storage.contract.identifiers import InvalidIdentifier, new_id, parse_uid
from storage.contract.orders import Order
from storage.hl7.corrections import OpenOrder
from storage.hl7.order_answers import Verdict, kind_of_answer
from storage.hl7.order_message import OrderRequest
from storage.ledger.tables import Site
from storage.screens.order_form import ACCESSION, FieldFault


class NothingToEnter(WrongState):
    """No order can be made of this message: it was taken or settled, its order is here, or it asks for none."""

    code = "nothing_to_enter"


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """One order of a refused message, to be made by a person; `count`: how many of the message are still to be made."""

    message_id: int
    site: SiteOfOrders
    order: OpenOrder
    count: int


def open_order(hub: Hub, viewer: Viewer, message_id: int, number: int | None, *, audited: bool = True) -> OpenedOrder:
    """Return what could be read of an order of a refused message, the first that is open where none is named.

    Raises:
        NotFound: there is no such message of a site of the viewer.
        NothingToEnter: no order can be made of it. MessageUnopenable: nobody can read it here.
    """
    require(viewer, *OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_message(session, viewer, message_id, now)
        read, chosen, count = _choose(session, hub, row, number)
        if audited:
            record_act(session, now, viewer, row, "R", "opened")
        name = session.scalars(select(site_name(viewer.language)).where(Site.site_id == row.site_id)).one()
        return OpenedOrder(message_id, SiteOfOrders(row.site_id, name, str(read.zone)), chosen, count)


def find_entered(hub: Hub, viewer: Viewer, message_id: int, order_id: str) -> str | None:
    """Return the order that this sheet has made of a message already, None where it has made none. Raises NotFound."""
    require(viewer, *OVERSIGHT)
    its = select(OrderCorrection.order_id).where(OrderCorrection.message_id == message_id)
    with hub.transaction() as session:
        get_message(session, viewer, message_id, hub.clock())
        return session.scalars(its.where(OrderCorrection.order_id == order_id)).one_or_none()


def enter(hub: Hub, viewer: Viewer, message_id: int, number: int, wanted: Wanted) -> Order:
    """Make an order of what a person has corrected, known by the placer's number, and return it.

    What the form does not ask (the Study Instance UID, the code of an examination whose name was left) comes from the
    message. The same sheet again is the same order.

    Raises:
        NotFound, NothingToEnter, MessageUnopenable: as of `open_order`; somebody may have been faster.
        OrderNotAcceptable, OrderGapsUnconfirmed, StudyDead, StudyOfOtherPatient, OrdersContradict: as of an order that
        is typed.
    """
    require(viewer, *OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_message(session, viewer, message_id, now, locked=True)
        lock_orders_of(session, row.site_id)
        made = session.get(OrderCorrection, (message_id, number))
        if made is not None and made.order_id == wanted.order_id:
            return Order.model_validate(session.get_one(ClinicOrder, made.order_id).content)
        read, chosen, _ = _choose(session, hub, row, number)
        book = HubBook(hub, session, row.site_id, message_id, row.sender_name, now)
        order = _check(viewer, book, chosen.request, replace(wanted, site_id=row.site_id))
        put_new_order(session, hub, viewer, order, wanted.consent, now, message_id=message_id)
        request = chosen.request
        if request.placer_number:
            named = {"namespace": request.placer_namespace, "placer_number": request.placer_number}
            session.add(PlacerOrder(site_id=row.site_id, order_id=order.order_id, **named))
        of = {"order_id": order.order_id, "at": now, "account_id": viewer.account_id}
        session.add(OrderCorrection(message_id=message_id, number=number, faults=row.faults, **of))
        session.flush()
        record_act(session, now, viewer, row, "U", "entered", order_id=order.order_id, number=str(number))
        done = find_made(session, message_id, read.requests)
        if done:
            verdict = Verdict("AA", kind_of_answer(read.message), (), done)
            write_verdict(session, hub, row, read.content, verdict, viewer)
    retry_later(hub, viewer, message_id, [order.order_id])
    return order


def _choose(session: Session, hub: Hub, row: OrderMessage, number: int | None) -> tuple[ReadMessage, OpenOrder, int]:
    try:
        read, found = list_open(session, hub, row)
    except MessageSealed as exc:
        raise MessageUnopenable from exc
    chosen = next((one for one in found if number in {None, one.request.number}), None)
    if read is None or chosen is None:
        raise NothingToEnter
    return read, chosen, len(found)


def _check(viewer: Viewer, book: HubBook, request: OrderRequest, wanted: Wanted) -> Order:
    """Return the order that is to be kept, with its number. Raises OrderNotAcceptable, OrderGapsUnconfirmed."""
    fields = dict(wanted.fields)
    typed_number = str(fields.pop(ACCESSION, "") or "").strip()
    if typed_number:
        fields[ACCESSION] = typed_number
    if request.fields.get("procedure_name") == str(fields.get("procedure_name", "")).strip():
        fields.setdefault("procedure_code", request.fields.get("procedure_code", ""))
    fault = _fault_of_number(book, typed_number)
    faults = (*wanted.faults, *((fault,) if fault is not None else ()))
    order = check_wanted(viewer, replace(wanted, fields=fields, faults=faults), None, book.now)
    own: dict[str, Any] = {} if typed_number else {ACCESSION: book.next_accession_number()}
    if book.session.get(ClinicOrder, order.order_id) is not None:
        own["order_id"] = new_id()
    try:
        uid = parse_uid(request.fields.get("study_uid", ""))
    except InvalidIdentifier:
        return order.model_copy(update=own)
    return order.model_copy(update=own | ({} if book.find_by_study_uid(uid) else {"study_uid": uid}))


def _fault_of_number(book: HubBook, number: str) -> FieldFault | None:
    if number and book.find_by_accession(number) is not None:
        return FieldFault(ACCESSION, "accession_taken")
    if number and is_form_of_site(book.site_id, number):
        return FieldFault(ACCESSION, "accession_reserved")
    return None
