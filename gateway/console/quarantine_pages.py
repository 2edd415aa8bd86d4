"""Quarantine: what was refused or found damaged, why, and what a person decides: try again, or leave it at that.

Nothing here removes a byte: what is dismissed is kept until its time is over, and may be tried again until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from gateway import operations
from gateway.console.action_pages import ask, operator_of
from gateway.console.attention import remedy_of
from gateway.console.errors import NotFound
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.language import translate_or
from gateway.console.parsing import Form, field, id_of
from gateway.console.rendering import page
from gateway.console.rights import OPERATORS
from gateway.journal.accounts import names_of
from gateway.journal.database import Journal
from gateway.journal.quarantine import ROWS_MAX, QuarantineRow, list_quarantine
from gateway.operations import Asker
from storage.screens.requests import is_refresh, redirect

OPERATIONS: Final[dict[str, Callable[[Journal, Asker, str], object]]] = {
    "release": operations.release_quarantined,
    "dismiss": operations.dismiss_quarantined,
}


@dataclass(frozen=True, slots=True)
class QuarantineLine:
    """One object: its row, what to do, until when it is kept at most, how large it is, who decided."""

    row: QuarantineRow
    remedy: str
    kept_until: datetime | None
    size_bytes: int | None
    decided_by: str


async def quarantine(request: web.Request) -> web.StreamResponse:
    """Show what lies in quarantine."""
    get_viewer(request)
    desk = request.config_dict[DESK]
    return page(
        request,
        "_quarantine.html" if is_refresh(request) else "quarantine.html",
        lines=await in_thread(request, _lines, desk),
        operators=OPERATORS,
        days=f"{desk.settings.disk.quarantine_days:g}",
        done=field(request.query, "done"),
    )


async def act(request: web.Request) -> web.StreamResponse:
    """Do what the address names with the object: release, dismiss."""
    verb, quarantine_id = request.match_info["verb"], id_of(request, "quarantine_id")
    if verb not in OPERATIONS:
        raise NotFound
    form: Form = await request.post()
    asker = operator_of(request)
    await ask(request, OPERATIONS[verb], request.config_dict[DESK].journal, asker, quarantine_id)
    return redirect("/attention" if field(form, "next") == "attention" else f"/quarantine?done={verb}")


def _lines(desk: Desk) -> Sequence[QuarantineLine]:
    names = names_of(desk.journal)
    keep = timedelta(days=desk.settings.disk.quarantine_days)
    return [_line(desk, row, names, keep) for row in list_quarantine(desk.journal, ROWS_MAX)]


def _line(desk: Desk, row: QuarantineRow, names: dict[str, str], keep: timedelta) -> QuarantineLine:
    decided_by = row.settled_by or row.asked_by or ""
    try:
        stat = desk.spool.quarantined(row.quarantine_id).stat()
    except FileNotFoundError:  # about to go: released, or its time is over
        stat = None
    return QuarantineLine(
        row,
        remedy_of(desk.spool, row.quarantine_id),
        datetime.fromtimestamp(stat.st_mtime, row.at.tzinfo) + keep if stat is not None else None,
        stat.st_size if stat is not None else None,
        names.get(decided_by) or translate_or(f"actor.{decided_by}", ""),
    )
