"""Orders that came by HL7: what was refused and why, what a person does about it, what became of the rest.

Nothing here removes a message. It names the patient only to who asks for one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import web

from gateway.console.action_pages import operator_of
from gateway.console.errors import Conflict, NotFound
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.parsing import field, id_of
from gateway.console.rendering import page
from gateway.console.rights import OPERATORS
from gateway.his_orders.correcting import build_corrections
from gateway.his_orders.intake import MessageGone, build_intake, dismiss_message
from gateway.journal.accounts import names_of
from gateway.journal.message_corrections import corrections_of_message
from gateway.journal.order_messages import ROWS_MAX, KeptMessage, find_message, list_messages
from storage.hl7.acknowledging import read_message
from storage.hl7.corrections import known_ids
from storage.hl7.faults import MessageRejected
from storage.screens.requests import is_refresh, redirect

LIST: Final = "/orders/messages"
DIGITS_MAX: Final = 15


class MessageSettled(Conflict):
    """The message is not here any more, or nothing has to be done about it."""

    code = "message_settled"


async def order_messages(request: web.Request) -> web.StreamResponse:
    """Show the messages, those that need somebody first."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    messages = await in_thread(request, list_messages, desk.journal)
    correctable, meant = await in_thread(request, _read_waiting, desk, messages)
    return page(
        request,
        "_order_messages.html" if is_refresh(request) else "order_messages.html",
        messages=messages,
        correctable=correctable,
        meant=meant,
        operators=OPERATORS,
        hl7=desk.settings.hl7,
        names=await in_thread(request, names_of, desk.journal),
        rows_max=ROWS_MAX,
        done=field(request.query, "done"),
    )


async def order_message(request: web.Request) -> web.StreamResponse:
    """Show one message as it came, segment by segment."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    kept = await in_thread(request, find_message, desk.journal, number_of(request))
    if kept is None:
        raise NotFound
    try:
        message = read_message(kept.content, desk.settings.hl7.character_set)
        lines = ["|".join(fields) for fields in message.segments]
    except MessageRejected:
        lines = kept.content.decode("ascii", "backslashreplace").replace("\r", "\n").splitlines()
    orders = await in_thread(request, build_corrections(desk.settings, desk.journal).list_orders, kept)
    return page(
        request,
        "order_message.html",
        kept=kept,
        lines=lines,
        open_orders=[one for one in orders if one.is_open],
        meant=known_ids(orders),
        changes=known_ids(one for one in orders if one.is_change),
        corrections=await in_thread(request, corrections_of_message, desk.journal, kept.message_id),
        operators=OPERATORS,
        names=await in_thread(request, names_of, desk.journal),
    )


async def act(request: web.Request) -> web.StreamResponse:
    """Have a message tried again, or say that nothing has to be done about it."""
    verb, number = request.match_info["verb"], number_of(request)
    desk, asker = request.config_dict[DESK], operator_of(request)
    try:
        if verb == "retry":
            intake = build_intake(desk.settings, desk.journal, desk.clock)
            kept = await in_thread(request, partial(intake.retry, number, asker.actor))
            return redirect(f"{LIST}?done={'message_taken' if kept.state == 'taken' else 'message_refused_again'}")
        if verb == "dismiss":
            await in_thread(request, dismiss_message, desk.journal, number, asker.actor, asker.at)
            return redirect(f"{LIST}?done=dismiss")
    except MessageGone as exc:
        raise MessageSettled from exc
    raise NotFound


def _read_waiting(desk: Desk, messages: Sequence[KeptMessage]) -> tuple[set[int], dict[int, list[str]]]:
    """Return, of what needs somebody: of which messages an order may be made, and which orders here the others mean."""
    corrections = build_corrections(desk.settings, desk.journal)
    read = {one.message_id: corrections.list_orders(one) for one in messages if one.needs_somebody}
    correctable = {message_id for message_id, orders in read.items() if any(one.is_open for one in orders)}
    return correctable, {message_id: known_ids(orders) for message_id, orders in read.items()}


def number_of(request: web.Request) -> int:
    """Return the message's number out of the path. Raises NotFound when it is none."""
    text = id_of(request, "message_id")
    if not (text.isascii() and text.isdecimal()) or len(text) > DIGITS_MAX:
        raise NotFound
    return int(text)
