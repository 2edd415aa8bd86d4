"""Sending a case back to its site because it cannot be read as it is, and taking it up again.

Durable: the reason, a code of CID 9303 with words, on the case. The site sends other images, or says what was missing:
the case is ready again and its limit counts as before.
"""

from __future__ import annotations

from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskEvent
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    close_offers,
    find_open_task,
    get_case_locked,
    launch_route,
    move_case,
    move_task,
    open_reading_task,
    record_custody,
)
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.cases.information_requests import end_question
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import parse_reason, require_holder
from storage.contract.hops import Hop


def return_to_site(hub: Hub, viewer: Viewer, case_id: str, reason_code: str, words: str) -> None:
    """Send the case back. `reason_code` is of CID 9303, `words` say what the site shall do.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        NotHolder: a physician who does not hold it. WrongState: it is not to be read now.
        Invalid: the reason is no code, or there are no words.
    """
    now = hub.clock()
    require(viewer, Role.PHYSICIAN, Role.COORDINATOR)
    code, said = parse_reason(reason_code), parse_words(words, "say in a few words what the site shall do")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        task = find_open_task(session, case_id)
        actor = Actor.COORDINATOR
        if viewer.role is Role.PHYSICIAN:
            actor = Actor.HOLDER
            if task is not None:
                require_holder(viewer, task)
        end_question(session, case, now)
        move_case(case, CaseEvent.RETURN_TO_SITE, actor)
        case.return_code, case.return_words = code, said
        if task is not None:
            close_offers(session, task, now)
            move_task(task, ReadingTaskEvent.CANCEL, actor, now)
            task.cancel_reason = code
        key = f"{Hop.RETURNED_TO_SITE}:{case_id}:{now.isoformat()}"
        detail = {"reason": code.value, "reading_task_id": task.reading_task_id if task is not None else ""}
        record_custody(session, case, Hop.RETURNED_TO_SITE, key, now, actor=viewer.account_id, detail=detail)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="return_to_site", reason=code)


def resubmit(hub: Hub, viewer: Viewer, case_id: str, words: str) -> None:
    """Have a case that was sent back read as it is, with what was missing in words; the same again changes nothing.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        WrongState: it was not sent back. Invalid: there are no words.
    """
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    said = parse_words(words, "say in a few words what was missing, or why the case can be read")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        if case.state != CaseState.RETURNED and case.return_words.endswith(_said(said)):
            return  # these very words were heard before
        move_case(case, CaseEvent.RESUBMIT, Actor.TECHNICIAN if viewer.role is Role.TECHNICIAN else Actor.COORDINATOR)
        case.ready_at = now
        case.return_words += _said(said)
        task = open_reading_task(session, case, Phase.INTERPRETATION, now)
        launch_route(session, now, task.reading_task_id)
        key = f"{Hop.RESUBMITTED}:{case_id}:{now.isoformat()}"
        record_custody(session, case, Hop.RESUBMITTED, key, now, actor=viewer.account_id)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="resubmit")


def _said(words: str) -> str:
    return f"\n→ {words}"
