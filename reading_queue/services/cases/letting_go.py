"""Taking a case that nobody reads back for its site: at its wish now, or at one that no reader has answered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Case
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskEvent
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    close_offers,
    find_open_task,
    move_case,
    move_task,
    record_custody,
)
from storage.contract.hops import Hop


def let_go(session: Session, case: Case, role: Role, account_id: str, now: datetime) -> None:
    """Withdraw the case in the name of this account; raises WrongState while somebody reads it or has signed it."""
    actor = Actor.TECHNICIAN if role is Role.TECHNICIAN else Actor.COORDINATOR
    move_case(case, CaseEvent.WITHDRAW, actor)
    task = find_open_task(session, case.case_id)
    if task is not None:
        close_offers(session, task, now)
        move_task(task, ReadingTaskEvent.CANCEL, actor, now)
        task.cancel_reason = DiscontinuationReason.DOCTOR_CANCELED
    record_withdrawal(session, case, Hop.WITHDRAWN, account_id, now)


def let_go_as_asked(session: Session, case: Case, now: datetime) -> bool:
    """Withdraw a case whose reader has gone without answering what its site wishes; return whether it is withdrawn."""
    if case.state != CaseState.READY or case.withdrawal_asked_at is None or case.withdrawal_asked_by is None:
        return False
    account = session.get_one(Account, case.withdrawal_asked_by)
    let_go(session, case, Role(account.role), account.account_id, now)
    return True


def record_withdrawal(session: Session, case: Case, hop: Hop, account_id: str, now: datetime, act_id: str = "") -> None:
    """Write into ledger and audit trail what becomes of a wish to withdraw."""
    key = f"{hop}:{case.case_id}:{now.isoformat()}"
    detail = {"act_id": act_id} if act_id else {}
    record_custody(session, case, hop, key, now, actor=account_id, detail=detail)
    audit(session, now, PROCEDURE_RECORD, "U", account_id, case, event=hop.value)
