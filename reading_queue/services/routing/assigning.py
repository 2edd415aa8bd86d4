"""Who may read a case and why the others may not, recomputed now beside what was decided; and a coordinator's choice.

Durable: an assignment is an offer that says who gave it, why, and what was set aside; audited, and a line of the
ledger. The others' offers end with it, and nobody further is asked until it has run out or was declined. The physician
still claims it: nobody holds what they have not taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Offer, ReadingTask
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.routing import Phase, Reason, rank
from reading_queue.domain.transitions import ROUTABLE, Actor, CaseEvent, ReadingTaskState
from reading_queue.errors import Forbidden, IdentityInDoubt, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.case_heads import CaseHead, load_case_head
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    close_offers,
    find_open_task,
    get_case_locked,
    move_case,
    record_custody,
)
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.network.rights import keep_rights
from reading_queue.services.patients.identity_doubts import is_held
from reading_queue.services.routing.decisions import (
    CandidateView,
    DecisionView,
    load_decisions,
    load_names,
    view_candidates,
)
from reading_queue.services.routing.eligibility import find_eligible_agreement
from reading_queue.services.routing.escalating import end_escalations
from reading_queue.services.routing.offers import give_offer
from reading_queue.services.routing.routing import (
    chosen_by_hand,
    decide_by_hand,
    tighten_due,
)
from reading_queue.services.routing.routing_facts import SharedFacts, load_facts
from storage.contract.hops import Hop

# What a coordinator may set aside: a claim itself asks again for licence, second physician and work in progress.
MAY_BE_SET_ASIDE: Final = frozenset(
    {Reason.OFF_DUTY, Reason.DECLINED, Reason.WEEKLY_WORKLOAD_FULL, Reason.AGREEMENT_DAY_FULL}
)


class MayNotBeAssigned(Forbidden):
    """Without an agreement, a licence and room for it nobody is given a case."""

    code = "may_not_be_assigned"


@dataclass(frozen=True, slots=True)
class CandidatesView:
    """Why a reading task is with whom it is: what was decided, the newest first, and everybody as of now."""

    case: CaseHead
    reading_task_id: str
    phase: Phase
    holder: str  # a name, empty while nobody holds it
    candidates: tuple[CandidateView, ...]
    decisions: tuple[DecisionView, ...]


def list_candidates(hub: Hub, viewer: Viewer, case_id: str) -> CandidatesView:
    """Return who may read the case's open task, best first, then all others with every reason.

    Raises:
        NotFound: the viewer does not oversee the case. WrongState: it has no open reading task.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case, task = _get_open(session, case_id)
        facts = load_facts(session, case, task, SharedFacts(session, now, hub.policy.workload_points))
        ranking = rank(facts.case, facts.physicians, facts.agreements, now)
        names = load_names(session, viewer.language)
        still_open = Offer.reading_task_id == task.reading_task_id, Offer.state == "open"
        offered = session.scalars(select(Offer.physician_id).where(*still_open)).all()
        set_aside = MAY_BE_SET_ASIDE if task.state == ReadingTaskState.SCHEDULED else None
        return CandidatesView(
            case=load_case_head(session, case, viewer.language),
            reading_task_id=task.reading_task_id,
            phase=Phase(task.phase),
            holder=names.get(task.holder_id or "", ("", ""))[0],
            candidates=view_candidates(facts, ranking, names, viewer.language, offered, set_aside),
            decisions=load_decisions(session, case_id, names, viewer.language),
        )


def assign(hub: Hub, viewer: Viewer, case_id: str, physician_id: str, reason: str) -> None:
    """Offer the case's scheduled task to this physician instead of anybody else.

    Raises:
        MayNotBeAssigned: something that nobody may set aside stands against it.
        IdentityInDoubt: it is open whose the case is, and it can wait.
        WrongState: somebody holds the task; take it away first. Invalid: no reason is given. NotFound.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    words = parse_words(reason, "say in a few words why you choose this physician")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case, task = _get_open(session, case_id)
        if task.state != ReadingTaskState.SCHEDULED or case.state not in ROUTABLE:
            raise WrongState("somebody reads it, or it cannot be offered yet")
        if is_held(case, task):
            raise IdentityInDoubt
        keep_rights(session)
        agreement_id, set_aside = find_eligible_agreement(session, hub, case, task, physician_id, now, MAY_BE_SET_ASIDE)
        if agreement_id is None:
            raise MayNotBeAssigned
        close_offers(session, task, now)
        chosen = chosen_by_hand(physician_id, agreement_id)
        why = {"assigned_by": viewer.account_id, "agreement_id": agreement_id, "reason": words, "set_aside": set_aside}
        give_offer(session, hub, case, task, chosen, now, why)
        said = {name: why[name] for name in ("assigned_by", "reason", "set_aside")}
        decide_by_hand(session, hub, case, task, chosen, said, now)
        _record(session, viewer, case, task, physician_id, words, set_aside, now)
        if task.phase == Phase.INTERPRETATION:
            tighten_due(session, hub, case, now)


def _record(
    session: Session,
    viewer: Viewer,
    case: Case,
    task: ReadingTask,
    physician_id: str,
    words: str,
    set_aside: tuple[Reason, ...],
    now: datetime,
) -> None:
    session.flush()
    move_case(case, CaseEvent.OFFER, Actor.COORDINATOR)
    case.unroutable_reason = None
    end_escalations(session, case.case_id, frozenset({Escalation.NOBODY}), now)
    if task.phase == Phase.INTERPRETATION:
        case.offered_at = case.offered_at or now
    about = {"reading_task_id": task.reading_task_id, "physician_ids": [physician_id]}
    hop = Hop.REVIEW_OFFERED if task.phase == Phase.VERIFICATION else Hop.OFFERED
    key = f"assigned:{task.reading_task_id}:{physician_id}:{now.isoformat()}"
    record_custody(session, case, hop, key, now, actor=viewer.account_id, detail=about)
    said = {"reason": words, "set_aside": list(set_aside), **about}
    audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="assign", **said)


def _get_open(session: Session, case_id: str) -> tuple[Case, ReadingTask]:
    case = get_case_locked(session, case_id)
    task = find_open_task(session, case_id)
    if task is None:
        raise WrongState("nothing of this case is to be read now")
    return case, task
