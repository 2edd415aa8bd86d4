"""People added to the network and ended on the coordinator's desk. Parse, one call, answer."""

from __future__ import annotations

from datetime import date

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_people
from reading_queue.web.coordinator import network_forms as forms
from reading_queue.web.coordinator.network import (
    NETWORK,
    Tried,
    day_of,
    network_page,
    show_organisation,
    show_physician,
    take_form,
    version_of,
)
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, word_of
from reading_queue.web.parsing import field as text_of


async def add_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add somebody to the organisation, and show their password this once."""
    hub, form = request.config_dict[HUB], await request.post()
    try:
        role = word_of(Role, text_of(form, "role"))
        login, given = text_of(form, "login").strip(), forms.person_given(form, role)
        what = (role, login, {**given, "organisation": request.match_info["code"]})
        added = await in_thread(request, network_people.add_person, hub, viewer, *what)
    except HubError as exc:
        sent_by = "physician" if text_of(form, "role") == Role.PHYSICIAN else "person"
        return await show_organisation(request, viewer, Tried(exc, forms.typed(form), sent_by))
    return network_page(request, "coordinator/person_added.html", Tried(), added=added)


async def save_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the name, organisation and language of somebody; shown is the organisation they are of then."""

    def save(hub: Hub, form: Form) -> str:
        given = {name: text_of(form, name).strip() for name in network_people.PERSON_FACTS}
        network_people.save_person(hub, viewer, request.match_info["account_id"], given, version_of(form))
        return f"{NETWORK}/organisations/{given['organisation']}?done=saved"

    return await take_form(request, viewer, "people", save, show_organisation)


async def reset_password(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give somebody a password for one sign-in, and show it this once."""
    account_id = request.match_info["account_id"]
    try:
        reset = await in_thread(request, network_people.reset_password, request.config_dict[HUB], viewer, account_id)
    except HubError as exc:
        return await show_organisation(request, viewer, Tried(exc, {}, "people"))
    return network_page(
        request,
        "coordinator/password_reset.html",
        Tried(),
        reset=reset,
        organisation_id=request.match_info["code"],
    )


async def end_person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let the account of somebody of the organisation end with a day, or go on."""

    def end(hub: Hub, form: Form) -> str:
        network_people.end_person(hub, viewer, request.match_info["account_id"], _last_day(form), version_of(form))
        return f"{NETWORK}/organisations/{request.match_info['code']}?done=saved"

    return await take_form(request, viewer, "people", end, show_organisation)


async def end_physician(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let the account of a physician end with a day, or go on."""

    def end(hub: Hub, form: Form) -> str:
        network_people.end_person(hub, viewer, text_of(form, "account_id"), _last_day(form), version_of(form))
        return f"{NETWORK}/physicians/{request.match_info['physician_id']}?done=saved"

    return await take_form(request, viewer, "end", end, show_physician)


def _last_day(form: Form) -> date | None:
    return day_of(form, "last_day") if text_of(form, "last_day") else None
