"""Answers 304 to a page that asks for a part of itself again while nothing has happened: one look at the session.

What a page shows is the journal's, and the disk's and the clock's: so besides every commit, the passing of STALE_S
makes it anew. The browser keeps nothing (`no-store`); the page's own script remembers the tag of what it shows.
"""

from __future__ import annotations

import hashlib
from typing import Final

from aiohttp import hdrs, web

from gateway.console.keys import DESK, find_viewer, in_thread
from gateway.journal.changes import ChangeWatch
from storage.contract.identifiers import new_id
from storage.screens.requests import Handler, is_refresh
from storage.screens.words import current_language

STALE_S: Final = 15

CHANGES = web.AppKey("CHANGES", ChangeWatch)
_THIS_START: Final = new_id()


@web.middleware
async def answer_unchanged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 304 to a refresh that names the tag of what would be shown again."""
    viewer = find_viewer(request)
    if viewer is None or request.method != hdrs.METH_GET or not is_refresh(request):
        return await handler(request)
    version = await in_thread(request, request.config_dict[CHANGES].version)
    moment = int(request.config_dict[DESK].clock().timestamp() // STALE_S)
    shown = (_THIS_START, version, moment, request.path_qs, current_language(), viewer.csrf_token)
    tag = '"' + hashlib.sha256(repr(shown).encode()).hexdigest()[:32] + '"'
    if request.headers.get(hdrs.IF_NONE_MATCH) == tag:
        return web.Response(status=304, headers={hdrs.ETAG: tag})
    response = await handler(request)
    if response.status == 200:
        response.headers[hdrs.ETAG] = tag
    return response


async def close_changes(app: web.Application) -> None:
    """Give the connection up when the console stops."""
    app[CHANGES].close()
