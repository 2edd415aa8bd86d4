"""The coordinator's page of links between patients of two sites: looked at side by side, and decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from reading_queue.domain.links import LinkAct, LinkState
from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.patients import link_desk
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, page_place, whole_number, word_of
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

PAGE: Final = "/coordinator/links"
SEARCH_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class _Event:
    """What the page shows besides its links: what was done, refused with the reason that was typed, or searched for."""

    done: str = ""
    refused: HubError | None = None
    tried: Mapping[str, str] = field_of(default_factory=dict)
    text: str = ""
    found: tuple[link_desk.LinkView, ...] = ()


async def links(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the links of one state, a page of them."""
    done = request.query.get("done", "")
    return await _page(
        request,
        viewer,
        word_of(LinkState, request.query.get("state", LinkState.SUGGESTED)),
        request.query.get("after", ""),
        _Event(done=done if done in set(LinkAct) else ""),
    )


async def search(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the links of a patient by number or name, which stand in the body: an address may not name a patient."""
    text = field(await request.post(), "text").strip()[:SEARCH_CHARACTERS_MAX]
    if not text:
        return redirect(PAGE)
    found = await in_thread(request, link_desk.search_links, request.config_dict[HUB], viewer, text)
    return await _page(request, viewer, LinkState.SUGGESTED, "", _Event(text=text, found=found))


async def decide(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Do what was decided and show the list again; a refusal shows it with the reason."""
    form = await request.post()
    state, after = word_of(LinkState, field(form, "state")), field(form, "after")
    link_id, act, reason = request.match_info["link_id"], word_of(LinkAct, field(form, "act")), field(form, "reason")
    version, hub = whole_number(field(form, "version")), request.config_dict[HUB]
    try:
        await in_thread(request, link_desk.decide, hub, viewer, link_id, act, reason, version=version)
    except HubError as refused:
        return await _page(request, viewer, state, after, _Event(refused=refused, tried={link_id: reason}))
    return redirect(f"{PAGE}?{urlencode({'state': state, 'after': after, 'done': act})}")


async def _page(
    request: web.Request, viewer: Viewer, state: LinkState, after: str, event: _Event | None = None
) -> web.Response:
    event = event or _Event()
    place, hub = page_place(after), request.config_dict[HUB]
    shown = await in_thread(request, link_desk.list_links, hub, viewer, state, place)
    return page(
        request,
        "coordinator/links.html",
        status=event.refused.status if event.refused is not None else 200,
        shown=shown,
        after=after,
        links=event.found if event.text else shown.links,
        states=tuple(LinkState),
        done=event.done,
        refused=words_of(event.refused) if event.refused is not None else "",
        tried=event.tried,
        text=event.text,
        text_max=SEARCH_CHARACTERS_MAX,
        reason_characters=link_desk.REASON_CHARACTERS,
    )
