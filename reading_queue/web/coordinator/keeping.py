"""The coordinator's pages of what is kept: what was set aside, how the stored bytes are, how long studies stay.

A refusal shows the same page again with the reason in words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival import quarantine
from reading_queue.services.holdings import retention, retention_views, stored_bytes
from reading_queue.services.holdings.export_contents import Form as ExportForm
from reading_queue.web.access import proved_again
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, site_of, study_of
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

QUARANTINE: Final = "/coordinator/quarantine"
RETENTION: Final = "/coordinator/retention"
DONE: Final = frozenset(
    {"acknowledged", "verifying", "held", "released", "requested", "approved", "refused"}
)  # what a page may say was done

Show = Callable[..., Awaitable[web.StreamResponse]]


async def show_quarantine(
    request: web.Request, viewer: Viewer, refused: HubError | None = None, tried: Form | None = None
) -> web.StreamResponse:
    """Show what gateways and the hub have set aside, from where, why, and what to do."""
    found = await in_thread(request, quarantine.list_set_aside, request.config_dict[HUB], viewer)
    return _page(request, "coordinator/quarantine.html", refused, found=found, tried=tried or {})


async def acknowledge(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write down that the viewer has seen what was set aside."""
    form = await request.post()
    what = (field(form, "site_id"), field(form, "study_uid"), field(form, "code"), field(form, "note"))
    try:
        await in_thread(request, quarantine.acknowledge, request.config_dict[HUB], viewer, *what)
    except HubError as exc:
        return await show_quarantine(request, viewer, exc, form)
    return redirect(f"{QUARANTINE}?done=acknowledged")


async def show_stored(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show how the stored bytes are."""
    hub = request.config_dict[HUB]
    found = await in_thread(request, stored_bytes.stored_bytes, hub, viewer)
    return _page(request, "coordinator/stored.html", None, found=found, now=hub.clock())


async def show_retention(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show the rules, what is due, holds, requests and deletions."""
    found = await in_thread(request, retention_views.retention_view, request.config_dict[HUB], viewer)
    return _page(
        request, "coordinator/retention.html", refused, found=found, needs_password=_needs_password(request, viewer)
    )


async def show_study(
    request: web.Request, viewer: Viewer, refused: HubError | None = None, tried: Form | None = None
) -> web.StreamResponse:
    """Show how one study is kept, and what can be done with it."""
    site_id, study_uid = site_of(request), study_of(request)
    found = await in_thread(
        request, retention_views.study_keeping, request.config_dict[HUB], viewer, site_id, study_uid
    )
    return _page(
        request,
        "coordinator/kept_study.html",
        refused,
        found=found,
        tried=tried or {},
        forms=tuple(ExportForm),
        needs_password=_needs_password(request, viewer),
    )


async def verify(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have every byte of the study read now."""
    site_id, study_uid = site_of(request), study_of(request)
    await in_thread(request, stored_bytes.verify_study, request.config_dict[HUB], viewer, site_id, study_uid)
    return redirect(f"{_address(request)}?done=verifying")


async def hold(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Keep the study from being deleted."""
    form = await request.post()
    what = (site_of(request), study_of(request), field(form, "reason"))
    return await _act(
        request, viewer, form, show_study, f"{_address(request)}?done=held", retention.place_hold, *what, tried=form
    )


async def request_deletion(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Ask for the study to be deleted; another person decides."""
    form = await request.post()
    what = (site_of(request), study_of(request), field(form, "reason"))
    target = f"{_address(request)}?done=requested"
    return await _act(request, viewer, form, show_study, target, retention.request_deletion, *what, tried=form)


async def release(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """End a hold."""
    form = await request.post()
    hold_id = request.match_info["hold_id"]
    target = f"{RETENTION}?done=released"
    return await _act(request, viewer, form, show_retention, target, retention.release_hold, hold_id)


async def decide(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Approve or refuse what another person has asked to delete."""
    form = await request.post()
    act = field(form, "act")
    if act not in {"approve", "refuse"}:
        raise Invalid("approve or refuse is needed")

    def decided(hub: Any, person: Viewer, request_id: str) -> None:
        retention.decide_deletion(hub, person, request_id, approve=act == "approve")

    target = f"{RETENTION}?done={'approved' if act == 'approve' else 'refused'}"
    return await _act(request, viewer, form, show_retention, target, decided, request.match_info["request_id"])


async def _act(
    request: web.Request,
    viewer: Viewer,
    form: Form,
    show: Show,
    target: str,
    use_case: Callable[..., object],
    *arguments: object,
    **shown: object,
) -> web.StreamResponse:
    """Call a use case, with the password checked first where one was given; go to `target` when it is done."""
    hub = request.config_dict[HUB]
    try:
        viewer = await proved_again(request, viewer, field(form, "password"))
        await in_thread(request, use_case, hub, viewer, *arguments)
    except HubError as exc:
        return await show(request, viewer, exc, **shown)
    return redirect(target)


def _page(request: web.Request, template: str, refused: HubError | None, **values: Any) -> web.Response:
    done = request.query.get("done", "")
    return page(
        request,
        template,
        status=refused.status if refused is not None else 200,
        refused=words_of(refused) if refused is not None else "",
        done=done if done in DONE else "",
        reason_characters=retention.REASON_CHARACTERS,
        **values,
    )


def _needs_password(request: web.Request, viewer: Viewer) -> bool:
    hub = request.config_dict[HUB]
    return (hub.clock() - viewer.authenticated_at).total_seconds() > hub.policy.reauthentication_s


def _address(request: web.Request) -> str:
    return f"/coordinator/studies/{site_of(request)}/{study_of(request)}"
