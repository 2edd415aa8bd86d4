"""Subscribe, Unsubscribe and Suspend Global Subscription (PS3.18 sections 11.10 to 11.12)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from aiohttp import web

from reading_queue.domain.workitems.reports import FILTERED_WORKITEMS
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.worklists import subscriptions
from reading_queue.web.keys import HUB, in_thread
from storage.contract.identifiers import InvalidIdentifier, parse_uid
from storage.dicomweb.addresses import ROOT
from storage.dicomweb.errors import BadQuery

LOCK: Final = "deletionlock"


async def subscribe(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Subscribe (section 11.10); the answer says where the notification connection is opened."""
    hub, uid, ae_title = request.config_dict[HUB], _named(request), request.match_info["ae_title"]
    lock = request.query.get(LOCK, "false")
    if lock not in ("true", "false"):
        raise BadQuery(f"{LOCK} is true or false")
    pairs = [(name, value) for name, value in request.query.items() if name not in (LOCK, "filter")]
    pairs += [_pair(text) for text in ",".join(request.query.getall("filter", [])).split(",") if text]
    if pairs and uid != FILTERED_WORKITEMS:
        raise BadQuery(f"only the subscription to {FILTERED_WORKITEMS} has a filter")
    try:
        await in_thread(request, subscriptions.subscribe, hub, viewer, uid, ae_title, pairs, lock=lock == "true")
    except Invalid as exc:
        raise BadQuery(exc.detail) from exc
    base = hub.public_url.rstrip("/").replace("http", "ws", 1)
    return web.Response(status=201, headers={"Content-Location": f"{base}{ROOT}/subscribers/{quote(ae_title)}"})


async def unsubscribe(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Unsubscribe (section 11.11)."""
    hub, ae_title = request.config_dict[HUB], request.match_info["ae_title"]
    await in_thread(request, subscriptions.unsubscribe, hub, viewer, _named(request), ae_title)
    return web.Response()


async def suspend(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Suspend Global Subscription (section 11.12)."""
    hub, ae_title = request.config_dict[HUB], request.match_info["ae_title"]
    await in_thread(request, subscriptions.suspend, hub, viewer, _named(request), ae_title)
    return web.Response()


def _named(request: web.Request) -> str:
    try:
        return parse_uid(request.match_info["workitem"])
    except InvalidIdentifier as exc:
        raise NotFound("there is no such workitem, or you may not see it") from exc


def _pair(text: str) -> tuple[str, str]:
    """Return the name and value of one part of `filter=name=value,…`, as some clients write it."""
    name, _, value = text.partition("=")
    return name, value
