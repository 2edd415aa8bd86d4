"""The coordinator's page of who may read a case, with every reason, and the choice of one. Parse, one call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.routing import assigning, decisions, explaining
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, parse_decision
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect


async def show(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show everybody who might read the case: the order first, then the others with their reasons."""
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    found = await in_thread(request, assigning.list_candidates, hub, viewer, case_id)
    words = words_of(refused) if refused is not None else ""
    status = refused.status if refused is not None else 200
    return page(request, "coordinator/candidates.html", status=status, found=found, refused=words)


async def decided(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show everything that was decided about a case, and everybody as of one decision."""
    which = request.query.get("decision")
    asked = request.match_info["case_id"], parse_decision(which) if which else None
    found = await in_thread(request, decisions.list_decisions, request.config_dict[HUB], viewer, *asked)
    return page(request, "coordinator/decisions.html", found=found)


async def lateness(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show where the time of a case went."""
    found = await in_thread(
        request, explaining.why_late, request.config_dict[HUB], viewer, request.match_info["case_id"]
    )
    return page(request, "coordinator/lateness.html", found=found)


async def assign(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Offer the case to the chosen physician; a refusal shows the page again with the reason."""
    form, case_id = await request.post(), request.match_info["case_id"]
    what = (case_id, field(form, "physician_id"), field(form, "reason"))
    try:
        await in_thread(request, assigning.assign, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await show(request, viewer, exc)
    return redirect(f"/coordinator/cases/{case_id}/candidates")
