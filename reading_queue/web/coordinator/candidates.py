"""The coordinator's page of who may read a case, with every reason, and the choice of one. Parse, one call, answer.

A task that somebody holds is taken back there first, with its draft.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning, decisions, explaining
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, parse_decision
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

DONE: Final = frozenset({"assigned", "taken_back"})


async def show(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show everybody who might read the case: the order first, then the others with their reasons."""
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    found = await in_thread(request, assigning.list_candidates, hub, viewer, case_id)
    words = words_of(refused) if refused is not None else ""
    done = request.query.get("done", "") if refused is None else ""
    return page(
        request,
        "coordinator/candidates.html",
        status=refused.status if refused is not None else 200,
        found=found,
        refused=words,
        done=done if done in DONE else "",
    )


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
    return redirect(f"/coordinator/cases/{case_id}/candidates?done=assigned")


async def take_back(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """End the claim that the page showed; the draft stays, and others are asked."""
    form, reason = await request.post(), DiscontinuationReason.RESOURCE_PREEMPTED
    task_id = field(form, "reading_task_id")
    try:
        await in_thread(request, reading.release, request.config_dict[HUB], viewer, task_id, reason)
    except HubError as exc:
        return await show(request, viewer, exc)
    return redirect(f"/coordinator/cases/{request.match_info['case_id']}/candidates?done=taken_back")
