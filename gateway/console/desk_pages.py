"""The pages that are not about one study: what needs a person, line and disk."""

from __future__ import annotations

from importlib.metadata import version

from aiohttp import web

from gateway.console.attention import OF_A_STUDY, list_matters, settle
from gateway.console.keys import DESK, get_viewer, in_thread
from gateway.console.line_health import load_health
from gateway.console.line_plan import compression_today, line_actions, view_plan
from gateway.console.parsing import id_of
from gateway.console.rendering import page, screen_zone
from gateway.console.rights import LIMITS_MBIT_S, OPERATORS
from gateway.console.studies import load_patients
from gateway.reader.places import Places
from storage.screens.requests import is_refresh, redirect


async def attention(request: web.Request) -> web.StreamResponse:
    """Show what needs a person."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    matters = await in_thread(
        request,
        list_matters,
        desk.journal,
        desk.spool,
        desk.clock(),
        disk_floor_bytes=desk.settings.dicom.disk_floor_bytes,
        accounts_offline=desk.rules.offline,
        reads_nowhere=desk.settings.mode == "reader" and not Places.of(desk.settings).has_any,
    )
    studies = [one.subject for one in matters if one.kind in OF_A_STUDY]
    return page(
        request,
        "_attention.html" if is_refresh(request) else "attention.html",
        matters=matters,
        patients=await in_thread(request, load_patients, desk.journal, studies),
        of_a_study=OF_A_STUDY,
        operators=OPERATORS,
    )


async def settled(request: web.Request) -> web.StreamResponse:
    """Record that somebody has dealt with a matter."""
    viewer, desk = get_viewer(request), request.config_dict[DESK]
    await in_thread(request, settle, desk.journal, id_of(request, "subject"), viewer.account_id, desk.clock())
    return redirect("/attention")


async def line(request: web.Request) -> web.StreamResponse:
    """Show line and disk."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    floor = desk.settings.dicom.disk_floor_bytes
    health = await in_thread(request, load_health, desk.journal, desk.spool, floor)
    return page(
        request,
        "_line.html" if is_refresh(request) else "line.html",
        health=health,
        plan=view_plan(desk.settings.line.plan(), health.line, desk.clock(), screen_zone(request)),
        actions=await in_thread(request, line_actions, desk.journal),
        gain=await in_thread(request, compression_today, desk.journal, desk.clock(), screen_zone(request)),
        settings=desk.settings,
        operators=OPERATORS,
        limits=LIMITS_MBIT_S,
        version=version("counterpart-imaging"),
        now=desk.clock(),
    )
