"""The coordinator's desk: the page that shows today."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import attention, statistics
from reading_queue.services.network import presence
from reading_queue.services.order_messages import desk as order_messages
from reading_queue.services.patients import link_desk
from reading_queue.services.routing import escalating, green_channels
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.rendering import page
from storage.screens.requests import is_refresh, redirect


async def overview(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show counts per site and hour, coverage, what is stuck with its reason, and the queues."""
    hub = request.config_dict[HUB]
    template = "coordinator/_overview.html" if is_refresh(request) else "coordinator/overview.html"
    return page(
        request,
        template,
        green=await in_thread(request, green_channels.list_green_cases, hub, viewer),
        today=await in_thread(request, statistics.per_site_and_hour, hub, viewer),
        coverage=await in_thread(request, statistics.coverage, hub, viewer),
        stuck=await in_thread(request, attention.stuck, hub, viewer),
        stuck_max=attention.STUCK_MAX,
        escalations=await in_thread(request, escalating.list_escalations, hub, viewer),
        absences=await in_thread(request, presence.list_absences, hub, viewer),
        suggested_links=await in_thread(request, link_desk.count_suggested, hub, viewer),
        open_messages=await in_thread(request, order_messages.count_open, hub, viewer),
        queues=await in_thread(request, statistics.queue_health, hub, viewer),
        now=hub.clock(),
    )


async def acknowledge(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write that the viewer has seen an escalation and acts."""
    escalation_id = request.match_info["escalation_id"]
    await in_thread(request, escalating.acknowledge, request.config_dict[HUB], viewer, escalation_id)
    return redirect("/coordinator/")
