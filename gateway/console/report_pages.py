"""The pages of reports: the list, one report to read, its PDF, and the page for the printer. Each look is audited."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

from aiohttp import web

from gateway.console.errors import NotFound
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.parsing import field, id_of
from gateway.console.rendering import page
from gateway.console.reports import Report, find_report, list_reports, read_pdf, read_report
from gateway.console.rights import OPERATORS
from gateway.journal.actions import record_action
from gateway.journal.deliveries import mark_opened
from storage.contract.wire import DocumentKind
from storage.screens.requests import is_refresh, redirect

VIEWED: Final = "report_viewed"
PRINTED: Final = "report_printed"
EXPORTED: Final = "report_exported"
HOW: Final = {VIEWED: "opened", PRINTED: "printed", EXPORTED: "exported"}


async def reports(request: web.Request) -> web.StreamResponse:
    """Show the newest reports; `unseen=1`: only those that nobody has opened."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    text = field(request.query, "before")
    before = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else sys.maxsize
    unseen = field(request.query, "unseen") == "1"
    lines, older = await in_thread(request, list_reports, desk.journal, before, unseen_only=unseen)
    return page(
        request,
        "_reports.html" if is_refresh(request) else "reports.html",
        lines=lines,
        older=older,
        unseen=unseen,
        here=request.path_qs,
        is_first=before == sys.maxsize,
    )


async def report(request: web.Request) -> web.StreamResponse:
    """Show one report to read."""
    found = await _open(request, VIEWED)
    now = request.config_dict[DESK].clock()
    return page(request, "report.html", report=found, line=found.line, now=now, operators=OPERATORS)


async def print_page(request: web.Request) -> web.StreamResponse:
    """Show one report as it comes out of the printer."""
    found = await _open(request, PRINTED)
    return page(request, "print.html", report=found, line=found.line, now=request.config_dict[DESK].clock())


async def pdf(request: web.Request) -> web.StreamResponse:
    """Answer the report as PDF, byte for byte as it was made at the hub."""
    viewer, desk, document_id = get_viewer(request), request.config_dict[DESK], id_of(request, "document_id")
    content = await in_thread(request, read_pdf, desk.journal, desk.documents, document_id)
    await in_thread(request, note_use, desk, viewer.account_id, document_id, EXPORTED)
    headers = {"Content-Disposition": 'inline; filename="report.pdf"'}
    return web.Response(body=content, content_type="application/pdf", headers=headers)


async def newest(request: web.Request) -> web.StreamResponse:
    """Go from a superseded version to the newest report of its case."""
    get_viewer(request)
    desk, document_id = request.config_dict[DESK], id_of(request, "document_id")
    line = await in_thread(request, find_report, desk.journal, document_id)
    if line is None:
        raise NotFound
    rows = await in_thread(
        request,
        desk.journal.read,
        "SELECT document_id FROM documents WHERE case_id = ? AND kind = ? AND state = 'fetched'"
        " ORDER BY cursor DESC LIMIT 1",
        (line.case_id, DocumentKind.REPORT_JSON),
    )
    return redirect(f"/reports/{rows[0]['document_id']}")


def note_use(desk: Desk, account_id: str, document_id: str, verb: str) -> None:
    """Write the line of the audit trail; to the print page the report is delivered by this."""
    now = desk.clock()
    with desk.journal.transaction() as connection:
        record_action(connection, now, account_id, verb, document_id)
    mark_opened(desk.journal, document_id, account_id, HOW[verb], now)


async def _open(request: web.Request, verb: str) -> Report:
    viewer, desk, document_id = get_viewer(request), request.config_dict[DESK], id_of(request, "document_id")
    return await in_thread(request, _read_and_note, desk, viewer.account_id, document_id, verb)


def _read_and_note(desk: Desk, account_id: str, document_id: str, verb: str) -> Report:
    """Return the report as it is after this look; one that cannot be shown was not seen by anybody."""
    report = read_report(desk.journal, desk.documents, document_id)
    note_use(desk, account_id, document_id, verb)
    return replace(report, line=find_report(desk.journal, document_id) or report.line)
