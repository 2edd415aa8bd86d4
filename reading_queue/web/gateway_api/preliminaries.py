"""How preliminary reports of emergencies leave for a site: a long poll for what has changed.

Volatile: who is waiting. A gateway that is cut off asks again with the version that it knows.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from reading_queue.errors import Invalid
from reading_queue.services.reports import site_preliminaries
from reading_queue.services.reports.site_preliminaries import CHANNEL
from reading_queue.web.gateway_api.authentication import GATEWAY, HUB, RUN
from reading_queue.web.gateway_api.documents import WAKEUPS, wait_for_news
from reading_queue.web.gateway_api.handlers import query_number
from storage.contract.preliminary import PreliminariesAnswer
from storage.contract.wire import LONG_POLL_S_MAX

VERSION_CHARACTERS_MAX = 64


async def page(request: web.Request) -> web.Response:
    """GET /preliminary-reports?known=VERSION&wait_s=S: answers as soon as there is another version."""
    known, site_id = request.query.get("known", ""), request[GATEWAY].site_id
    if len(known) > VERSION_CHARACTERS_MAX:
        raise Invalid("known is no version")
    wait_s = min(query_number(request, "wait_s"), LONG_POLL_S_MAX)
    deadline = asyncio.get_running_loop().time() + wait_s
    with request.app[WAKEUPS].subscribed(CHANNEL, site_id) as woken:
        found = await _find(request, known)
        while found.reports is None and await wait_for_news(request.app, woken, deadline):
            found = await _find(request, known)
    return web.Response(body=found.model_dump_json(), content_type="application/json")


async def _find(request: web.Request, known: str) -> PreliminariesAnswer:
    run, hub = request.app[RUN], request.app[HUB]
    return await run(site_preliminaries.preliminaries_for_site, hub, request[GATEWAY].site_id, known)
