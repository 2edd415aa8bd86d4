"""Order messages as coordinators and administrators see them: what was refused and why, tried again, dismissed.

Durable: what somebody did about a message, with its line in the audit trail, in one transaction. Nothing here removes a
message (`keeping` does, later). It names the patient only to who asks for one message, which is audited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.orm import Session, defer

from reading_queue.db.message_tables import NEEDS_SOMEBODY, OrderCorrection, OrderMessage
from reading_queue.db.tables import Account
from reading_queue.domain.roles import Role
from reading_queue.errors import Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.holdings.retention import checked_reason
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.order_messages.intake import decide_again
from reading_queue.services.order_messages.open_orders import character_set_of, list_orders
from reading_queue.services.order_messages.sealing import MessageSealed, unseal
from reading_queue.services.orders.order_entry import ORDER_RECORD
from reading_queue.services.worklists.desk_events import tell
from storage.hl7.acknowledging import read_message
from storage.hl7.corrections import OpenOrder, known_ids
from storage.hl7.faults import ErrorCode, MessageRejected
from storage.ledger.tables import AuditEvent, Site

PAGE: Final = 50
RETRIED_MAX: Final = 200  # of what may have waited for an order, in one transaction
OVERSIGHT: Final = (Role.COORDINATOR, Role.ADMINISTRATOR)


class MessageUnopenable(WrongState):
    """This message was kept under another key file, or was altered: have it sent again."""

    code = "message_unopenable"


@dataclass(frozen=True, slots=True)
class OrderMessages:
    """A page of messages without their content, the newest first; and who did what, by account.

    `next_before`: where the next page begins, None after the last.
    """

    rows: tuple[OrderMessage, ...]
    next_before: int | None
    site_names: dict[str, str]
    people: dict[str, str]
    open_count: int
    entered: dict[int, list[OrderCorrection]]  # orders that people made of a message


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One message, segment by segment, and its orders where it was refused and nobody has settled it."""

    row: OrderMessage
    site_name: str
    lines: tuple[str, ...]
    orders: tuple[OpenOrder, ...]


def list_messages(
    hub: Hub, viewer: Viewer, *, only_open: bool = True, before: int | None = None, limit: int = PAGE
) -> OrderMessages:
    """Return the messages of the viewer's sites that came before the message `before`, the newest first.

    Those alone that need somebody, unless told.

    Raises:
        Invalid: the page is larger than the policy allows, or smaller than one message.
    """
    require(viewer, *OVERSIGHT)
    if not 0 < limit <= hub.policy.page_size_max:
        raise Invalid(f"a page has 1 to {hub.policy.page_size_max} messages")
    with hub.transaction() as session:
        theirs = _theirs(session, viewer, hub.clock())
        found = select(OrderMessage).options(defer(OrderMessage.content), defer(OrderMessage.answer))
        found = found.where(theirs, NEEDS_SOMEBODY if only_open else true())
        if before is not None:
            found = found.where(OrderMessage.message_id < before)
        listed = session.scalars(found.order_by(OrderMessage.message_id.desc()).limit(limit + 1)).all()
        rows = tuple(listed[:limit])
        entered = _entered(session, rows)
        return OrderMessages(
            rows=rows,
            next_before=rows[-1].message_id if len(listed) > limit else None,
            site_names=_site_names(session, viewer, {row.site_id for row in rows}),
            people=_people(session, rows, entered),
            open_count=_count_open(session, theirs),
            entered=entered,
        )


def count_open(hub: Hub, viewer: Viewer) -> int:
    """Return how many messages of the viewer's sites wait for somebody."""
    require(viewer, *OVERSIGHT)
    with hub.transaction() as session:
        return _count_open(session, _theirs(session, viewer, hub.clock()))


