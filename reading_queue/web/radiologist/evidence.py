"""Key images and measurements on the desk: the part of the page that shows them, and taking them out."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import case_evidence, reading
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field
from reading_queue.web.problems import words_of
from reading_queue.web.radiologist.evidence_words import evidence_words
from reading_queue.web.radiologist.views import Attempt, case_page, image_url
from reading_queue.web.rendering import page
from storage.screens.requests import is_refresh, redirect


async def part(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the part of the case's page with key images and measurements, as they are now."""
    return await _part(request, viewer)


async def remove(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take one document out of the report; the page's script gets the part alone, so that no unsaved text is lost."""
    form = await request.post()
    hub, task_id = request.config_dict[HUB], request.match_info["reading_task_id"]
    uid = field(form, "sop_instance_uid")
    try:
        await in_thread(request, case_evidence.remove_evidence, hub, viewer, task_id, uid)
    except HubError as exc:
        if is_refresh(request):
            return await _part(request, viewer, evidence_refused=words_of(exc))
        return await case_page(request, viewer, Attempt(refused=exc))
    if is_refresh(request):
        return await _part(request, viewer)
    return redirect(f"/radiologist/cases/{request.match_info['case_id']}#evidence")


async def _part(request: web.Request, viewer: Viewer, **more: Any) -> web.Response:
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    view = await in_thread(request, reading.case_view, hub, viewer, case_id)
    words: dict[str, Any] = {"evidence_words": evidence_words, "image_url": image_url, **more}
    return page(request, "radiologist/evidence_part.html", view=view, **words)
