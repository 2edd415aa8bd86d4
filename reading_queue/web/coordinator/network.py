"""The coordinator's pages of the network: organisations, agreements, physicians, duty. Parse, one call, answer.

A refusal shows the page again with the reason and what was typed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views
from reading_queue.services.network.network_editing import FieldsInvalid
from reading_queue.web.coordinator import network_forms as forms
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, whole_number
from reading_queue.web.parsing import field as text_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

NETWORK: Final = "/coordinator/network"
SHORT_ABSENCE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Tried:
    """What was typed into which form, and what stood against it."""

    refused: HubError | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    form: str = ""

    def over(self, form: str, values: Mapping[str, str]) -> dict[str, str]:
        """Return what the fields of a form hold: what was typed where it is this one that was refused."""
        return {**values, **self.values} if self.form == form else dict(values)


async def show_network(request: web.Request, viewer: Viewer, tried: Tried | None = None) -> web.StreamResponse:
    """Show the organisations as a tree, and the form for a new one."""
    tried = tried or Tried()
    listed = await in_thread(request, network_views.list_network, request.config_dict[HUB], viewer)
    empty = {"time_zone": "Asia/Shanghai", "kind": "township", "parent": "", "organisation_id": ""}
    new = tried.over("organisation", empty | dict.fromkeys(("name", "name_en", "site"), ""))
    return network_page(request, "coordinator/network.html", tried, listed=listed, new=new)


async def add_organisation(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add an organisation and show it."""

    def save(hub: Hub, form: Form) -> str:
        code = text_of(form, "organisation_id").strip()
        network_editing.save_organisation(hub, viewer, code, forms.organisation_given(form), 0)
        return f"{NETWORK}/organisations/{code}?done=saved"

    return await take_form(request, viewer, "organisation", save, show_network)


async def show_organisation(request: web.Request, viewer: Viewer, tried: Tried | None = None) -> web.StreamResponse:
    """Show an organisation with its agreements, physicians and history."""
    tried, hub = tried or Tried(), request.config_dict[HUB]
    found = await in_thread(request, network_views.view_organisation, hub, viewer, request.match_info["code"])
    today = hub.clock().astimezone(ZoneInfo(found.facts["time_zone"])).date()
    begun = {"code": "", "stage": "1", "valid_from": today.isoformat(), "valid_until": f"{today.year + 1}-12-31"}
    terms: dict[str, Any] = {"cases_per_day_max": {}, "time_limits_min": {}}
    empty = {**forms.agreement_values(terms), **begun, "services": "interpretation, verification"}
    return network_page(
        request,
        "coordinator/organisation.html",
        tried,
        found=found,
        values=tried.over("facts", forms.organisation_values(found.facts)),
        new=tried.over("agreement", empty),
        newcomer=tried.over("physician", forms.NEWCOMER),
        person=tried.over("person", forms.NEWCOMER),
        hospitals=await in_thread(request, network_views.list_network, hub, viewer),
        rosters={
            one.login: tried.over(f"director-{one.login}", forms.duty_values(one.duty))
            for one in found.directors.listed
        },
        new_director=tried.over("director", {"login": "", **forms.duty_values([])}),
    )


