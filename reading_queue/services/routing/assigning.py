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

from reading_queue.db.tables import Account, Case, Offer, Organisation, Physician, ReadingTask, RoutingDecision
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.routing import REASONS, Candidate, Phase, Ranking, Reason, rank
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
from reading_queue.services.patients.identity_doubts import is_held
from reading_queue.services.routing.eligibility import find_eligible_agreement
from reading_queue.services.routing.escalating import end_escalations
from reading_queue.services.routing.routing import give_offer, tighten_due_by_offers
from reading_queue.services.routing.routing_facts import RoutingFacts, SharedFacts, load_facts
from storage.contract.hops import Hop

# What a coordinator may set aside: a claim itself asks again for licence, second physician and work in progress.
MAY_BE_SET_ASIDE: Final = frozenset(
    {Reason.OFF_DUTY, Reason.DECLINED, Reason.WEEKLY_WORKLOAD_FULL, Reason.AGREEMENT_DAY_FULL}
)
DECISIONS_MAX: Final = 20


class MayNotBeAssigned(Forbidden):
    """Without an agreement, a licence and room for it nobody is given a case."""

    code = "may_not_be_assigned"


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One physician of the assisting hospitals, as of now. `place` is None for who is not in the order."""

    physician_id: str
    name: str
    organisation: str
    place: int | None
    stage: int | None
    work_in_progress: int
    work_in_progress_max: int
    workload_points: int
    read_this_patient: bool
    offered: bool  # the task is offered to them now
    reasons: tuple[Reason, ...]  # why they are not in the order
    words: tuple[str, ...]  # the same, in the viewer's language
    assignable: bool  # perhaps with something set aside


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One run of the ranking, as it was kept."""

    decided_at: datetime
    offered_to: tuple[str, ...]  # names
    excluded: dict[str, int]  # reason → number of physicians
    inputs: dict[str, object]


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
        names = _load_names(session, viewer.language)
        return CandidatesView(
            case=load_case_head(session, case, viewer.language),
            reading_task_id=task.reading_task_id,
            phase=Phase(task.phase),
            holder=names.get(task.holder_id or "", ("", ""))[0],
            candidates=_view_all(session, task, facts, ranking, names, viewer.language),
            decisions=_load_decisions(session, task, names),
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
        agreement_id, set_aside = find_eligible_agreement(session, hub, case, task, physician_id, now, MAY_BE_SET_ASIDE)
        if agreement_id is None:
            raise MayNotBeAssigned
        close_offers(session, task, now)
        chosen = Candidate(
            physician_id=physician_id,
            agreement_id=agreement_id,
            stage=0,
            let_pass=False,
            work_in_progress=0,
            workload_points=0,
            read_this_patient=False,
        )
        why = {"assigned_by": viewer.account_id, "agreement_id": agreement_id, "reason": words, "set_aside": set_aside}
        give_offer(session, hub, task, chosen, now, why=why)
        _record(session, viewer, case, task, physician_id, words, set_aside, now)


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
        tighten_due_by_offers(session, case, task)
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


def _load_names(session: Session, language: str) -> dict[str, tuple[str, str]]:
    """Return name and hospital of every physician by id."""
    rows = session.execute(
        select(Physician.physician_id, Account.display_name, Organisation.name, Organisation.name_en)
        .join(Account, Account.account_id == Physician.account_id)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
    )
    return {id_: (name, (english or native) if language == "en" else native) for id_, name, native, english in rows}


def _view_all(
    session: Session,
    task: ReadingTask,
    facts: RoutingFacts,
    ranking: Ranking,
    names: dict[str, tuple[str, str]],
    language: str,
) -> tuple[CandidateView, ...]:
    still_open = select(Offer.physician_id).where(Offer.reading_task_id == task.reading_task_id, Offer.state == "open")
    offered = set(session.scalars(still_open))
    places = {one.physician_id: (place, one) for place, one in enumerate(ranking.candidates, start=1)}
    views = []
    for who in facts.physicians:
        place, candidate = places.get(who.physician_id, (None, None))
        reasons = tuple(ranking.excluded.get(who.physician_id, ()))
        name, organisation = names[who.physician_id]
        views.append(
            CandidateView(
                physician_id=who.physician_id,
                name=name,
                organisation=organisation,
                place=place,
                stage=candidate.stage if candidate is not None else None,
                work_in_progress=who.work_in_progress,
                work_in_progress_max=who.work_in_progress_max,
                workload_points=who.workload_points,
                read_this_patient=who.read_this_patient,
                offered=who.physician_id in offered,
                reasons=reasons,
                words=tuple(REASONS[language][reason] for reason in reasons),
                assignable=task.state == ReadingTaskState.SCHEDULED and set(reasons) <= MAY_BE_SET_ASIDE,
            )
        )
    views.sort(key=lambda one: (one.place is None, one.place or 0, not one.assignable, one.name))
    return tuple(views)


def _load_decisions(session: Session, task: ReadingTask, names: dict[str, tuple[str, str]]) -> tuple[DecisionView, ...]:
    kept = select(RoutingDecision).where(RoutingDecision.reading_task_id == task.reading_task_id)
    newest = session.scalars(kept.order_by(RoutingDecision.decision_id.desc()).limit(DECISIONS_MAX))
    return tuple(
        DecisionView(
            decided_at=row.decided_at,
            offered_to=tuple(names.get(one, ("—", ""))[0] for one in row.offered_physician_ids),
            excluded=dict(row.excluded_counts),
            inputs=dict(row.inputs),
        )
        for row in newest
    )
