"""A site takes a case back: at once while nobody reads it, else by asking its reader, who may refuse.

Durable: the wish, its reason and the answer, on the case. A reader who gives the case back unanswered lets it go.
A signed report is never withdrawn. Asking twice is fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.transitions import BEING_READ, Actor, CaseEvent, CaseState, ReadingTaskEvent
from reading_queue.domain.workitems.reports import EventType
from reading_queue.errors import WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import (
    find_open_task,
    get_case_locked,
    get_task_locked,
    move_case,
    move_task,
)
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.cases.information_requests import end_question
from reading_queue.services.cases.letting_go import let_go, record_withdrawal
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import require_holder
from reading_queue.services.worklists.workitem_events import report_event
from storage.contract.hops import Hop
from storage.ledger.tables import CustodyEvent


@dataclass(frozen=True, slots=True)
class Wish:
    """Why a reader is asked to let a case go, as a code of CID 9303, and whom they may ask about it."""

    code: DiscontinuationReason = DiscontinuationReason.DOCTOR_CANCELED
    contact_name: str = ""
    contact_uri: str = ""


def withdraw(
    hub: Hub, viewer: Viewer, case_id: str, reason: str, *, act_id: str = "", wish: Wish | None = None
) -> bool:
    """Withdraw the case, or ask its reader to let it go; return whether it is withdrawn now.

    `act_id` names a wish that may be told again after its reader has answered: then nothing is asked anew.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        WrongState: it is signed already. Invalid: no reason is given.
    """
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    words = parse_words(reason, "say in a few words why the case is withdrawn")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        if case.state == CaseState.CANCELLED:
            return True
        if _was_asked(session, case, act_id):
            return False  # whatever became of it, a reader's refusal or the site's own second thoughts
        if case.state in BEING_READ:
            _ask(session, case, viewer, words, now, act_id, wish or Wish())
            return False
        let_go(session, case, viewer.role, viewer.account_id, now)
        case.withdrawal_reason = words
        return True


def answer_withdrawal(hub: Hub, viewer: Viewer, reading_task_id: str, *, accept: bool, reason: str = "") -> None:
    """Let the case go, or go on reading with a reason that the site is told (UPS C313).

    Raises:
        NotHolder: the viewer does not hold the task.
        WrongState: the site asks for nothing. Invalid: a refusal without its reason.
    """
    now = hub.clock()
    words = "" if accept else parse_words(reason, "say in a few words why you go on reading")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        if case.withdrawal_asked_at is None:
            raise WrongState("the site has not asked for the case")
        case.withdrawal_asked_at = None
        if not accept:
            case.withdrawal_refusal = words
            record_withdrawal(session, case, Hop.WITHDRAWAL_REFUSED, viewer.account_id, now)
            return
        end_question(session, case, now)
        move_case(case, CaseEvent.ACCEPT_WITHDRAWAL, Actor.HOLDER)
        move_task(task, ReadingTaskEvent.CANCEL, Actor.HOLDER, now)
        task.cancel_reason = DiscontinuationReason.DOCTOR_CANCELED
        record_withdrawal(session, case, Hop.WITHDRAWN, viewer.account_id, now)


def _was_asked(session: Session, case: Case, act_id: str) -> bool:
    """Return whether this very wish is in the ledger already, whatever became of it."""
    asked = select(CustodyEvent.event_id).where(
        CustodyEvent.case_id == case.case_id,
        CustodyEvent.hop == Hop.WITHDRAWAL_ASKED,
        CustodyEvent.detail["act_id"].as_string() == act_id,
    )
    return bool(act_id) and session.scalar(asked.limit(1)) is not None


def _ask(session: Session, case: Case, viewer: Viewer, words: str, now: datetime, act_id: str, wish: Wish) -> None:
    if case.withdrawal_asked_at is not None:
        return
    case.withdrawal_asked_at = now
    case.withdrawal_asked_by = viewer.account_id
    case.withdrawal_reason = words
    case.withdrawal_refusal = ""
    task = find_open_task(session, case.case_id)
    if task is not None:
        contact = {"name": wish.contact_name, "uri": wish.contact_uri}
        report_event(session, task, EventType.CANCEL_REQUESTED, reason=wish.code, words=words, **contact)
    record_withdrawal(session, case, Hop.WITHDRAWAL_ASKED, viewer.account_id, now, act_id)
