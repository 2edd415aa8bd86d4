"""What a physician does with a case besides reading it: parse, one service call, answer.

A refusal shows the case again with the reason in words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import consults, desk_views, reading
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, fields, word_of
from reading_queue.web.radiologist.views import Attempt, case_page
from reading_queue.web.rendering import page
from reading_queue.web.voiding import voiding_of
from storage.contract.signed_report import AmendmentKind
from storage.screens.requests import redirect


async def hold(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Ask the site for what is missing."""
    form = await request.post()
    what = fields(form, "wants"), field(form, "question")
    return await _act(request, viewer, reading.ask_site, _task_id(request), *what)


async def resume(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Read on without the site's answer."""
    return await _act(request, viewer, reading.resume, _task_id(request))


async def answer_withdrawal(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let the case go, or go on reading it."""
    form = await request.post()
    act = field(form, "act")
    if act not in {"accept", "refuse"}:
        raise Invalid("accept or refuse is needed")
    accept = act == "accept"
    to = "/radiologist/?done=let_go" if accept else ""
    what = {"accept": accept, "reason": field(form, "reason")}
    return await _act(request, viewer, reading.answer_withdrawal, _task_id(request), to=to, **what)


async def return_to_site(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Send the case back to its site."""
    form = await request.post()
    what = request.match_info["case_id"], field(form, "reason"), field(form, "words")
    return await _act(request, viewer, reading.return_to_site, *what, to="/radiologist/?done=sent_back")


async def take_over(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take a colleague's case over."""
    reason = field(await request.post(), "reason")
    return await _act(request, viewer, reading.take_over, _task_id(request), reason)


async def amend(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Begin to write a signed report again."""
    form = await request.post()
    what = request.match_info["case_id"], word_of(AmendmentKind, field(form, "kind")), field(form, "reason")
    return await _act(request, viewer, reading.open_addendum, *what)


async def nothing_to_amend(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Leave the signed report as it is."""
    form = await request.post()
    reason, images = field(form, "reason"), field(form, "images") or None
    to = "/radiologist/?done=stands"
    return await _act(request, viewer, reading.nothing_to_amend, _task_id(request), reason, images=images, to=to)


async def ask_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Ask a hospital up the line for its opinion."""
    form = await request.post()
    what = field(form, "hospital"), field(form, "question")
    return await _act(request, viewer, consults.ask, _task_id(request), *what)


async def consults_part(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the part of the case's page with the opinions up the line, as they are now."""
    hub, case_id = request.config_dict[HUB], request.match_info["case_id"]
    view = await in_thread(request, desk_views.consults_of_case, hub, viewer, case_id)
    return page(request, "radiologist/consults_part.html", view=view)


async def act_on_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Accept, answer, decline or withdraw a consultation."""
    form, consult_id = await request.post(), request.match_info["consult_id"]
    match field(form, "act"):
        case "accept":
            return await _act(request, viewer, consults.accept, consult_id)
        case "answer":
            return await _act(request, viewer, consults.answer, consult_id, field(form, "words"))
        case "decline":
            what, to = (consult_id, field(form, "words")), "/radiologist/?done=no_opinion"
            return await _act(request, viewer, consults.decline, *what, to=to)
        case "withdraw":
            return await _act(request, viewer, consults.withdraw, consult_id)
        case _:
            raise Invalid("accept, answer, decline or withdraw is needed")


async def void(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the report is about the wrong patient, or decide what somebody else has said."""
    use_case, options = voiding_of(await request.post())
    return await _act(request, viewer, partial(use_case, **options), request.match_info["case_id"])


async def _act(
    request: web.Request,
    viewer: Viewer,
    use_case: Callable[..., object],
    *arguments: object,
    to: str = "",
    **options: object,
) -> web.StreamResponse:
    """Call a use case; on to the case, or to `to`."""
    try:
        await in_thread(request, use_case, request.config_dict[HUB], viewer, *arguments, **options)
    except HubError as exc:
        return await case_page(request, viewer, Attempt(refused=exc))
    return redirect(to or f"/radiologist/cases/{request.match_info['case_id']}")


def _task_id(request: web.Request) -> str:
    return request.match_info["reading_task_id"]
