"""Who is away, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.network import presence
from reading_queue.web.api import network_models
from reading_queue.web.api.handlers import answer, body_of, nothing
from reading_queue.web.keys import HUB, in_thread


async def own_absence(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say whether the caller is away now."""
    found = await in_thread(request, presence.find_absence, request.config_dict[HUB], viewer)
    return answer(network_models.OwnAbsence(absence=found))


async def leave(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Be offered nothing for a while; what is offered to the caller goes to others at once."""
    return await _go_away(request, viewer, viewer.physician_id or "")


async def return_to_work(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Be offered work again."""
    return await _come_back(request, viewer, viewer.physician_id or "")


async def absences(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List who is away now, first who should be on duty."""
    found = await in_thread(request, presence.list_absences, request.config_dict[HUB], viewer)
    return answer(network_models.Absences(absences=found))


async def send_away(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that a physician is away, with the reason."""
    return await _go_away(request, viewer, request.match_info["physician_id"])


async def call_back(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that a physician is back."""
    return await _come_back(request, viewer, request.match_info["physician_id"])


async def _go_away(request: web.Request, viewer: Viewer, physician_id: str) -> web.StreamResponse:
    given = await body_of(request, network_models.Away)
    what = (physician_id, given.until, given.reason)
    await in_thread(request, presence.go_away, request.config_dict[HUB], viewer, *what)
    return nothing()


async def _come_back(request: web.Request, viewer: Viewer, physician_id: str) -> web.StreamResponse:
    await in_thread(request, presence.come_back, request.config_dict[HUB], viewer, physician_id)
    return nothing()
