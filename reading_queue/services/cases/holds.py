"""Asking the site of a case for what is missing, while its limit stands still.

Durable: each question with its answer. One is open for a case at most. The lease of a case on hold runs as long as the
hold may last; when that is over the case goes to others. A question ends with the claim that asked it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.information import Outcome, Wanted
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState
from reading_queue.errors import Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    get_case_locked,
    get_task_locked,
    move_case,
    record_custody,
)
from reading_queue.services.cases.information_requests import end_request, find_open_request
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import require_holder
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id

WORDS_MAX: Final = 2000
AT_THE_SITE: Final = (Role.TECHNICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)


def ask_site(hub: Hub, viewer: Viewer, reading_task_id: str, wants: Collection[str], question: str) -> str:
    """Ask the site and put the case on hold; return the question's id.

    Raises:
        NotHolder: the viewer does not hold the task. WrongState: it is not being interpreted.
        Invalid: nothing is asked, or something that nobody can be asked for.
    """
    now = hub.clock()
    wanted, words = _parse_wants(wants), parse_words(question, "say in a few words what is missing")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        move_case(case, CaseEvent.HOLD, Actor.HOLDER)
        task.lease_expires_at = now + timedelta(seconds=hub.policy.hold_max_s)
        request = InformationRequest(
            request_id=new_id(),
            case_id=case.case_id,
            reading_task_id=task.reading_task_id,
            asked_by=viewer.account_id,
            asked_at=now,
            wants=[one.value for one in wanted],
            question=words,
        )
        session.add(request)
        session.flush()
        _record(session, case, Hop.HELD, request, now, viewer, wants=request.wants)
        return request.request_id


def answer_site_request(hub: Hub, viewer: Viewer, request_id: str, answer: str) -> None:
    """Answer what the reader asked; the case goes on with them. Answering again what is answered changes nothing.

    Raises:
        NotFound: there is no such question, or the viewer may not see its case.
        WrongState: the question has ended otherwise. Invalid: the answer is empty.
    """
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    words = parse_words(answer, "say in a few words what the reader asked for")
    with hub.transaction() as session:
        case_id = session.scalar(select(InformationRequest.case_id).where(InformationRequest.request_id == request_id))
        if case_id is None:
            raise NotFound("there is no such question")
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        request = session.get_one(InformationRequest, request_id, populate_existing=True)
        if (request.outcome, request.answer) == (Outcome.ANSWERED, words):
            return
        if request.ended_at is not None:
            raise WrongState("the reader waits for this no more; look at the case again")
        request.answer = words
        request.answered_by = viewer.account_id
        actor = Actor.TECHNICIAN if viewer.role is Role.TECHNICIAN else Actor.COORDINATOR
        _go_on(session, hub, case, request, actor, Outcome.ANSWERED, now)
        _record(session, case, Hop.HOLD_ENDED, request, now, viewer, outcome=Outcome.ANSWERED.value)


def resume(hub: Hub, viewer: Viewer, reading_task_id: str) -> None:
    """Read on without the answer. Raises NotHolder, or WrongState when nothing is asked."""
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        request = find_open_request(session, case.case_id)
        if request is None:
            raise WrongState("nothing is asked of the site")
        _go_on(session, hub, case, request, Actor.HOLDER, Outcome.WENT_ON, now)
        _record(session, case, Hop.HOLD_ENDED, request, now, viewer, outcome=Outcome.WENT_ON.value)


def parse_words(text: str, otherwise: str) -> str:
    """Return the words that a person has to give, without what surrounds them; raises Invalid with `otherwise`."""
    words = text.strip()
    if not 0 < len(words) <= WORDS_MAX:
        raise Invalid(otherwise)
    return words


def _parse_wants(wants: Collection[str]) -> list[Wanted]:
    try:
        found = sorted({Wanted(one) for one in wants}, key=list(Wanted).index)
    except ValueError as exc:
        raise Invalid(f"what is wanted is among {', '.join(Wanted)}") from exc
    if not found:
        raise Invalid("say what is missing")
    return found


def _go_on(
    session: Session, hub: Hub, case: Case, request: InformationRequest, actor: Actor, outcome: Outcome, now: datetime
) -> None:
    """Let the holder read on, with a whole lease."""
    if case.state != CaseState.ON_HOLD:
        raise WrongState("the case is not on hold")
    move_case(case, CaseEvent.RESUME, actor)
    task = session.get_one(ReadingTask, request.reading_task_id)
    task.lease_expires_at = now + timedelta(seconds=hub.policy.lease_s)
    end_request(case, request, outcome, now)
    session.flush()


def _record(
    session: Session, case: Case, hop: Hop, request: InformationRequest, now: datetime, viewer: Viewer, **detail: object
) -> None:
    about = {"request_id": request.request_id, **detail}
    record_custody(session, case, hop, f"{hop}:{request.request_id}", now, actor=viewer.account_id, detail=about)
    audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event=hop.value, **about)
