"""The clinic's desk: the list of studies, one study with its ledger, its report as PDF."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from reading_queue.errors import HubError, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import clinic
from reading_queue.services.holdings import study_list
from reading_queue.services.holdings.study_list import SEARCH_CHARACTERS_MAX, Progress, StudyFilter
from reading_queue.services.routing import green_channels
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, site_of, study_of, wanted_studies
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.contract.hops import ROAD
from storage.contract.lanes import Lane
from storage.contract.national_id import IdentityKind
from storage.screens.requests import is_refresh, redirect

ROWS: Final = 50
DONE: Final = frozenset(
    {"acknowledged", "answered", "withdrawn", "received", "resubmitted", "void", "identity", "joined", "separated"}
)
LIST: Final = "/clinic/"


async def studies(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the studies in view, newest first, each with its way so far."""
    return await _list(request, viewer, wanted_studies(request.query), field(request.query, "before"))


async def search(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the studies that hold the words of the form: a name belongs in no address. Without words, the plain list."""
    form: Form = await request.post()
    wanted = wanted_studies(form, with_text=True)
    if not wanted.text:
        return redirect(list_address(wanted))
    return await _list(request, viewer, wanted, field(form, "before"))


async def study(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one study: the ledger with each hop's time, and the report when it is signed."""
    return await show_study(request, viewer, site_of(request), study_of(request))


async def show_study(
    request: web.Request, viewer: Viewer, site_id: str, study_uid: str, refused: HubError | None = None
) -> web.Response:
    """Answer the page of a study, with why something was refused."""
    hub = request.config_dict[HUB]
    audited = not is_refresh(request)
    view = await in_thread(request, clinic.study_view, hub, viewer, site_id, study_uid, audited=audited)
    done = request.query.get("done", "")
    return page(
        request,
        "clinic/study.html" if audited else "clinic/_study.html",
        status=refused.status if refused is not None else 200,
        view=view,
        road=ROAD,
        identity_kinds=tuple(IdentityKind),
        now=hub.clock(),
        done=done if done in DONE else "",
        refused=words_of(refused) if refused is not None else "",
    )


async def report_pdf(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the printable report."""
    hub = request.config_dict[HUB]
    pdf = await in_thread(request, clinic.report_pdf, hub, viewer, request.match_info["case_id"])
    if pdf is None:
        raise NotFound("the report of this case is not ready yet")
    return pdf_response(pdf)


def pdf_response(pdf: bytes) -> web.Response:
    """Answer a PDF that a browser shows in its own tab."""
    headers = {"Content-Disposition": 'inline; filename="report.pdf"'}
    return web.Response(body=pdf, content_type="application/pdf", headers=headers)


def list_address(wanted: StudyFilter, before: str | None = None) -> str:
    """Return the address of the list with this filter; the words of a search are not part of it."""
    values = {
        "progress": wanted.progress,
        "lane": wanted.lane,
        "late": "1" if wanted.late else "",
        "day": wanted.day,
        "before": before,
    }
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{LIST}?{query}" if query else LIST


async def _list(request: web.Request, viewer: Viewer, wanted: StudyFilter, before: str) -> web.Response:
    hub = request.config_dict[HUB]
    listed = await in_thread(
        request, study_list.studies_of, hub, viewer, limit=ROWS, before=before or None, wanted=wanted
    )
    return page(
        request,
        "clinic/_studies.html" if is_refresh(request) else "clinic/studies.html",
        listed=listed,
        green=await in_thread(request, green_channels.list_green_cases, hub, viewer),
        now=hub.clock(),
        counts=await in_thread(request, study_list.counts_of, hub, viewer),
        wanted=wanted,
        is_filtered=wanted != StudyFilter(),
        before=before,
        here=list_address(wanted, before),
        newest=list_address(wanted),
        older=list_address(wanted, listed.next_before),
        progresses=tuple(Progress),
        lanes=tuple(Lane),
        text_max=SEARCH_CHARACTERS_MAX,
        road=ROAD,
    )
