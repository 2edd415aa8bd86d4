"""Takes order messages: keeps each, decides on it, and says what became of it.

Durable: every message, committed before its acknowledgement is made; an order, in the transaction that records what
became of its message. Volatile: nothing. A listener that is killed in between decides after its start on what was
kept, and the sender, who has heard nothing, gets the same answer when it repeats the message.

AA: done, for good. AE: kept, and shown on the coordinator's desk, where it can be tried again, or the orders made of it
(`correcting`). AR: of a kind that is not taken here; kept too.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.message_tables import OrderMessage
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.open_orders import character_set_of, recognise
from reading_queue.services.order_messages.order_book import HubBook
from reading_queue.services.order_messages.sealing import MessageSealed, seal, unseal
from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.services.orders.study_orders import lock_orders_of
from reading_queue.services.worklists.desk_events import tell
from storage.hl7.acknowledging import read_message, require_kind
from storage.hl7.corrections import is_of_header, say_the_same
from storage.hl7.faults import ErrorCode, Fault, MessageRejected, OrderFaulty
from storage.hl7.message import Message
from storage.hl7.order_answers import ANY_ACK, Verdict, answer_orders, kind_of_answer, read_letterhead, try_reading
from storage.hl7.order_decisions import apply_request
from storage.hl7.order_message import KINDS, parse_orders
from storage.ledger.tables import Site

log = structlog.get_logger(__name__)

UNDECIDED_MAX: Final = 500  # of one look
NOT_CONFIGURED: Final = "the sender of this message is not configured at this hub any more"
NO_SITE: Final = "the site of this sender is not in the hub's network and takes no orders"
USED_CONTROL_ID: Final = (
    "another message came under this control id before: what is not a repetition needs one of its own"
)


def take_message(hub: Hub, sender: OrderSender, data: bytes, address: str) -> bytes:
    """Keep the message, do what it asks, and return the acknowledgement."""
    return decide(hub, _keep(hub, sender, data, address))


def refuse_long(hub: Hub, sender: OrderSender, head: bytes, address: str, bytes_max: int) -> bytes:
    """Keep how a message begins that is longer than `bytes_max`, and return its refusal."""
    message_id = _keep(hub, sender, head, address)
    words = f"the message is longer than {bytes_max} bytes and was not read to its end"
    verdict = Verdict("AR", ANY_ACK, (Fault("MSH-1", ErrorCode.INTERNAL_ERROR, words),))
    with hub.transaction() as session:
        row = session.get_one(OrderMessage, message_id, with_for_update=True)
        return write_verdict(session, hub, row, head, verdict, None)


def decide_waiting(hub: Hub) -> int:
    """Decide on what was kept and not decided on, at most UNDECIDED_MAX; return how many."""
    waiting = select(OrderMessage.message_id).where(OrderMessage.state == "received", OrderMessage.settled_at.is_(None))
    with hub.transaction() as session:
        found = session.scalars(waiting.order_by(OrderMessage.message_id).limit(UNDECIDED_MAX)).all()
    for message_id in found:
        try:
            decide(hub, message_id)
        except Exception:  # one that cannot be decided on must not keep the others waiting; the desk shows it
            log.exception("order_message_undecided", message_id=message_id)
    return len(found)


def decide(hub: Hub, message_id: int) -> bytes:
    """Return the answer to a kept message; what was decided stays."""
    with hub.transaction() as session:
        row = session.get_one(OrderMessage, message_id, with_for_update=True)
        if row.answer is not None:
            return row.answer
        return decide_again(session, hub, row, None)


def decide_again(session: Session, hub: Hub, row: OrderMessage, by: Viewer | None) -> bytes:
    """Decide on a message as hub and settings are now, whatever was decided; its row is locked. Raises MessageSealed.

    `by`: who had it tried again.
    """
    content = unseal(hub.keys, row.content, row.digest)
    message = try_reading(content, character_set_of(hub, row))
    repeated = _repeat(session, hub, row, message)
    if repeated is not None:
        return repeated
    try:
        with session.begin_nested():  # a message is done as a whole or not at all
            verdict = _apply(session, hub, row, content)
    except MessageRejected as exc:
        verdict = Verdict("AR", ANY_ACK, (exc.fault,))
    except OrderFaulty as exc:
        kind, done = kind_of_answer(message), () if is_of_header(exc.faults) else recognise(session, hub, row)
        verdict = Verdict("AA", kind, (), done) if done else Verdict("AE", kind, exc.faults)
    return write_verdict(session, hub, row, content, verdict, by)


def _keep(hub: Hub, sender: OrderSender, data: bytes, address: str) -> int:
    """Return the message's number, which is the one it has where the same bytes are here already."""
    head = read_letterhead(data, sender.character_set)
    known_by = {
        "site_id": sender.site_id,
        "sender_name": sender.name,
        "sender": head.sender,
        "control_id": head.control_id,
        "digest": head.digest,
    }
    content = seal(hub.keys, data, head.digest)
    kept = insert(OrderMessage).values(
        **known_by, kind=head.kind, address=address, content=content, received_at=hub.clock()
    )
    with hub.transaction() as session:
        message_id = session.scalar(kept.on_conflict_do_nothing().returning(OrderMessage.message_id))
        if message_id is None:
            message_id = session.scalars(select(OrderMessage.message_id).filter_by(**known_by)).one()
    return message_id


