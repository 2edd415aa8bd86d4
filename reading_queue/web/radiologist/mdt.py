"""The list of cases for a conference of several disciplines: parse, one service call, answer."""

from __future__ import annotations

from datetime import date

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import mdt
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field
from reading_queue.web.problems import words_of
from reading_queue.web.radiologist.views import Attempt, case_page
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

LIST = "/radiologist/mdt"


async def show(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show the list of the viewer's hospital."""
    listed = await in_thread(request, mdt.list_mdt, request.config_dict[HUB], viewer)
    status, words = (refused.status, words_of(refused)) if refused is not None else (200, "")
    values = {"entries": listed.entries, "today": listed.today, "refused": words}
    return page(request, "radiologist/mdt.html", status=status, **values)


async def put(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Put a case on the list."""
    form = await request.post()
    case_id, question = request.match_info["case_id"], field(form, "question")
    try:
        what = case_id, question, _day_of(field(form, "meets_on"))
        await in_thread(request, mdt.put_on_list, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await case_page(request, viewer, Attempt(refused=exc))
    return redirect(LIST)


async def note(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write what came of it."""
    form = await request.post()
    what = request.match_info["mdt_id"], field(form, "participants"), field(form, "outcome")
    try:
        await in_thread(request, mdt.note_outcome, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await show(request, viewer, exc)
    return redirect(LIST)


def _day_of(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise Invalid("the day of the conference is needed") from exc
