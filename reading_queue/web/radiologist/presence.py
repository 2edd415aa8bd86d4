"""A physician says that they are away, and back. Parse, one call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.network import presence
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, local_moment
from reading_queue.web.radiologist.views import DESK, refused_desk
from storage.screens.requests import redirect


async def go_away(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Offer the viewer nothing until the time in the form; a refusal shows the desk again with the reason."""
    form = await request.post()
    try:
        until = local_moment(field(form, "until"))
        what = (viewer.physician_id or "", until, field(form, "reason"))
        await in_thread(request, presence.go_away, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await refused_desk(request, viewer, exc)
    return redirect(DESK)


async def come_back(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let the viewer be offered work again."""
    await in_thread(request, presence.come_back, request.config_dict[HUB], viewer, viewer.physician_id or "")
    return redirect(DESK)
