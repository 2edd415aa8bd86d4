"""Bringing in what a scanner cannot send: a disk or folder at the box, or a ZIP file or folder from this browser.

Durable: an uploaded file is whole and on the medium before its import is a row of the journal; what a stop cut off is
removed at the next start, or a day later. Paths are chosen from what lies below the configured folders, never typed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.console.errors import Forbidden, Invalid, NotFound
from gateway.console.import_orders import offered_orders, require_offered, views_of
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.parsing import Form, field, id_of
from gateway.console.rendering import folder_key, page, screen_zone
from gateway.console.rights import OPERATORS
from gateway.errors import SpoolFull
from gateway.importing.joining import Joined, join
from gateway.importing.leftovers import UPLOADS
from gateway.journal import imports
from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.spool.durable import DurableFile, make_directory_durably
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.screens.requests import is_refresh, redirect

log = structlog.get_logger(__name__)

ROWS: Final = 20
BLOCK_BYTES: Final = 1024 * 1024
FOLDERS_SHOWN_MAX: Final = 200
DEPTH: Final = 2  # /media/<person>/<disk>
LANE_HEADER: Final = "X-Lane"
ORDER_HEADER: Final = "X-Order"


async def list_page(request: web.Request) -> web.StreamResponse:
    """Show what can be imported, and what became of the imports."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    rows = await in_thread(request, imports.list_imports, desk.journal, ROWS)
    findings = await in_thread(request, _findings, desk.journal, [row.import_id for row in rows])
    joins = await in_thread(request, views_of, desk.journal, rows)
    offered = [] if is_refresh(request) else await in_thread(request, offered_orders, desk, screen_zone(request))
    return page(
        request,
        "_imports.html" if is_refresh(request) else "imports.html",
        rows=rows,
        findings=findings,
        joins=joins,
        orders=offered,
        folders=[] if is_refresh(request) else await in_thread(request, offered_folders, desk.console.import_dirs),
        lanes=tuple(Lane),
        operators=OPERATORS,
        upload_max=desk.console.import_bytes_max,
    )


async def start(request: web.Request) -> web.StreamResponse:
    """Import one of the offered folders."""
    account_id, desk = _operator(request), request.config_dict[DESK]
    form: Form = await request.post()
    folders = await in_thread(request, offered_folders, desk.console.import_dirs)
    chosen = next((folder for folder in folders if folder_key(folder) == field(form, "folder")), None)
    if chosen is None:
        raise Invalid
    order_id = await in_thread(request, require_offered, desk.journal, field(form, "order"))
    add = partial(_add, remove_source=False, order_id=order_id)
    await in_thread(request, add, desk, account_id, chosen, _lane(field(form, "lane")))
    return redirect("/imports")


async def upload(request: web.Request) -> web.StreamResponse:
    """Take a ZIP file, piece by piece; the import begins once all of it is on the disk."""
    account_id, desk = _operator(request), request.config_dict[DESK]
    lane = _lane(request.headers.get(LANE_HEADER, ""))
    order_id = await in_thread(request, require_offered, desk.journal, request.headers.get(ORDER_HEADER, ""))
    _require_room(desk, request.content_length)
    arriving = await in_thread(request, desk.spool.begin)
    try:
        await _receive(request, arriving, desk.console.import_bytes_max)
        target = await in_thread(request, _publish, desk, arriving)
    finally:
        await in_thread(request, arriving.discard)
    await in_thread(request, partial(_add, remove_source=True, order_id=order_id), desk, account_id, target, lane)
    return web.Response(status=201, headers={"Location": "/imports"})


async def cancel(request: web.Request) -> web.StreamResponse:
    """Stop an import; what it has brought stays."""
    account_id, desk, import_id = _operator(request), request.config_dict[DESK], id_of(request, "import_id")
    await in_thread(request, _cancel, desk, account_id, import_id)
    return redirect("/imports")


async def join_order(request: web.Request) -> web.StreamResponse:
    """Give the import's study to its order all the same: a person says that it is the same patient."""
    account_id, desk, import_id = _operator(request), request.config_dict[DESK], id_of(request, "import_id")
    row = await in_thread(request, imports.find_import, desk.journal, import_id)
    if row is None or row.joined != Joined.PATIENT_DIFFERS:
        raise NotFound
    await in_thread(request, partial(join, desk.journal, row, actor=account_id, now=desk.clock(), confirmed=True))
    return redirect("/imports")


def offered_folders(roots: tuple[Path, ...]) -> list[Path]:
    """Return the folders that can be imported: what lies below the configured ones and leads nowhere else."""
    found: list[Path] = []
    for root in roots:
        base = root.resolve()
        level = [base]
        for _ in range(DEPTH):
            level = [child for folder in level for child in _children(folder) if child.resolve().is_relative_to(base)]
            found += level
    return found[:FOLDERS_SHOWN_MAX]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:  # no such folder, or not ours to read: there is nothing to offer
        return []


def _operator(request: web.Request) -> str:
    viewer = get_viewer(request)
    if viewer.role not in OPERATORS:
        raise Forbidden
    return viewer.account_id


def _lane(text: str) -> Lane | None:
    try:
        return Lane(text) if text else None
    except ValueError as exc:
        raise Invalid from exc


def _require_room(desk: Desk, size_bytes: int | None) -> None:
    """Refuse before the first byte what will not fit."""
    if size_bytes is None:
        raise web.HTTPLengthRequired
    limit = desk.console.import_bytes_max
    if size_bytes > limit:
        raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=size_bytes)
    # Its images lie beside it for as long as the import takes.
    if desk.spool.free_bytes() - 2 * size_bytes < desk.settings.dicom.disk_floor_bytes:
        raise SpoolFull("there is no room for the upload and its images")


async def _receive(request: web.Request, arriving: DurableFile, limit_bytes: int) -> None:
    block, size_bytes = bytearray(), 0
    async for piece in request.content.iter_any():
        block += piece
        size_bytes += len(piece)
        if size_bytes > limit_bytes:
            raise web.HTTPRequestEntityTooLarge(max_size=limit_bytes, actual_size=size_bytes)
        if len(block) >= BLOCK_BYTES:
            await in_thread(request, arriving.write, bytes(block))
            block.clear()
    if size_bytes != request.content_length:
        raise web.HTTPBadRequest
    await in_thread(request, arriving.write, bytes(block))


def _publish(desk: Desk, arriving: DurableFile) -> Path:
    folder = desk.spool.root / UPLOADS
    make_directory_durably(desk.spool.files, folder)
    target = folder / f"{new_id()}.zip"
    arriving.publish(target)
    return target


def _add(
    desk: Desk, account_id: str, source: Path, lane: Lane | None, *, remove_source: bool, order_id: str | None
) -> None:
    import_id = imports.add_import(
        desk.journal,
        source,
        started_by=account_id,
        now=desk.clock(),
        lane=lane,
        remove_source=remove_source,
        order_id=order_id,
    )
    _note(desk, account_id, "import_asked", import_id)


def _cancel(desk: Desk, account_id: str, import_id: str) -> None:
    if imports.cancel_import(desk.journal, import_id, desk.clock()):
        _note(desk, account_id, "import_cancelled", import_id)


def _note(desk: Desk, account_id: str, verb: str, import_id: str) -> None:
    with desk.journal.transaction() as connection:
        record_action(connection, desk.clock(), account_id, verb, import_id)


def _findings(journal: Journal, import_ids: list[str]) -> dict[str, list[imports.Finding]]:
    return {import_id: imports.findings_of(journal, import_id) for import_id in import_ids}
