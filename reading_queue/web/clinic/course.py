"""What a site does with its case: answer what the reader asks, take it back, have it read again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial

from aiohttp import web

from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import clinic, holds, joining, separating, site_returns, withdrawals
from reading_queue.services.patients import identity_settling
from reading_queue.services.patients.identity_settling import PersonOfOrder
from reading_queue.services.reports import returns, site_preliminaries
from reading_queue.web.clinic.views import show_study
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, word_of
from reading_queue.web.voiding import voiding_of
from storage.contract.national_id import IdentityKind
from storage.screens.requests import redirect


async def answer(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer what the reader asks."""
    form = await request.post()
    what = field(form, "request_id"), field(form, "words")
    return await _act(request, viewer, "answered", holds.answer_site_request, *what)


async def withdraw(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take the case back, or ask its reader for it."""
    words = field(await request.post(), "words")
    return await _act(request, viewer, "withdrawn", withdrawals.withdraw, request.match_info["case_id"], words)


async def resubmit(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have a case that was sent back read again."""
    words = field(await request.post(), "words")
    return await _act(request, viewer, "resubmitted", site_returns.resubmit, request.match_info["case_id"], words)


async def acknowledge(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the preliminary report was seen, and who was told."""
    form = await request.post()
    what = field(form, "submission_id"), field(form, "words")
    return await _act(request, viewer, "acknowledged", site_preliminaries.acknowledge, *what)


async def receive(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the clinic has the signed report, though none of its systems has."""
    report_id = field(await request.post(), "report_id")
    return await _act(request, viewer, "received", returns.receive_by_hand, request.match_info["case_id"], report_id)


async def identity(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Settle whether order and images are of one person."""
    form = await request.post()
    what, reason = field(form, "conflict_id"), field(form, "reason")
    match field(form, "act"):
        case "confirm":
            return await _act(request, viewer, "identity", identity_settling.confirm_identity, what, reason)
        case "unlink":
            return await _act(request, viewer, "identity", identity_settling.unlink_order, what, reason)
        case "correct":
            person = _person(form)
            return await _act(request, viewer, "identity", identity_settling.correct_order, what, person, reason)
        case _:
            raise Invalid("confirm, unlink or correct is needed")


async def join(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have the studies of another case read with those of this one."""
    form = await request.post()
    what = request.match_info["case_id"], field(form, "other_case_id"), field(form, "reason")
    return await _act(request, viewer, "joined", joining.join_cases, *what)


async def separate(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Have one study of the case read alone."""
    form = await request.post()
    what = request.match_info["case_id"], field(form, "study_uid"), field(form, "reason")
    return await _act(request, viewer, "separated", separating.separate_study, *what)


async def void(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that the report is about the wrong patient, or decide what somebody else has said."""
    use_case, options = voiding_of(await request.post())
    return await _act(request, viewer, "void", partial(use_case, **options), request.match_info["case_id"])


def _person(form: Form) -> PersonOfOrder:
    """Return who the order shall say the patient is. Raises Invalid."""
    kind, birth_date = field(form, "identity_kind"), field(form, "birth_date")
    try:
        born = date.fromisoformat(birth_date) if birth_date else None
    except ValueError as exc:
        raise Invalid("the date of birth is not YYYY-MM-DD") from exc
    return PersonOfOrder(
        patient_name=field(form, "patient_name"),
        birth_date=born,
        sex=field(form, "sex"),
        identity_kind=word_of(IdentityKind, kind) if kind else None,
        identity_number=field(form, "identity_number"),
    )


async def _act(
    request: web.Request, viewer: Viewer, done: str, use_case: Callable[..., object], *arguments: object
) -> web.StreamResponse:
    """Call a use case; back to the study, with the reason in words where it was refused."""
    hub = request.config_dict[HUB]
    case_id, shown = request.match_info["case_id"], field(await request.post(), "study_uid")
    site_id, study_uid = await in_thread(request, clinic.study_of_case, hub, viewer, case_id, shown)
    try:
        await in_thread(request, use_case, hub, viewer, *arguments)
    except HubError as exc:
        return await show_study(request, viewer, site_id, study_uid, exc)
    return redirect(f"/clinic/studies/{site_id}/{study_uid}?done={done}")