def _apply(session: Session, hub: Hub, row: OrderMessage, content: bytes) -> Verdict:
    """Do all that the message asks. Raises MessageRejected, OrderFaulty: then nothing of it may stay."""
    message = read_message(content, character_set_of(hub, row))
    require_kind(message, KINDS)
    sender = hub.order_senders.get(row.sender_name)
    if sender is None or sender.site_id != row.site_id:
        raise OrderFaulty(Fault("MSH-3", ErrorCode.INTERNAL_ERROR, NOT_CONFIGURED))
    zone = session.scalar(select(Site.time_zone).where(Site.site_id == row.site_id))
    if zone is None:
        raise OrderFaulty(Fault("MSH-6", ErrorCode.INTERNAL_ERROR, NO_SITE))
    if _first_of_control_id(session, row).message_id != row.message_id:
        raise OrderFaulty(Fault("MSH-10", ErrorCode.DUPLICATE_KEY_IDENTIFIER, USED_CONTROL_ID))
    requests = parse_orders(message, zone=ZoneInfo(zone), codes=sender.codes)
    lock_orders_of(session, row.site_id)
    book = HubBook(hub, session, row.site_id, row.message_id, row.sender_name, hub.clock())
    done = tuple(apply_request(book, request) for request in requests)
    left_out = tuple(fault for one in done for fault in one.left_out)
    return Verdict("AA", kind_of_answer(message), left_out, done)


def _repeat(session: Session, hub: Hub, row: OrderMessage, message: Message | None) -> bytes | None:
    """Answer a repetition that was written anew as the message was that it repeats, None where it is none."""
    first = _first_of_control_id(session, row)
    is_first = first.message_id == row.message_id
    if message is None or is_first or (first.state, first.kind) != ("taken", row.kind) or first.answer is None:
        return None
    try:
        said = try_reading(unseal(hub.keys, first.content, first.digest), character_set_of(hub, first))
    except MessageSealed:
        return None
    if said is None or not say_the_same(said, message):
        return None
    row.state, row.code, row.answer, row.order_ids = first.state, first.code, first.answer, first.order_ids
    row.faults, row.decided_at = [], hub.clock()
    return first.answer


def _first_of_control_id(session: Session, row: OrderMessage) -> OrderMessage:
    """Return the message that came first under this one's control id: itself where it is that."""
    same = select(OrderMessage).filter_by(
        site_id=row.site_id, sender_name=row.sender_name, sender=row.sender, control_id=row.control_id
    )
    return session.scalars(same.order_by(OrderMessage.message_id).limit(1)).one()


def write_verdict(
    session: Session, hub: Hub, row: OrderMessage, content: bytes, verdict: Verdict, by: Viewer | None
) -> bytes:
    """Record what becomes of a message, whose row is locked, and return the answer to it; `by`: whose doing it is."""
    now, character_set = hub.clock(), character_set_of(hub, row)
    answer = answer_orders(verdict, try_reading(content, character_set), character_set, now)
    row.state, row.code, row.answer = "taken" if verdict.code == "AA" else "refused", verdict.code, answer
    row.faults = [asdict(fault) for fault in verdict.faults]
    row.order_ids = list(dict.fromkeys(one.order.order_id for one in verdict.done))
    row.decided_at, row.decided_by = now, by.account_id if by is not None else None
    if row.needs_somebody or by is not None:
        tell(session, "order", row.site_id)
    where = [fault.where for fault in verdict.faults]
    log.info(
        "order_message_decided",
        message_id=row.message_id,
        site_id=row.site_id,
        code=verdict.code,
        where=where,
        order_ids=row.order_ids,
    )
    return answer
