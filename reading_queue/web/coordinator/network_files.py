"""The network taken from uploaded files and given as files: what would change is shown first, and then confirmed.

Nothing is kept between the two: the page that shows the plan carries the files, packed, and the plan's fingerprint.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import hdrs, web

from reading_queue.domain.network_faults import Fault, Place
from reading_queue.domain.network_telling import tell_changes
from reading_queue.errors import HubError, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_upload
from reading_queue.services.network.network import ImportPlan, NetworkChanged, NetworkLoaded, end_of_day
from reading_queue.services.network.network_csv import write_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_files import pack, unpack
from reading_queue.services.network.network_yaml import write_yaml
from reading_queue.web.coordinator.network import day_of
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.middlewares import BODY_BYTES_MAX
from reading_queue.web.parsing import SCREEN_ZONE, Form
from reading_queue.web.parsing import field as text_of
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.words import current_language

PACKED: Final = "network.zip"
PACKED_BYTES_MAX: Final = BODY_BYTES_MAX * 3 // 4 - 16 * 1024  # the form that confirms carries them as base 64
FAULTS_SHOWN: Final = 200


async def show(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """Show the form for the files, and where the network is downloaded."""
    return _page(request)


async def plan(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Show what importing the files would change, with the button that does it; or every fault of theirs."""
    form = await request.post()
    files = {
        one.filename.replace("\\", "/").rpartition("/")[2]: one.file.read()
        for one in (form.getall("files", []))
        if isinstance(one, web.FileField) and one.filename
    }
    return await _show_plan(request, viewer, form, files)


async def confirm(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Import what was shown; what has changed since is shown again, and nothing is done."""
    form = await request.post()

    def load(hub: Hub) -> NetworkLoaded:
        told, files = text_of(form, "told"), {PACKED: _packed(form)}
        return network_upload.import_upload(hub, viewer, files, told, whole=_whole(form))

    try:
        loaded = await in_thread(request, load, request.config_dict[HUB])
    except NetworkChanged as exc:
        return await _show_plan(request, viewer, form, {PACKED: _packed(form)}, exc)
    except HubError as exc:
        return _page(request, exc, whole=_whole(form))
    return page(request, "coordinator/network_imported.html", loaded=loaded)


async def export(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the network as one YAML file, or as CSV files in a ZIP archive, as it is or was at the end of a day."""
    hub, query = request.config_dict[HUB], request.query
    wished = text_of(query, "form")
    if wished not in ("yaml", "csv"):
        raise Invalid("form is yaml or csv")
    wished_day = day_of(query, "as_of") if text_of(query, "as_of") else None

    def exported() -> dict[str, Any]:
        as_of = end_of_day(hub, wished_day, text_of(query, "zone")) if wished_day is not None else None
        return network_upload.export_for(hub, viewer, as_of)

    document = await in_thread(request, exported)
    data = write_yaml(document) if wished == "yaml" else pack(write_csv_set(document, current_language()))
    day = wished_day or hub.clock().astimezone(ZoneInfo(SCREEN_ZONE)).date()
    name = f"network-{day}.{'yaml' if wished == 'yaml' else 'zip'}"
    kind = "application/yaml" if wished == "yaml" else "application/zip"
    return web.Response(
        body=data, content_type=kind, headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'}
    )


async def _show_plan(
    request: web.Request, viewer: Viewer, form: Form, files: Mapping[str, bytes], refused: HubError | None = None
) -> web.StreamResponse:
    def found(hub: Hub) -> tuple[ImportPlan, bytes]:
        if not files:
            raise NetworkInvalid([Fault("no_network")])
        packed = pack(unpack(files))
        if len(packed) > PACKED_BYTES_MAX:
            fault = Fault("packed_too_big", (), {"limit": PACKED_BYTES_MAX})
            raise NetworkInvalid([fault], {(): Place(next(iter(files)), 1)})
        return network_upload.plan_upload(hub, viewer, files, whole=_whole(form)), packed

    try:
        planned, packed = await in_thread(request, found, request.config_dict[HUB])
    except HubError as exc:
        return _page(request, exc, whole=_whole(form))
    return _page(
        request,
        refused,
        whole=_whole(form),
        plan=planned,
        lines=list(tell_changes(planned.changes, planned.unchanged, current_language())),
        warnings=planned.told_warnings(current_language()),
        packed=base64.urlsafe_b64encode(packed).decode(),
    )


def _page(
    request: web.Request, refused: HubError | None = None, *, whole: bool = False, **values: Any
) -> web.StreamResponse:
    faults = refused.told(current_language()) if isinstance(refused, NetworkInvalid) else ()
    return page(
        request,
        "coordinator/network_import.html",
        status=refused.status if refused is not None else 200,
        refused=words_of(refused) if refused is not None else "",
        faults=faults[:FAULTS_SHOWN],
        faults_left=max(0, len(faults) - FAULTS_SHOWN),
        whole=whole,
        **{"plan": None, **values},
    )


def _packed(form: Form) -> bytes:
    try:
        return base64.b64decode(text_of(form, "packed"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NetworkInvalid([Fault("not_a_zip")], {(): Place(PACKED, 1)}) from None


def _whole(form: Form) -> bool:
    return text_of(form, "whole") == "yes"
