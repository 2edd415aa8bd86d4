"""The clinic's desk: the list of studies, one study with its ledger, its report as PDF."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.errors import NotFound
from reading_queue.services import clinic
from reading_queue.services.visibility import Viewer
from reading_queue.web.keys import HUB, in_thread, is_refresh
from reading_queue.web.parsing import site_of, study_of
from reading_queue.web.rendering import page
from storage.contract.hops import ROAD

ROWS: Final = 50


async def studies(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show the studies in view, newest first, each with its way so far."""
    hub, before = request.config_dict[HUB], request.query.get("before")
    listed = await in_thread(request, clinic.studies_of, hub, viewer, limit=ROWS, before=before)
    template = "clinic/_studies.html" if is_refresh(request) else "clinic/studies.html"
    return page(request, template, listed=listed, road=ROAD, before=before, now=hub.clock())


async def study(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show one study: the ledger with each hop's time, and the report when it is signed."""
    hub = request.config_dict[HUB]
    audited = not is_refresh(request)
    view = await in_thread(
        request, clinic.study_view, hub, viewer, site_of(request), study_of(request), audited=audited
    )
    template = "clinic/study.html" if audited else "clinic/_study.html"
    return page(request, template, view=view, road=ROAD, now=hub.clock())


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
