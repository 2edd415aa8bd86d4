"""The page of order messages (HL7) that were refused: why, what to do, try again, dismiss."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings.retention import REASON_CHARACTERS
from reading_queue.services.order_messages import connections, desk
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, whole_number
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

LIST: Final = "/coordinator/order-messages"
DONE: Final = frozenset({"taken", "refused_again", "dismissed"})


async def show_list(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show the messages that need somebody, or all with `?all=1`."""
    hub, everything = request.config_dict[HUB], request.query.get("all") == "1"
    text = field(request.query, "before")
    before = whole_number(text) if text else None
    found = await in_thread(request, partial(desk.list_messages, hub, viewer, only_open=not everything, before=before))
    done = request.query.get("done", "")
    return page(
        request,
        "coordinator/order_messages.html",
        status=refused.status if refused is not None else 200,
        refused=words_of(refused) if refused is not None else "",
        done=done if done in DONE else "",
        found=found,
        everything=everything,
        refusals=await in_thread(request, connections.list_refusals, hub, viewer),
        before=before,
        senders=len(hub.order_senders),
        reason_characters=REASON_CHARACTERS,
    )


async def show(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one message as it came."""
    shown = await in_thread(request, desk.show_message, request.config_dict[HUB], viewer, _number(request))
    return page(request, "coordinator/order_message.html", shown=shown)


async def retry(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Try one again."""
    try:
        is_taken = await in_thread(request, desk.retry, request.config_dict[HUB], viewer, _number(request))
    except HubError as exc:
        return await show_list(request, viewer, exc)
    return redirect(f"{LIST}?done={'taken' if is_taken else 'refused_again'}")


async def dismiss(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take one off the list, with why."""
    reason = field(await request.post(), "reason")
    try:
        await in_thread(request, desk.dismiss, request.config_dict[HUB], viewer, _number(request), reason)
    except HubError as exc:
        return await show_list(request, viewer, exc)
    return redirect(f"{LIST}?done=dismissed")


def _number(request: web.Request) -> int:
    return whole_number(request.match_info["message_id"])
