"""How documents leave for a site: a long poll for what is new, and the bytes themselves.

Volatile: who is waiting. A gateway that is cut off asks again from its own cursor.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from reading_queue.services.reports import returns
from reading_queue.web.gateway_api.authentication import GATEWAY, HUB, RUN
from reading_queue.web.gateway_api.handlers import query_number
from reading_queue.web.gateway_api.streaming import stream_object
from reading_queue.web.wakeups import Wakeups
from storage.contract.wire import DOCUMENTS_PER_PAGE_MAX, LONG_POLL_S_MAX, DocumentPage, SignedDescriptor

DOCUMENTS_CHANNEL: Final = "documents"
LOOK_AGAIN_S: Final = 2.0  # in case a notification was lost

WAKEUPS = web.AppKey("GATEWAY_API_WAKEUPS", Wakeups)
CLOSING = web.AppKey("GATEWAY_API_CLOSING", asyncio.Event)


async def page(request: web.Request) -> web.Response:
    """GET /documents?after=N&wait_s=S: answers as soon as there is a document, empty when the wait ran out."""
    after = query_number(request, "after")
    wait_s = min(query_number(request, "wait_s"), LONG_POLL_S_MAX)
    deadline = asyncio.get_running_loop().time() + wait_s
    with request.app[WAKEUPS].subscribed(DOCUMENTS_CHANNEL, request[GATEWAY].site_id) as woken:
        found = await _find(request, after)
        while not found and await wait_for_news(request.app, woken, deadline):
            found = await _find(request, after)
    answer = DocumentPage(documents=found)
    return web.Response(body=answer.model_dump_json(), content_type="application/json")


async def content(request: web.Request) -> web.StreamResponse:
    """GET /documents/{document_id}/content: the bytes, streamed from object storage."""
    hub, run = request.app[HUB], request.app[RUN]
    document = await run(returns.open_document, hub, request[GATEWAY].site_id, request.match_info["document_id"])
    return await stream_object(request, document.object_key, document.media_type, document.size_bytes)


def wake_all(app: web.Application) -> None:
    """End every long poll: the process stops."""
    app[CLOSING].set()


async def _find(request: web.Request, after: int) -> tuple[SignedDescriptor, ...]:
    site_id = request[GATEWAY].site_id
    run = request.app[RUN]
    return await run(returns.documents_for_site, request.app[HUB], site_id, after, DOCUMENTS_PER_PAGE_MAX)


async def wait_for_news(app: web.Application, woken: asyncio.Event, deadline: float) -> bool:
    """Return whether to look again: after a notification or a while; not at the deadline nor when the process stops."""
    left_s = deadline - asyncio.get_running_loop().time()
    if left_s <= 0 or app[CLOSING].is_set():
        return False
    waits = [asyncio.ensure_future(woken.wait()), asyncio.ensure_future(app[CLOSING].wait())]
    try:
        await asyncio.wait(waits, timeout=min(left_s, LOOK_AGAIN_S), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    woken.clear()
    return True
