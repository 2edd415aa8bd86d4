"""What a physician does with a reading task: parse, one service call, answer.

A refusal shows the case again with the physician's own text and the reason; no text is ever lost to a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import reading
from reading_queue.web.access import proved_again
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, fields, whole_number
from reading_queue.web.problems import problem, words_of
from reading_queue.web.radiologist.views import Attempt, case_page
from storage.screens.requests import redirect

DESK: Final = "/radiologist/"


async def claim(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take the task and open the case."""
    await in_thread(request, reading.claim, request.config_dict[HUB], viewer, _task_id(request))
    return redirect(f"{DESK}cases/{request.match_info['case_id']}")


async def decline(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer no to the offer."""
    reason = field(await request.post(), "reason")
    await in_thread(request, reading.decline, request.config_dict[HUB], viewer, _task_id(request), reason)
    return redirect(f"{DESK}?done=declined")


async def heartbeat(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Extend the lease while the page is open."""
    try:
        until = await in_thread(request, reading.heartbeat, request.config_dict[HUB], viewer, _task_id(request))
    except HubError as exc:
        return problem(exc.status, exc.code, words_of(exc))
    return web.json_response({"lease_expires_at": until.isoformat()})


async def save_draft(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the text: as JSON for the page's script, as a page again for the button."""
    form = await request.post()
    scripted = request.headers.get("Accept") == "application/json"
    try:
        draft = await _save(request, viewer, form)
    except HubError as exc:
        if scripted:
            return problem(exc.status, exc.code, words_of(exc))
        return await _again(request, viewer, form, exc)
    if scripted:
        return web.json_response({"version": draft.version, "saved_at": draft.saved_at.isoformat()})
    return redirect(f"{DESK}cases/{request.match_info['case_id']}")


async def acknowledge_images(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Record that the late images were looked at, and go on with the same text."""
    form = await request.post()
    task_id, images = _task_id(request), field(form, "images")
    try:
        await in_thread(request, reading.acknowledge_images, request.config_dict[HUB], viewer, task_id, images)
    except HubError as exc:
        return await _again(request, viewer, form, exc)
    return await _again(request, viewer, form, None)


async def acknowledge_orders(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Record that what changed in the orders was looked at, and go on with the same text."""
    form = await request.post()
    hub, versions = request.config_dict[HUB], [_order_version(news) for news in fields(form, "news")]
    await in_thread(request, reading.acknowledge_orders, hub, viewer, _task_id(request), versions)
    return await _again(request, viewer, form, None)


async def submit(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as author."""
    form = await request.post()
    return await _act(request, viewer, form, "submitted", reading.submit, _task_id(request), _text(form), **_said(form))


async def sign_alone(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as the only physician, who declares it."""
    form = await request.post()
    return await _act(
        request,
        viewer,
        form,
        "signed",
        reading.sign_alone,
        _task_id(request),
        _text(form),
        **_said(form, ("declared", "confirm")),
    )


async def sign(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Sign as verifier, with the text as it now stands in the editor."""
    form = await request.post()
    return await _act(request, viewer, form, "signed", reading.sign, _task_id(request), _text(form), **_said(form))


async def return_to_author(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give the text back with a reason in words."""
    form = await request.post()
    reason = field(form, "return_reason").strip()
    return await _act(request, viewer, form, "returned", reading.return_to_author, _task_id(request), reason)


async def release(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save what is written and give the claim back."""
    form = await request.post()
    try:
        await _save(request, viewer, form)
    except HubError as exc:
        return await _again(request, viewer, form, exc)
    return await _act(request, viewer, form, "released", reading.release, _task_id(request), field(form, "reason"))


async def _act(
    request: web.Request,
    viewer: Viewer,
    form: Form,
    done: str,
    use_case: Callable[..., object],
    *arguments: object,
    **options: object,
) -> web.StreamResponse:
    """Call a use case, with the password checked first where one was given; back to the desk when it is done."""
    hub = request.config_dict[HUB]
    try:
        viewer = await proved_again(request, viewer, field(form, "password"))
        await in_thread(request, use_case, hub, viewer, *arguments, **options)
    except HubError as exc:
        return await _again(request, viewer, form, exc)
    return redirect(f"{DESK}?done={done}")


async def _again(request: web.Request, viewer: Viewer, form: Form, refused: HubError | None) -> web.Response:
    return await case_page(request, viewer, Attempt(_text(form), field(form, "version"), refused))


async def _save(request: web.Request, viewer: Viewer, form: Form) -> reading.DraftView:
    version = field(form, "version")
    if version and not version.isdecimal():
        raise Invalid("the draft's version is not a number")
    hub, seen = request.config_dict[HUB], int(version) if version else None
    return await in_thread(request, reading.save_draft, hub, viewer, _task_id(request), _text(form), seen)


def _said(form: Form, ticks: tuple[str, ...] = ("confirm", "confirm_identity")) -> dict[str, bool | str | None]:
    """Return what the physician says they have checked, and which images the page showed them."""
    return {name: field(form, name) == "yes" for name in ticks} | {"images": field(form, "images") or None}


def _text(form: Form) -> reading.ReportText:
    """Return the three parts; browsers send line ends as CR LF, reports keep LF."""
    parts = (field(form, name).replace("\r\n", "\n") for name in ("findings", "impression", "recommendation"))
    findings, impression, recommendation = parts
    return reading.ReportText(findings=findings, impression=impression, recommendation=recommendation)


def _order_version(news: str) -> tuple[str, int]:
    order_id, _, version = news.partition("/")
    return order_id, whole_number(version)


def _task_id(request: web.Request) -> str:
    return request.match_info["reading_task_id"]
