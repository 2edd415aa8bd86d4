"""The transactions of UPS-RS (PS3.18 chapter 11): parse, one service call, answer."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.workitems.content import (
    CANCELLATION_REASON,
    STATE,
    TRANSACTION_UID,
    DicomJson,
    NotUnderstood,
    items_of,
    text_of,
)
from reading_queue.domain.workitems.creation import parse_creation
from reading_queue.domain.workitems.reports import CONTACT_NAME, CONTACT_URI
from reading_queue.domain.workitems.states import WARNINGS, WORDS, Operation, Status
from reading_queue.domain.workitems.updating import parse_reason, parse_update
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.worklists import workitem_views, workitems
from reading_queue.services.worklists.workitem_search import parse_workitem_query
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.workitems.bodies import answer_datasets, read_dataset, wanted_form
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.dicomweb.errors import BadQuery
from storage.dicomweb.service import warning_of

PROGRESS: Final = "00741002"
CONTACT_NAME_CHARACTERS_MAX: Final = 64  # of an LO
CONTACT_URI_CHARACTERS_MAX: Final = 1024
CREATED: Final = "The Workitem was created with modifications."
UNSUPPORTED: Final = "Requested optional Attributes are not supported."
REQUESTED: Final = {operation.value: operation for operation in (Operation.SCHEDULE, Operation.CLAIM)} | {
    operation.value: operation for operation in (Operation.COMPLETE, Operation.CANCEL)
}


async def search(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Search (section 11.9)."""
    query, form = parse_workitem_query(request.query.items()), wanted_form(request)
    page = await in_thread(request, workitem_views.search_workitems, request.config_dict[HUB], viewer, query)
    response = answer_datasets(page.workitems, form)
    if page.has_more:
        after = query.offset + len(page.workitems)
        note = f"There are additional results that can be requested, with offset={after}."
        response.headers.add("Warning", warning_of(note))
    if query.untold:
        note = f"Not all attributes of includefield are given. Absent: {', '.join(query.untold[:16])}."
        response.headers.add("Warning", warning_of(note))
    return response


async def create(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Create (section 11.4); the UID of the workitem stands in the query, in the body, or is made here."""
    hub, dataset = request.config_dict[HUB], await read_dataset(request)
    named = request.query.get("workitem") or next((name for name, value in request.query.items() if not value), "")
    wanted = parse_creation(dataset, named)
    _uid(wanted.workitem_uid)
    try:
        uid = await in_thread(request, workitems.create_workitem, hub, viewer, wanted)
    except Invalid as exc:
        raise NotUnderstood(exc.detail) from exc
    address = f"{hub.public_url.rstrip('/')}{request.path}/{uid}"
    headers = {"Location": address, "Content-Location": address, "Warning": warning_of(CREATED)}
    return web.Response(status=201, headers=headers)


async def retrieve(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Retrieve (section 11.5)."""
    hub, uid, form = request.config_dict[HUB], _workitem(request), wanted_form(request, one=True)
    workitem = await in_thread(request, workitem_views.retrieve_workitem, hub, viewer, uid)
    return answer_datasets([workitem], form)


async def update(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Update (section 11.6); the Transaction UID stands in the query or in the body, unless nobody has claimed it."""
    hub, uid, dataset = request.config_dict[HUB], _workitem(request), await read_dataset(request)
    transaction_uid = _uid(_transaction_of_query(request) or text_of(dataset, TRANSACTION_UID))
    said = parse_update(dataset)
    if transaction_uid:
        await in_thread(request, workitems.update_workitem, hub, viewer, uid, transaction_uid, said.said)
    else:
        await in_thread(request, workitems.assign_workitem, hub, viewer, uid, said)
    leaves_out = said.leaves_out(is_claimed=bool(transaction_uid))
    return web.Response(headers={"Warning": warning_of(UNSUPPORTED)} if leaves_out else None)


async def change_state(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Change the state (section 11.7)."""
    hub, uid, dataset = request.config_dict[HUB], _workitem(request), await read_dataset(request)
    operation = REQUESTED.get(text_of(dataset, STATE))
    if operation is None:
        words = f"Procedure Step State (0074,1000) is one of {', '.join(REQUESTED)}"
        raise NotUnderstood(words, Status.INVALID_ARGUMENT)
    transaction_uid = _uid(text_of(dataset, TRANSACTION_UID))
    match operation:
        case Operation.CLAIM:
            status = await in_thread(request, workitems.claim_workitem, hub, viewer, uid, transaction_uid)
        case Operation.COMPLETE:
            status = await in_thread(request, workitems.complete_workitem, hub, viewer, uid, transaction_uid)
        case Operation.CANCEL:
            reason = _reason(dataset)
            status = await in_thread(request, workitems.cancel_workitem, hub, viewer, uid, transaction_uid, reason)
        case _:
            status = await in_thread(request, workitems.schedule_workitem, hub, viewer, uid)
    return web.Response(headers=_warning(status))


async def request_cancel(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Request cancellation (section 11.8): accepted means heard, not that it is cancelled."""
    hub, uid = request.config_dict[HUB], _workitem(request)
    dataset = await read_dataset(request) if request.can_read_body else {}
    reason, words = _reason(dataset), text_of(dataset, CANCELLATION_REASON)
    name, uri = text_of(dataset, CONTACT_NAME), text_of(dataset, CONTACT_URI)
    if len(name) > CONTACT_NAME_CHARACTERS_MAX or len(uri) > CONTACT_URI_CHARACTERS_MAX:
        raise NotUnderstood("Contact Display Name (0074,100C) or Contact URI (0074,100A) is too long")
    status = await in_thread(request, workitems.request_cancel, hub, viewer, uid, reason, words, (name, uri))
    return web.Response(status=202, headers=_warning(status))


def _warning(status: Status) -> dict[str, str] | None:
    return {"Warning": warning_of(WORDS[status])} if status in WARNINGS else None


def _workitem(request: web.Request) -> Uid:
    try:
        return parse_uid(request.match_info["workitem"])
    except InvalidIdentifier as exc:
        raise NotFound("there is no such workitem, or you may not see it") from exc


def _transaction_of_query(request: web.Request) -> str:
    """Return the Transaction UID of `?transaction=…`, or of the bare `?…` that clients send as well."""
    query = request.query
    named = query.get("transaction") or query.get("transaction-uid") or query.get(TRANSACTION_UID) or ""
    return named or next((name for name, value in query.items() if not value), "")


def _uid(text: str) -> str:
    """Return a Transaction UID, empty when there is none. Raises BadQuery for what is none."""
    try:
        return parse_uid(text) if text else ""
    except InvalidIdentifier as exc:
        raise BadQuery("the UID is none: digits and points, at most 64 characters") from exc


def _reason(dataset: DicomJson) -> str:
    """Return the code of CID 9303 that a request gives, within the progress or beside it."""
    within = (parse_reason(item) for item in items_of(dataset, PROGRESS))
    return parse_reason(dataset) or next(within, "")
