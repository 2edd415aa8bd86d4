"""A coordinator says who is away, and who is back. Parse, one call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.network import presence
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, local_moment
from storage.screens.requests import redirect


async def go_away(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Offer the physician nothing until the time in the form."""
    form = await request.post()
    until, reason = local_moment(field(form, "until")), field(form, "reason")
    physician_id = request.match_info["physician_id"]
    await in_thread(request, presence.go_away, request.config_dict[HUB], viewer, physician_id, until, reason)
    return redirect("/coordinator/#absences")


async def come_back(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let the physician be offered work again."""
    physician_id = request.match_info["physician_id"]
    await in_thread(request, presence.come_back, request.config_dict[HUB], viewer, physician_id)
    return redirect("/coordinator/#absences")
