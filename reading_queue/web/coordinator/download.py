"""A study as a ZIP archive for a coordinator: made while it is sent, with who and why in the audit trail."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from reading_queue.errors import HubError, Invalid, Unavailable
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import exporting
from reading_queue.services.holdings.export_contents import Form as ExportForm
from reading_queue.web.coordinator.keeping import show_study
from reading_queue.web.keys import HUB, RUN, in_thread
from reading_queue.web.parsing import Form, field, site_of, study_of
from storage.dicomweb.sending import NOTHING_KEPT, send
from storage.objects.protocol import ObjectStoreError

DOWNLOADS_MAX: Final = 4  # at once in one process; each has a temporary file, and decompressing takes a processor
DOWNLOADS = web.AppKey("DOWNLOADS", set[int])


class TooManyDownloads(Unavailable):
    """Several studies are being downloaded now; try again when one of them is done."""

    code = "too_many_downloads"


async def download(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the archive, or the page again with the reason why not."""
    form = await request.post()
    running = request.config_dict[DOWNLOADS]
    try:
        wish = _wish(request, form)
        if len(running) >= DOWNLOADS_MAX:
            raise TooManyDownloads
        running.add(id(request))
        try:
            return await _send(request, viewer, wish)
        finally:
            running.discard(id(request))
    except HubError as exc:
        return await show_study(request, viewer, exc, form)


async def _send(request: web.Request, viewer: Viewer, wish: exporting.Wish) -> web.StreamResponse:
    hub = request.config_dict[HUB]
    begun = await in_thread(request, exporting.begin, hub, viewer, wish)
    response = web.StreamResponse(headers=NOTHING_KEPT)
    response.content_type = "application/zip"
    name = f"studies-{hub.clock():%Y%m%d-%H%M%S}.zip"  # says nothing of the patient
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{name}"'
    try:
        return await send(request, request.config_dict[RUN], response, begun.zip())
    except ObjectStoreError as exc:
        raise Unavailable from exc


def _wish(request: web.Request, form: Form) -> exporting.Wish:
    try:
        wished = ExportForm(field(form, "form"))
    except ValueError as exc:
        raise Invalid(f"form is one of {', '.join(ExportForm)}") from exc
    return exporting.Wish(
        site_of(request),
        study_of(request),
        field(form, "reason"),
        wished,
        field(form, "whole_patient") == "yes",
        with_reports=field(form, "reports") == "yes",
        with_names=field(form, "names") == "yes",
    )