async def save_organisation(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the facts of an organisation."""
    code = request.match_info["code"]

    def save(hub: Hub, form: Form) -> str:
        network_editing.save_organisation(hub, viewer, code, forms.organisation_given(form), version_of(form))
        return f"{NETWORK}/organisations/{code}?done=saved"

    return await take_form(request, viewer, "facts", save, show_organisation)


async def save_director(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save when a person is duty director of the organisation."""
    code, sent = request.match_info["code"], await request.post()
    login = text_of(sent, "login").strip()

    def save(hub: Hub, form: Form) -> str:
        network_editing.save_director(hub, viewer, code, login, forms.duty_given(form), version_of(form))
        return f"{NETWORK}/organisations/{code}?done=saved"

    form = "director" if text_of(sent, "version") == "0" else f"director-{login}"
    return await take_form(request, viewer, form, save, show_organisation)


async def add_agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Add an agreement by which the organisation of the page has its studies read."""

    def save(hub: Hub, form: Form) -> str:
        agreement_id = f"{text_of(form, 'code').strip()}:{request.match_info['code']}"
        saved = network_editing.save_agreement(hub, viewer, agreement_id, forms.agreement_given(form), 0)
        return f"{NETWORK}/agreements/{saved}?done=saved"

    return await take_form(request, viewer, "agreement", save, show_organisation)


async def show_agreement(request: web.Request, viewer: Viewer, tried: Tried | None = None) -> web.StreamResponse:
    """Show an agreement with its history."""
    tried, hub = tried or Tried(), request.config_dict[HUB]
    found = await in_thread(request, network_views.view_agreement, hub, viewer, request.match_info["agreement_id"])
    terms = {**asdict(found), "assisting": found.assisting_id}
    today = hub.clock().astimezone(ZoneInfo(found.time_zone)).date().isoformat()
    return network_page(
        request,
        "coordinator/agreement.html",
        tried,
        found=found,
        values=tried.over("terms", {**forms.agreement_values(terms), "from_day": today}),
        ends=tried.over("end", {"last_day": today}),
        hospitals=await in_thread(request, network_views.list_network, hub, viewer),
    )


async def save_agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the terms of an agreement, from a day on."""

    def save(hub: Hub, form: Form) -> str:
        what = (
            request.match_info["agreement_id"],
            forms.agreement_given(form),
            version_of(form),
            day_of(form, "from_day"),
        )
        saved = network_editing.save_agreement(hub, viewer, *what)
        return f"{NETWORK}/agreements/{saved}?done=saved"

    return await take_form(request, viewer, "terms", save, show_agreement)


async def end_agreement(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Let an agreement end."""
    agreement_id = request.match_info["agreement_id"]

    def end(hub: Hub, form: Form) -> str:
        network_editing.end_agreement(hub, viewer, agreement_id, day_of(form, "last_day"), version_of(form))
        return f"{NETWORK}/agreements/{agreement_id}?done=ended"

    return await take_form(request, viewer, "end", end, show_agreement)


async def show_physician(request: web.Request, viewer: Viewer, tried: Tried | None = None) -> web.StreamResponse:
    """Show a physician with terms, duty and history."""
    tried, hub = tried or Tried(), request.config_dict[HUB]
    found = await in_thread(request, network_views.view_physician, hub, viewer, request.match_info["physician_id"])
    return network_page(
        request,
        "coordinator/physician.html",
        tried,
        found=found,
        values=tried.over("terms", forms.physician_values(found.facts)),
        duty=tried.over("duty", forms.duty_values(found.duty)),
        ends=tried.over("end", {"last_day": found.last_day.isoformat() if found.last_day is not None else ""}),
        soon=hub.clock() + SHORT_ABSENCE,
        hospitals=await in_thread(request, network_views.list_network, hub, viewer),
    )


async def save_physician(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the terms of a physician."""
    physician_id = request.match_info["physician_id"]

    def save(hub: Hub, form: Form) -> str:
        network_editing.save_physician(hub, viewer, physician_id, forms.physician_given(form), version_of(form))
        return f"{NETWORK}/physicians/{physician_id}?done=saved"

    return await take_form(request, viewer, "terms", save, show_physician)


async def save_duty(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Save the duty of a physician."""
    physician_id = request.match_info["physician_id"]

    def save(hub: Hub, form: Form) -> str:
        network_editing.save_duty(hub, viewer, physician_id, forms.duty_given(form), version_of(form))
        return f"{NETWORK}/physicians/{physician_id}?done=saved"

    return await take_form(request, viewer, "duty", save, show_physician)


async def show_duty(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show a hospital's duty of a week, with its gaps."""
    hub, code = request.config_dict[HUB], request.match_info["code"]
    first = day_of(request.query, "from") if request.query.get("from") else None
    found = await in_thread(request, network_views.view_duty, hub, viewer, code, first)
    week = timedelta(days=network_views.DUTY_DAYS)
    begin = found.days[0].day
    return network_page(
        request,
        "coordinator/duty.html",
        Tried(),
        found=found,
        earlier=begin - week,
        later=begin + week,
        now=hub.clock(),
    )


async def take_form(
    request: web.Request,
    viewer: Viewer,
    form: str,
    save: Callable[[Hub, Form], str],
    show: Callable[[web.Request, Viewer, Tried], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Lead to the page that `save` names; what it refuses shows the page of the form again, with what was typed."""
    sent = await request.post()
    try:
        page_of_it = await in_thread(request, save, request.config_dict[HUB], sent)
    except HubError as exc:
        return await show(request, viewer, Tried(exc, forms.typed(sent), form))
    return redirect(page_of_it)


def network_page(request: web.Request, template: str, tried: Tried, **values: Any) -> web.Response:
    """Show a page of the network, with what happened or was refused."""
    done = request.query.get("done", "")
    return page(
        request,
        template,
        status=tried.refused.status if tried.refused is not None else 200,
        refused=forms.refusal_words(tried.refused),
        refused_form=tried.form,
        refused_fields=tried.refused.fields if isinstance(tried.refused, FieldsInvalid) else (),
        done=done if done in ("saved", "ended") and tried.refused is None else "",
        say=forms.say,
        choices=forms.CHOICES,
        **values,
    )


def version_of(form: Form) -> int:
    """Return which version the form was made from. Raises Invalid."""
    return whole_number(text_of(form, "version"))


def day_of(form: Form, name: str) -> date:
    """Return the day in a field. Raises FieldsInvalid."""
    try:
        return date.fromisoformat(text_of(form, name))
    except ValueError:
        raise FieldsInvalid((name,)) from None