def show_message(hub: Hub, viewer: Viewer, message_id: int) -> ShownMessage:
    """Return one message as it came, which is audited. Raises NotFound, MessageUnopenable."""
    require(viewer, *OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_message(session, viewer, message_id, now)
        record_act(session, now, viewer, row, "R", "shown")
        names = _site_names(session, viewer, {row.site_id})
        character_set = character_set_of(hub, row)
        try:
            content = unseal(hub.keys, row.content, row.digest)
            _, found = list_orders(session, hub, row)
        except MessageSealed as exc:
            raise MessageUnopenable from exc
    return ShownMessage(
        row=row,
        site_name=names.get(row.site_id, row.site_id),
        lines=_lines_of(content, character_set),
        orders=tuple(found),
    )


def retry(hub: Hub, viewer: Viewer, message_id: int) -> bool:
    """Try a message again that was not taken, as hub and settings are now; return whether it was taken.

    Raises:
        NotFound: there is no such message of a site of the viewer.
        WrongState: it was taken, or settled. MessageUnopenable: nobody can read it here.
    """
    require(viewer, *OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        row = _get_open(session, viewer, message_id, now)
        if row.state == "taken":
            raise WrongState("this message was taken: what was left out is mended in its order")
        try:
            decide_again(session, hub, row, viewer)
        except MessageSealed as exc:
            raise MessageUnopenable from exc
        record_act(session, now, viewer, row, "E", "retried", code=row.code)
        is_taken, order_ids = row.state == "taken", row.order_ids
    retry_later(hub, viewer, message_id, order_ids)
    return is_taken


def retry_later(hub: Hub, viewer: Viewer, message_id: int, order_ids: Collection[str]) -> None:
    """Try again what came after a message and was refused because these orders of it were not here yet.

    So what a HIS has cancelled or changed meanwhile is so as soon as somebody has made an order of it.
    """
    after: int | None = message_id
    while order_ids and after is not None:
        after = _retry_page(hub, viewer, after, order_ids)


def _retry_page(hub: Hub, viewer: Viewer, after: int, order_ids: Collection[str]) -> int | None:
    """Do so with a page of what came after a message of the site; return its last, None where there is no more."""
    now = hub.clock()
    is_early = OrderMessage.faults.contains([{"code": ErrorCode.UNKNOWN_KEY_IDENTIFIER}])
    with hub.transaction() as session:
        site_id = session.get_one(OrderMessage, after).site_id
        later = OrderMessage.site_id == site_id, OrderMessage.message_id > after, NEEDS_SOMEBODY, is_early
        found = select(OrderMessage).where(OrderMessage.state == "refused", *later).order_by(OrderMessage.message_id)
        rows = session.scalars(found.limit(RETRIED_MAX).with_for_update()).all()
        for kept in rows:
            try:
                _, orders = list_orders(session, hub, kept)
            except MessageSealed:  # it waits for who has the key file
                continue
            if not set(order_ids).isdisjoint(known_ids(orders)):
                decide_again(session, hub, kept, viewer)
                record_act(session, now, viewer, kept, "E", "retried", code=kept.code)
    return rows[-1].message_id if len(rows) == RETRIED_MAX else None


def dismiss(hub: Hub, viewer: Viewer, message_id: int, reason: str) -> None:
    """Say that nothing has to be done about a message any more, and why; it is kept for a while (`keeping`).

    Raises:
        NotFound, WrongState: as of `retry`.
        Invalid: the reason says nothing, or too much.
    """
    require(viewer, *OVERSIGHT)
    why, now = checked_reason(reason), hub.clock()
    with hub.transaction() as session:
        row = _get_open(session, viewer, message_id, now)
        row.settled_at, row.settled_by, row.note = now, viewer.account_id, why
        record_act(session, now, viewer, row, "U", "dismissed")
        tell(session, "order", row.site_id)


def _theirs(session: Session, viewer: Viewer, now: datetime) -> ColumnElement[bool]:
    """Return whose messages the viewer sees; those of a site that is not in the network are an administrator's."""
    seen = OrderMessage.site_id.in_(visible_sites(session, viewer, now))
    if viewer.role is not Role.ADMINISTRATOR:
        return seen
    return or_(seen, OrderMessage.site_id.not_in(select(Site.site_id)))


def _count_open(session: Session, theirs: ColumnElement[bool]) -> int:
    counted = select(func.count()).select_from(OrderMessage).where(theirs, NEEDS_SOMEBODY)
    return session.scalar(counted) or 0


def get_message(
    session: Session, viewer: Viewer, message_id: int, now: datetime, *, locked: bool = False
) -> OrderMessage:
    """Return a message of a site of the viewer; `locked`: until the transaction ends. Raises NotFound."""
    found = select(OrderMessage).where(OrderMessage.message_id == message_id, _theirs(session, viewer, now))
    row = session.scalars(found.with_for_update() if locked else found).one_or_none()
    if row is None:
        raise NotFound("there is no such message, or you may not see it")
    return row


def _get_open(session: Session, viewer: Viewer, message_id: int, now: datetime) -> OrderMessage:
    row = get_message(session, viewer, message_id, now, locked=True)
    if not row.needs_somebody:
        raise WrongState("nothing has to be done about this message any more")
    return row


def _site_names(session: Session, viewer: Viewer, site_ids: set[str]) -> dict[str, str]:
    named = select(Site.site_id, site_name(viewer.language)).where(Site.site_id.in_(site_ids))
    return {row[0]: row[1] for row in session.execute(named)}


def _entered(session: Session, rows: Sequence[OrderMessage]) -> dict[int, list[OrderCorrection]]:
    its = select(OrderCorrection).where(OrderCorrection.message_id.in_([row.message_id for row in rows]))
    found: dict[int, list[OrderCorrection]] = defaultdict(list)
    for one in session.scalars(its.order_by(OrderCorrection.message_id, OrderCorrection.number)):
        found[one.message_id].append(one)
    return dict(found)


def _people(
    session: Session, rows: Sequence[OrderMessage], entered: Mapping[int, Sequence[OrderCorrection]]
) -> dict[str, str]:
    ids = {one for row in rows for one in (row.decided_by, row.settled_by) if one is not None}
    ids |= {one.account_id for made in entered.values() for one in made}
    named = select(Account.account_id, Account.display_name).where(Account.account_id.in_(ids))
    return {row[0]: row[1] for row in session.execute(named)}


def _lines_of(content: bytes, character_set: str) -> tuple[str, ...]:
    try:
        message = read_message(content, character_set)
    except MessageRejected:
        text = content.decode("ascii", "backslashreplace").replace("\x00", "\\x00")
        return tuple(text.replace("\r", "\n").splitlines())
    return tuple(message.delimiters[0].join(fields) for fields in message.segments)


def record_act(
    session: Session, now: datetime, viewer: Viewer, row: OrderMessage, action: str, act: str, **detail: str
) -> None:
    """Write into the audit trail who did what with a message; `detail` holds ids and codes."""
    session.add(
        AuditEvent(
            at=now,
            event_code=ORDER_RECORD,
            action=action,
            account_id=viewer.account_id,
            object_kind="order_message",
            object_id=str(row.message_id),
            site_id=row.site_id,
            detail={"act": act, **detail},
        )
    )
