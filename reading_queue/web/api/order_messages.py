"""Order messages (HL7) as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from aiohttp import web

from reading_queue.db.message_tables import OrderMessage
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.order_messages import desk
from reading_queue.web.api.handlers import answer, body_of, nothing
from reading_queue.web.api.models import Answer, ReasonWords
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import whole_number


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
    """The messages that need somebody, `open_count` of them, or all: those first, then the newest."""

    open_count: int
    messages: list[MessageSummary]


class MessageShown(Answer):
    """One message as it came, segment by segment."""

    message: MessageSummary
    segments: list[str]


class Tried(Answer):
    """Whether the message was taken now."""

    taken: bool


async def list_messages(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the messages that wait for somebody, or all with `all=1`."""
    only_open = request.query.get("all") != "1"
    find = partial(desk.list_messages, only_open=only_open)
    found = await in_thread(request, find, request.config_dict[HUB], viewer)
    return answer(Messages(open_count=found.open_count, messages=[MessageSummary.of(row) for row in found.rows]))


async def show_message(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one message as it came, which is audited."""
    shown = await in_thread(request, desk.show_message, request.config_dict[HUB], viewer, number_of(request))
    return answer(MessageShown(message=MessageSummary.of(shown.row), segments=list(shown.lines)))


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
