"""How UPS-RS refuses: problem details with the DIMSE status beside them, and the Warning header of PS3.18."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.workitems.content import NotUnderstood
from reading_queue.domain.workitems.states import WORDS, Status
from reading_queue.services.worklists.workitems import TransactionUidWrong, WorkitemConflict
from reading_queue.web.problems import problem
from storage.dicomweb.service import warning_of
from storage.screens.requests import Handler

# The sentences of PS3.18 sections 11.6.3.2 and 11.7.3.2.
NOT_CLAIMED: Final = "The target URI did not reference a claimed Workitem."
MISSING: Final = "The Transaction UID is missing."
INCORRECT: Final = "The Transaction UID is incorrect."


@web.middleware
async def in_dicom_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what PS3.4 Tables CC.1.1-2 and CC.2.5-3 refuse into an answer; others are told as everywhere on the hub."""
    try:
        return await handler(request)
    except NotUnderstood as error:
        return _answer(400, "not_understood", str(error), error.status, WORDS[error.status])
    except TransactionUidWrong as error:
        sentence = MISSING if error.is_missing else INCORRECT
        return _answer(error.status, error.code, error.detail, Status.TRANSACTION_UID_INCORRECT, sentence)
    except WorkitemConflict as error:
        sentence = _conflict_sentence(error.ups_status, of_state=request.path.endswith("/state"))
        return _answer(error.status, error.code, error.detail, error.ups_status, sentence)


def _conflict_sentence(status: Status, *, of_state: bool) -> str:
    if status is Status.TRANSACTION_UID_INCORRECT:
        return INCORRECT
    if of_state:
        return "The submitted request is inconsistent with the state of the UPS Instance."
    if status is Status.NOT_IN_PROGRESS:
        return NOT_CLAIMED
    return "The submitted request is inconsistent with the current state of the Workitem."


def _answer(status: int, code: str, detail: str, ups_status: Status, sentence: str) -> web.Response:
    response = problem(status, code, detail, ups_status=ups_status.value)
    response.headers["Warning"] = warning_of(sentence)
    return response
