"""What a physician was told of as duty director: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.routing import escalating
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.rendering import page
from storage.screens.requests import is_refresh, redirect

LIST = "/radiologist/escalations"


async def show(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show what is open, and what is over since a few days."""
    hub = request.config_dict[HUB]
    listed = await in_thread(request, escalating.list_told, hub, viewer)
    return page(
        request,
        "radiologist/_escalations.html" if is_refresh(request) else "radiologist/escalations.html",
        told=[one for one in listed if one.ended_at is None],
        over=[one for one in listed if one.ended_at is not None],
        directed=await in_thread(request, escalating.find_directed, hub, viewer),
        now=hub.clock(),
    )


async def acknowledge(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write that the viewer has seen an escalation and acts."""
    escalation_id = request.match_info["escalation_id"]
    await in_thread(request, escalating.acknowledge, request.config_dict[HUB], viewer, escalation_id)
    return redirect(LIST)
