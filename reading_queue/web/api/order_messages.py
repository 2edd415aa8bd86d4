"""Order messages (HL7) as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from reading_queue.db.message_tables import OrderMessage
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages import correcting, desk
from reading_queue.services.order_messages.correcting import OpenedOrder
from reading_queue.services.orders.order_entry import Consent, OrderNotAcceptable, Wanted
from reading_queue.web.api.handlers import answer, body_of, nothing
from reading_queue.web.api.models import Answer, ReasonWords
from reading_queue.web.api.order_models import CorrectedOrder
from reading_queue.web.api.orders import answer_order
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, whole_number
from storage.dicom.person_name import display_name
from storage.hl7.corrections import OpenOrder
from storage.screens.order_form import FieldFault, form_moment, read_form
from storage.screens.order_message_form import place_faults, prefill


class MessageFault(Answer):
    """What was wrong: the place in the message, the code of HL7 table 0357, words, and of which order, from 1."""

    where: str
    code: str
    words: str
    order: int


class MessageSummary(Answer):
    """One message without what it says of patients. `state`: received, taken or refused; `code`: AA, AE or AR."""

    message_id: int
    site_id: str
    sender_name: str
    sender: str
    control_id: str
    kind: str
    received_at: datetime
    state: str
    code: str
    needs_somebody: bool
    faults: list[MessageFault]
    order_ids: list[str]
    decided_at: datetime | None
    settled_at: datetime | None
    note: str

    @classmethod
    def of(cls, row: OrderMessage) -> MessageSummary:
        """Return a kept message as the API shows it."""
        values = {name: getattr(row, name) for name in cls.model_fields if name != "faults"}
        return cls(**values, faults=[MessageFault(**fault) for fault in row.faults])


class Messages(Answer):
    """A page of the messages that need somebody, `open_count` of them, or of all, the newest first.

    `next_before` is the `before` of the next page, null after the last.
    """

    open_count: int
    messages: list[MessageSummary]
    next_before: int | None


class OrderOfMessage(Answer):
    """One order of a refused message: what could be read of it, and what was wrong.

    `is_open`: it can be made. `order_id`: of the order that is here already; `is_change`: it says something else of it.
    """

    number: int
    control: str
    is_open: bool
    order_id: str | None
    is_change: bool
    fields: dict[str, Any]
    accession_number: str
    faults: list[MessageFault]

    @classmethod
    def of(cls, one: OpenOrder) -> OrderOfMessage:
        """Return an order as the API shows it."""
        return cls(
            number=one.request.number,
            control=one.request.control,
            is_open=one.is_open,
            order_id=one.known.order_id if one.known is not None else None,
            is_change=one.is_change,
            fields=dict(one.request.fields),
            accession_number=one.request.accession_number,
            faults=[MessageFault(**asdict(fault)) for fault in one.faults],
        )


class MessageShown(Answer):
    """One message as it came, segment by segment; and its orders where it was refused and nobody has settled it."""

    message: MessageSummary
    segments: list[str]
    orders: list[OrderOfMessage]


class Tried(Answer):
    """Whether the message was taken now."""

    taken: bool


async def list_messages(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the messages that wait for somebody, or all with `all=1`, the newest first."""
    before, limit = field(request.query, "before"), field(request.query, "limit")
    find = partial(
        desk.list_messages,
        only_open=request.query.get("all") != "1",
        before=whole_number(before) if before else None,
        limit=whole_number(limit) if limit else desk.PAGE,
    )
    found = await in_thread(request, find, request.config_dict[HUB], viewer)
    messages = [MessageSummary.of(row) for row in found.rows]
    return answer(Messages(open_count=found.open_count, messages=messages, next_before=found.next_before))


async def show_message(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one message as it came, which is audited."""
    shown = await in_thread(request, desk.show_message, request.config_dict[HUB], viewer, number_of(request))
    orders = [OrderOfMessage.of(one) for one in shown.orders]
    return answer(MessageShown(message=MessageSummary.of(shown.row), segments=list(shown.lines), orders=orders))


async def enter_order_of_message(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make an order of a refused message, corrected by what is given; its sender's number is known from then on."""
    given, hub, message_id = await body_of(request, CorrectedOrder), request.config_dict[HUB], number_of(request)
    find = partial(correcting.find_entered, hub, viewer, message_id, given.order_id or "")
    made = await in_thread(request, find)
    if made is None:  # else the same request came again
        opened = await in_thread(request, correcting.open_order, hub, viewer, message_id, given.number)
        what = message_id, opened.order.request.number, _wanted(given, opened, hub.clock())
        made = (await in_thread(request, correcting.enter, hub, viewer, *what)).order_id
    return await answer_order(request, viewer, made, status=201)


def _wanted(given: CorrectedOrder, opened: OpenedOrder, now: datetime) -> Wanted:
    """Return what the order's form would say with this typed into it. Raises OrderNotAcceptable."""
    fields, said, zone = given.given(), opened.order.request, ZoneInfo(opened.site.time_zone)
    unsaid = [name for name in place_faults(opened.order.faults) if name and name not in fields]
    if unsaid:
        raise OrderNotAcceptable(tuple(FieldFault(name, "too_short") for name in unsaid))
    text = prefill(said, now, zone) | {name: "" if value is None else str(value) for name, value in fields.items()}
    moment = {"scheduled_at": form_moment(given.scheduled_at, zone)} if given.scheduled_at is not None else {}
    typed = read_form(text | moment, zone, now)
    exact = {name: fields[name] for name in ("scheduled_at", "procedure_code") if fields.get(name) is not None}
    consent = given.agreed()
    if consent is None and said.consent is not None and said.consent.given:
        consent = Consent(display_name(said.consent.by or text["patient_name"]), said.consent.moment or now)
    wanted = {name: value for name, value in typed.fields.items() if name != "consent_recorded"} | exact
    confirmed = tuple(given.confirmed_gaps)
    return Wanted(opened.site.site_id, wanted, consent, None, given.order_id, confirmed, typed.faults)


async def retry(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Try a message again, as hub and settings are now."""
    return answer(
        Tried(taken=await in_thread(request, desk.retry, request.config_dict[HUB], viewer, number_of(request)))
    )


async def dismiss(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that nothing has to be done about a message any more, and why."""
    given = await body_of(request, ReasonWords)
    await in_thread(request, desk.dismiss, request.config_dict[HUB], viewer, number_of(request), given.reason)
    return nothing()


def number_of(request: web.Request) -> int:
    """Return the message of the path."""
    return whole_number(request.match_info["message_id"])
