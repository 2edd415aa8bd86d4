"""The coordinator's page of orders and studies that wait for their other half. Parse, one call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.web.order_lists import decide, show_lists
from storage.screens.requests import redirect


async def lists(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show what waits for its other half, of all sites in view."""
    return await show_lists(request, viewer, "coordinator")


async def match(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Confirm or reject that an order is of a study; a refusal shows the page with the reason."""
    try:
        done = await decide(request, viewer)
    except HubError as exc:
        return await show_lists(request, viewer, "coordinator", exc)
    return redirect(f"/coordinator/orders?done={done}")
