"""The network, as operations of the JSON API: parse, one service call, answer.

Facts are named as in a network document. Who changes something sends the version they have seen; 0 makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Concatenate, ParamSpec, TypeVar

from aiohttp import web

from reading_queue.errors import Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_people, network_upload, network_views
from reading_queue.web.api import network_models as models
from reading_queue.web.api.handlers import answer, body_of, nothing
from reading_queue.web.keys import HUB, in_thread

P = ParamSpec("P")
T = TypeVar("T")


async def organisations(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the organisations that concern the caller, each below the one above it."""
    found = await _call(request, viewer, network_views.list_network)
    return answer(models.Organisations(organisations=found))


async def organisation(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what an organisation is, with its agreements, physicians and earlier versions."""
    code = request.match_info["code"]
    found = await _call(request, viewer, network_views.view_organisation, code)
    return answer(models.OrganisationAnswer(organisation=found))


async def put_organisation(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make these the facts of the organisation."""
    given = await body_of(request, models.Facts)
    what = (request.match_info["code"], given.facts, given.version)
    await _call(request, viewer, network_editing.save_organisation, *what)
    return nothing()


async def agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what an agreement is, with its earlier versions."""
    agreement_id = request.match_info["agreement_id"]
    found = await _call(request, viewer, network_views.view_agreement, agreement_id)
    return answer(models.AgreementAnswer(agreement=found))


async def put_agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make these the terms of the agreement, at once or from a day on; its id is `code:requesting`."""
    given = await body_of(request, models.Terms)
    what = (request.match_info["agreement_id"], given.facts, given.version, given.from_day)
    saved = await _call(request, viewer, network_editing.save_agreement, *what)
    return answer(models.SavedAgreement(agreement_id=saved))


async def end_agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let an agreement end with a day."""
    given = await body_of(request, models.AgreementEnd)
    what = (request.match_info["agreement_id"], given.last_day, given.version)
    await _call(request, viewer, network_editing.end_agreement, *what)
    return nothing()


async def physician(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what a physician may read and when, with earlier versions."""
    physician_id = request.match_info["physician_id"]
    found = await _call(request, viewer, network_views.view_physician, physician_id)
    return answer(models.PhysicianAnswer(physician=found))


async def put_physician(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make these the terms of the physician."""
    given = await body_of(request, models.Facts)
    what = (request.match_info["physician_id"], given.facts, given.version)
    await _call(request, viewer, network_editing.save_physician, *what)
    return nothing()


async def add_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add somebody with an account, and tell its password this once."""
    given = await body_of(request, models.NewPerson)
    added = await _call(request, viewer, network_people.add_person, given.role, given.login, given.facts)
    told = models.PersonAdded(
        account_id=added.account_id, physician_id=added.physician_id, login=added.login, password=added.password
    )
    return answer(told, status=201)


async def put_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make these somebody's name, organisation and language."""
    given = await body_of(request, models.Facts)
    what = (request.match_info["account_id"], given.facts, given.version)
    await _call(request, viewer, network_people.save_person, *what)
    return nothing()


async def reset_password(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give somebody who has lost theirs a password for one sign-in; their sessions end."""
    reset = await _call(request, viewer, network_people.reset_password, request.match_info["account_id"])
    return answer(models.TemporaryPassword(password=reset.password))


async def end_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Close the account after a day, or let it go on."""
    given = await body_of(request, models.PersonEnd)
    what = (request.match_info["account_id"], given.last_day, given.version)
    await _call(request, viewer, network_people.end_person, *what)
    return nothing()


async def put_duty(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make this the physician's duty from now on."""
    given = await body_of(request, models.WrittenDuty)
    what = (request.match_info["physician_id"], given.duty, given.version)
    await _call(request, viewer, network_editing.save_duty, *what)
    return nothing()


async def put_director(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Make this a person's duty as director of the organisation from now on."""
    given = await body_of(request, models.DirectorDuty)
    what = (request.match_info["code"], request.match_info["login"], given.duty, given.version)
    await _call(request, viewer, network_editing.save_director, *what)
    return nothing()


async def duty(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say who is on duty at a hospital for a week, by default from today, and when nobody is."""
    code, begin = request.match_info["code"], request.query.get("from")
    try:
        first = date.fromisoformat(begin) if begin else None
    except ValueError as exc:
        raise Invalid("from is a day, YYYY-MM-DD") from exc
    found = await _call(request, viewer, network_views.view_duty, code, first)
    return answer(models.DutyAnswer(duty=found))


async def import_network(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what importing the files would change; with the fingerprint of what was told, do it."""
    given = await body_of(request, models.NetworkFiles)
    files = {name: text.encode() for name, text in given.files.items()}
    passwords: dict[str, str] = {}
    if given.told is None:
        plan = await _call(request, viewer, network_upload.plan_upload, files, whole=given.whole)
    else:
        loaded = await _call(request, viewer, network_upload.import_upload, files, given.told, whole=given.whole)
        plan, passwords = loaded.plan, loaded.passwords
    told = models.NetworkPlan(
        changes=tuple(
            models.PlannedChange(
                kind=one.kind, subject=one.subject, action=one.action, facts=dict(one.facts), differing=one.differing
            )
            for one in plan.changes
        ),
        unchanged=plan.unchanged,
        warnings=tuple(plan.told_warnings()),
        fingerprint=plan.fingerprint,
        imported=given.told is not None,
        passwords=passwords,
    )
    return answer(told)


async def network_document(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give the network as a document that changes nothing when it is imported again; audited."""
    return answer(models.NetworkDocumentAnswer(document=await _call(request, viewer, network_upload.export_for)))


async def _call(
    request: web.Request,
    viewer: Viewer,
    use_case: Callable[Concatenate[Hub, Viewer, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return what the use case gives for who asks."""
    return await in_thread(request, use_case, request.config_dict[HUB], viewer, *args, **kwargs)
