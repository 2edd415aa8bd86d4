"""The pages of studies: today's list, the search, one study with its road."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.console.errors import Invalid, NotFound
from gateway.console.green_channels import list_green_orders
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.parsing import Form, field, study_of
from gateway.console.rendering import page, screen_zone
from gateway.console.rights import OPERATORS
from gateway.console.road import STEPS, Progress, Stage
from gateway.console.studies import (
    SEARCH_CHARACTERS_MAX,
    StudyFilter,
    StudyLine,
    count_today,
    find_study,
    list_studies,
)
from gateway.console.study_view import load_study
from gateway.journal.actions import record_action
from gateway.journal.preliminaries import PreliminaryRow, list_preliminaries
from storage.contract.lanes import Lane
from storage.contract.national_id import IdentityKind
from storage.screens.requests import is_refresh, redirect

LIST = "/studies"
PRELIMINARIES_MAX: Final = 100
# At the hub, and no report of it is signed.
MAY_WITHDRAW: Final = frozenset(
    {
        Stage.AT_HUB,
        Stage.NOBODY,
        Stage.OFFERED,
        Stage.READING,
        Stage.ON_HOLD,
        Stage.RETURNED,
        Stage.REVIEW,
        Stage.REVIEWING,
    }
)


async def studies(request: web.Request) -> web.StreamResponse:
    """Show the studies of today, or those of a day or a progress."""
    get_viewer(request)
    return await _list(request, _wanted(request.query), field(request.query, "before"))


async def search(request: web.Request) -> web.StreamResponse:
    """Show the studies that hold the words of the form: a name belongs in no address. Without words, the plain list."""
    get_viewer(request)
    form: Form = await request.post()
    wanted = _wanted(form, with_text=True)
    if not wanted.text:
        return redirect(_address(wanted))
    return await _list(request, wanted, field(form, "before"))


async def study(request: web.Request) -> web.StreamResponse:
    """Show one study: where it is, its ledger, its images, its reports. A look is a line of the audit trail."""
    viewer, desk, uid = get_viewer(request), request.config_dict[DESK], study_of(request)
    line = await in_thread(request, find_study, desk.journal, uid)
    if line is None:
        raise NotFound
    if not is_refresh(request):
        await in_thread(request, _note_look, desk, viewer.account_id, uid)
    view = await in_thread(request, load_study, desk.journal, line)
    return page(
        request,
        "_study.html" if is_refresh(request) else "study.html",
        view=view,
        line=line,
        steps=STEPS,
        lanes=tuple(Lane),
        operators=OPERATORS,
        may_withdraw=line.stage in MAY_WITHDRAW,
        identity_kinds=tuple(IdentityKind),
        now=desk.clock(),
        done=field(request.query, "done"),
    )


def _load_unseen(desk: Desk, rows: Sequence[PreliminaryRow]) -> list[tuple[PreliminaryRow, StudyLine | None]]:
    """Return the preliminary reports that nobody here has acknowledged, each with the study that names its patient."""
    return [(row, find_study(desk.journal, row.report.study_uids[0])) for row in rows if row.waits]


def _note_look(desk: Desk, account_id: str, study_uid: str) -> None:
    with desk.journal.transaction() as connection:
        record_action(connection, desk.clock(), account_id, "study_viewed", study_uid)


def _wanted(values: Form, *, with_text: bool = False) -> StudyFilter:
    """Return which studies a query or a form asks for. Raises Invalid."""
    progress, day = field(values, "progress"), field(values, "day")
    try:
        return StudyFilter(
            text=field(values, "text")[:SEARCH_CHARACTERS_MAX] if with_text else "",
            day=date.fromisoformat(day) if day else None,
            progress=Progress(progress) if progress else None,
        )
    except ValueError as exc:
        raise Invalid from exc


def _address(wanted: StudyFilter, before: str | None = None) -> str:
    """Return the address of the list with this filter; the words of a search are not part of it."""
    values = {"progress": wanted.progress, "day": wanted.day, "before": before}
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{LIST}?{query}" if query else LIST


async def _list(request: web.Request, wanted: StudyFilter, before: str) -> web.Response:
    desk, zone = request.config_dict[DESK], screen_zone(request)
    standing = await in_thread(request, list_preliminaries, desk.journal, PRELIMINARIES_MAX)
    listed = await in_thread(request, list_studies, desk.journal, wanted, desk.clock(), zone, before)
    return page(
        request,
        "_studies.html" if is_refresh(request) else "studies.html",
        listed=listed,
        early={uid for row in standing for uid in row.report.study_uids},
        unseen=await in_thread(request, _load_unseen, desk, standing),
        green=await in_thread(request, list_green_orders, desk.journal, desk.clock()),
        counts=await in_thread(request, count_today, desk.journal, desk.clock(), zone),
        wanted=wanted,
        is_filtered=wanted != StudyFilter(),
        before=before,
        here=_address(wanted, before),
        newest=_address(wanted),
        older=_address(wanted, listed.next_before),
        progresses=tuple(Progress),
        text_max=SEARCH_CHARACTERS_MAX,
        steps=STEPS,
        now=desk.clock(),
    )
