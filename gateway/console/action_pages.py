"""What people ask for on the pages: of one study, of the line, of deliveries. Parse, one operation, back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from gateway import operations, site_acts
from gateway.console.errors import Conflict, Forbidden, Invalid, NotFound
from gateway.console.keys import DESK, Desk, get_viewer, in_thread
from gateway.console.language import in_words
from gateway.console.parsing import Form, field, id_of, study_of
from gateway.console.rights import EVERYBODYS, LIMITS_MBIT_S, OPERATORS
from gateway.identity_settling import settle_identity
from gateway.journal.database import Journal
from gateway.operations import Asker, NotPossible
from storage.contract.identifiers import Uid
from storage.contract.identity_doubts import CorrectedPerson, SettlementKind
from storage.contract.lanes import Lane
from storage.screens.requests import redirect

StudyOperation = Callable[[Journal, Asker, Uid], object]

STUDY_OPERATIONS: Final[dict[str, StudyOperation]] = {
    "pause": operations.pause_study,
    "resume": operations.resume_study,
    "cancel": operations.cancel_study,
    "requeue": operations.requeue_study,
    "complete": operations.complete_study,
}

# Of the study's case at the hub, with what was typed into the form.
CASE_OPERATIONS: Final[dict[str, Callable[[Form], StudyOperation]]] = {
    "answer": lambda form: partial(
        site_acts.answer_reader, request_id=field(form, "request_id"), words=field(form, "words")
    ),
    "withdraw": lambda form: partial(site_acts.withdraw_study, words=field(form, "words")),
    "resubmit": lambda form: partial(site_acts.resubmit_study, words=field(form, "words")),
    "acknowledge": lambda form: partial(
        site_acts.acknowledge_preliminary, submission_id=field(form, "submission_id"), words=field(form, "words")
    ),
    "identity": lambda form: partial(settle_identity, **_settlement(form)),
}


async def act_on_study(request: web.Request) -> web.StreamResponse:
    """Do what the address names with the study: pause, resume, cancel, requeue, complete, lane.

    Or with its case at the hub: answer, withdraw, resubmit, acknowledge, identity.
    """
    verb, study_uid = request.match_info["verb"], study_of(request)
    form: Form = await request.post()
    if verb == "lane":
        operation: StudyOperation = partial(_change_lane, field(form, "lane"))
    elif verb in CASE_OPERATIONS:
        operation = CASE_OPERATIONS[verb](form)
    elif verb in STUDY_OPERATIONS:
        operation = STUDY_OPERATIONS[verb]
    else:
        raise NotFound
    asker = await _asker(request, verb)
    await ask(request, operation, request.config_dict[DESK].journal, asker, study_uid)
    return redirect(f"/studies/{study_uid}?done={verb}")


async def act_on_line(request: web.Request) -> web.StreamResponse:
    """Pause or resume all uploads, or limit them."""
    verb, journal = request.match_info["verb"], request.config_dict[DESK].journal
    form: Form = await request.post()
    asker = await _asker(request, verb)
    match verb:
        case "pause":
            await ask(request, operations.pause_line, journal, asker)
        case "resume":
            await ask(request, operations.resume_line, journal, asker)
        case "limit":
            await ask(request, operations.limit_line, journal, asker, _limit(field(form, "mbit_s")))
        case _:
            raise NotFound
    return redirect("/line")


async def hurry_deliveries(request: web.Request) -> web.StreamResponse:
    """Try every delivery that waits for its next attempt now, or those of one target."""
    form: Form = await request.post()
    asker = await _asker(request, "requeue_delivery")
    target = field(form, "target") or None
    journal = request.config_dict[DESK].journal
    await ask(request, partial(operations.requeue_deliveries, target=target), journal, asker)
    return redirect("/attention")


async def act_on_delivery(request: web.Request) -> web.StreamResponse:
    """Give one delivery of a report's document up, or make it once more."""
    form: Form = await request.post()
    verb, report_id = request.match_info["verb"], id_of(request, "document_id")
    document_id, target = field(form, "document"), field(form, "target")
    journal = request.config_dict[DESK].journal
    match verb:
        case "cancel":
            asker = await _asker(request, "cancel_delivery")
            await ask(request, operations.cancel_delivery, journal, asker, document_id, target)
        case "requeue":
            asker = await _asker(request, "requeue_delivery")
            again = partial(operations.requeue_deliveries, document_id=document_id, target=target)
            if not await ask(request, again, journal, asker):
                raise NotFound
        case _:
            raise NotFound
    return redirect(f"/reports/{report_id}")


def asker_of(desk: Desk, account_id: str) -> Asker:
    """Return who asks, and when."""
    return Asker(account_id, desk.clock())


def operator_of(request: web.Request) -> Asker:
    """Return who asks. Raises Forbidden for one who may only look."""
    viewer = get_viewer(request)
    if viewer.role not in OPERATORS:
        raise Forbidden
    return asker_of(request.config_dict[DESK], viewer.account_id)


async def _asker(request: web.Request, verb: str) -> Asker:
    viewer = get_viewer(request)
    if viewer.role not in OPERATORS and verb not in EVERYBODYS:
        raise Forbidden
    return asker_of(request.config_dict[DESK], viewer.account_id)


async def ask(request: web.Request, operation: Callable[..., object], *args: object) -> object:
    """Return what the operation returns. Raises ActionNotPossible with the reason in the reader's words."""
    try:
        return await in_thread(request, operation, *args)
    except NotPossible as exc:
        raise ActionNotPossible(in_words(str(exc))) from exc


def _settlement(form: Form) -> dict[str, Any]:
    """Return how a form settles whose the case is. Raises Invalid."""
    try:
        kind = SettlementKind(field(form, "kind"))
        person = _person(form) if kind is SettlementKind.CORRECT else None
    except ValueError as exc:
        raise Invalid from exc
    named = {name: field(form, name) for name in ("conflict_id", "facts_sha256", "reason")}
    return {"kind": kind, "person": person, **named}


def _person(form: Form) -> CorrectedPerson:
    """Return who the order shall name. Raises ValueError."""
    birth_date, kind = field(form, "birth_date"), field(form, "identity_kind")
    typed = {name: field(form, name) for name in ("patient_name", "sex", "identity_number")}
    return CorrectedPerson.model_validate({**typed, "birth_date": birth_date or None, "identity_kind": kind or None})


def _change_lane(lane: str, journal: Journal, asker: Asker, study_uid: Uid) -> None:
    try:
        wanted = Lane(lane)
    except ValueError as exc:
        raise Invalid from exc
    operations.change_study_lane(journal, asker, study_uid, wanted)


def _limit(text: str) -> float | None:
    """Return a limit that the page offers, None for no limit. Raises Invalid."""
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError as exc:
        raise Invalid from exc
    if limit not in LIMITS_MBIT_S:
        raise Invalid
    return limit


class ActionNotPossible(Conflict):
    """What was asked for makes no sense now."""

    code = "not_possible"
