"""Offering a reading task: facts in, the pure ranking, offers out.

Idempotent by the reading task's id: what is offered already stays, and a task that has moved on is left alone. A task
for which nobody is eligible is marked on its case in words and tried again; it is never forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Agreement, Case, Offer, ReadingTask, RoutingDecision
from reading_queue.domain.clocks import agreed_due, moved_limit
from reading_queue.domain.escalation import Escalation, stages_widened
from reading_queue.domain.offering import agreements_by_stage, whose_limits_count
from reading_queue.domain.routing import (
    ENDS_AN_OFFER,
    NOBODY_BY_FAILURE,
    Candidate,
    CaseFacts,
    Phase,
    Ranking,
    Reason,
    choose,
    describe_nobody,
    limit_of,
    rank,
    still_to_ask,
)
from reading_queue.domain.transitions import ROUTABLE, Actor, CaseEvent, CaseState, ReadingTaskState
from reading_queue.services.cases.casework import (
    ROUTE_JOB,
    find_task_locked,
    find_tasks_locked,
    launch_route,
    move_case,
    record_custody,
)
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import present_versions
from reading_queue.services.network.rights import keep_rights
from reading_queue.services.patients.identity_doubts import is_held
from reading_queue.services.routing.eligibility import under_agreement
from reading_queue.services.routing.escalating import clock_of, end_escalations, raise_escalation
from reading_queue.services.routing.offers import end_with_right, load_offers, open_offer
from reading_queue.services.routing.routing_facts import RoutingFacts, SharedFacts, load_facts
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.ledger.tables import Redelivery

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the ranking: what it looked at, what came out, and the offers of the task so far by physician.

    `kept`: what else is kept with its decision.
    """

    facts: RoutingFacts
    ranking: Ranking
    offers: Mapping[str, Offer]
    kept: Mapping[str, Any]


EMERGENCIES_BEFORE_MAX: Final = 20  # in one turn: the crowd behind them waits for so many at most
RETRY_UNROUTABLE: Final = timedelta(seconds=60)


def route(hub: Hub, reading_task_id: str) -> None:
    """Offer the reading task to those the ranking puts first. Safe to run any number of times."""
    now = hub.clock()
    with hub.transaction() as session:
        found = find_task_locked(session, reading_task_id)
        if found is None:
            log.warning("routing_of_unknown_task", reading_task_id=reading_task_id)
            return
        task, case = found
        keep_rights(session)
        _route(session, hub, task, case, SharedFacts(session, now, hub.policy.workload_points, deciding=True), now)


def route_together(hub: Hub, reading_task_ids: Sequence[str]) -> None:
    """Route each of the reading tasks, in one transaction those whose cases nobody else has at the moment.

    What they have in common is read once: a crowd costs much less than its number. Raises what the routing of any of
    them raises, and then none is routed.
    """
    now = hub.clock()
    with hub.transaction() as session:
        found = find_tasks_locked(session, reading_task_ids)
        keep_rights(session)
        shared = SharedFacts(session, now, hub.policy.workload_points, deciding=True)
        for task, case in found:
            _route(session, hub, task, case, shared, now)
    routed = {task.reading_task_id for task, _ in found}
    for reading_task_id in reading_task_ids:
        if reading_task_id not in routed:
            route(hub, reading_task_id)


def _route(session: Session, hub: Hub, task: ReadingTask, case: Case, shared: SharedFacts, now: datetime) -> None:
    if task.state != ReadingTaskState.SCHEDULED or case.state not in ROUTABLE or is_held(case, task):
        return
    offers = load_offers(session, task)
    _expire(offers.values(), now)
    session.flush()
    facts = load_facts(session, case, task, shared)
    ranking = rank(facts.case, facts.physicians, facts.agreements, now)
    widened = _widened(case, task, now)
    chosen = choose(ranking, facts.case.lane, hub.policy.offer_width, widened)
    _hand_on(session, case, offers.values(), facts, ranking, now)
    asked = {physician_id for physician_id, offer in offers.items() if offer.state == "open"}
    able = asked.difference(ranking.excluded)  # who is full or off duty by now takes nobody's place
    if any("assigned_by" in offers[one].why for one in asked) or not all(under_agreement(offers[one]) for one in able):
        return  # a coordinator has chosen who is asked, or it lies with its author, who is there
    fresh = still_to_ask(chosen, able, hub.policy.offer_width * (1 + widened))
    run = Run(facts, ranking, offers, {"workload_points": hub.policy.workload_points, "widened": widened})
    if fresh:
        _offer(session, hub, case, task, fresh, run, now)
    elif not asked:
        _mark_unroutable(session, case, task, run, now)


def route_emergencies_before(hub: Hub, reading_task_ids: Sequence[str]) -> None:
    """Route the emergencies whose own messages wait behind a crowd; `reading_task_ids` are those that come anyway.

    Their messages find them offered. Left out is what is tried again by a message of its own: where nobody can be
    asked, or a process has ended. What fails here is settled when its message comes, and stops nobody else.
    """
    died = exists().where(Redelivery.job == ROUTE_JOB, Redelivery.subject_id == ReadingTask.reading_task_id)
    waiting = (
        select(ReadingTask.reading_task_id)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(
            Case.state == CaseState.READY,
            Case.lane == Lane.STAT,
            Case.unroutable_reason.is_(None),
            ReadingTask.state == ReadingTaskState.SCHEDULED,
            ReadingTask.reading_task_id.not_in(reading_task_ids),
            ~died,
        )
        .order_by(Case.ready_at)
        .limit(EMERGENCIES_BEFORE_MAX)
    )
    with hub.transaction() as session:
        emergencies = session.scalars(waiting).all()
    for reading_task_id in emergencies:
        try:
            route(hub, reading_task_id)
        except Exception:
            log.exception("emergency_not_routed_before_its_message", reading_task_id=reading_task_id)


def note_failed(hub: Hub, reading_task_id: str) -> None:
    """Tell the duty director and the site that nobody is asked, because the routing of this task failed for good."""
    now = hub.clock()
    with hub.transaction() as session:
        found = find_task_locked(session, reading_task_id)
        if found is None:
            return
        task, case = found
        waits = task.state == ReadingTaskState.SCHEDULED and case.state in ROUTABLE and not is_held(case, task)
        if waits and not any(offer.state == "open" for offer in load_offers(session, task).values()):
            case.unroutable_reason = NOBODY_BY_FAILURE["zh"]
            raise_escalation(session, case, Escalation.NOBODY, now)


def _widened(case: Case, task: ReadingTask, now: datetime) -> int:
    """Return how many further stages the clock of an interpretation asks."""
    clock = clock_of(case)
    return stages_widened(clock, now) if clock is not None and task.phase == Phase.INTERPRETATION else 0


def expire_offers_of(session: Session, task: ReadingTask, now: datetime) -> int:
    """Close the task's offers whose time has run out; return how many."""
    expired = _expire(load_offers(session, task).values(), now)
    session.flush()
    return expired


def _expire(offers: Iterable[Offer], now: datetime) -> int:
    overdue = [offer for offer in offers if offer.state == "open" and offer.expires_at <= now]
    for offer in overdue:
        offer.state = "expired"
        offer.answered_at = now
    return len(overdue)


def _hand_on(
    session: Session, case: Case, offers: Iterable[Offer], facts: RoutingFacts, ranking: Ranking, now: datetime
) -> None:
    """End the offers to those who may not read it any more or are not there: others are asked in their place.

    Of their own work, which lies with its author, only those without a licence and those who are not there.
    """
    away = {one.physician_id: one.away for one in facts.physicians}
    for offer in (offer for offer in offers if offer.state == "open"):
        ending = ENDS_AN_OFFER if under_agreement(offer) else {Reason.LICENCE_EXPIRED}
        may_not = not ending.isdisjoint(ranking.excluded.get(offer.physician_id, ()))
        if may_not or away.get(offer.physician_id, True):  # whom nobody knows here: the account is closed
            offer.state = "withdrawn"
            offer.answered_at = now
        else:
            end_with_right(session, offer, case, facts)


def _offer(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    candidates: Sequence[Candidate],
    run: Run,
    now: datetime,
) -> None:
    ranking = run.ranking
    decision = keep_decision(session, task, candidates, run, now)
    versions: Mapping[str, int] = decision.inputs["agreement_versions"]
    places = {one.physician_id: place for place, one in enumerate(ranking.candidates, start=1)}
    for candidate in candidates:
        why = {**candidate.why(), "place": places[candidate.physician_id], "of": len(ranking.candidates)}
        why |= {"widened": run.kept["widened"]} if run.kept["widened"] else {}
        chosen = (candidate, versions.get(candidate.agreement_id))
        earlier = run.offers.get(candidate.physician_id)
        end_with_right(session, open_offer(session, hub, task, earlier, chosen, now, why), case, run.facts)
    move_case(case, CaseEvent.OFFER, Actor.SYSTEM)
    case.unroutable_reason = None
    end_escalations(session, case.case_id, frozenset({Escalation.NOBODY}), now)
    if task.phase == Phase.INTERPRETATION:
        case.offered_at = case.offered_at or now
        session.flush()
        stages = agreements_by_stage(run.facts.case, run.facts.agreements)
        _tighten_due(session, case, whose_limits_count(stages, _load_offered(session, case)))
    hop = Hop.REVIEW_OFFERED if task.phase == Phase.VERIFICATION else Hop.OFFERED
    record_custody(
        session,
        case,
        hop,
        f"offered:{decision.decision_id}",
        now,
        detail={"reading_task_id": task.reading_task_id, "physician_ids": decision.offered_physician_ids},
    )
    log.info("reading_task_offered", reading_task_id=task.reading_task_id, case_id=case.case_id, offers=len(candidates))


def tighten_due(session: Session, hub: Hub, case: Case, now: datetime) -> None:
    """Set when the report is due by the agreements under which it is offered or read now, and by earlier stages'."""
    offered = _load_offered(session, case)
    if not offered:
        return
    shared = SharedFacts(session, now, hub.policy.workload_points)
    facts = CaseFacts(
        case_id=case.case_id,
        phase=Phase.INTERPRETATION,
        lane=Lane(case.lane),
        modality=case.modality,
        body_region=case.body_region,
        organisation_ids=shared.lineage(case.organisation_id),
        local_date=shared.local_date(case.site_id),
    )
    agreements = shared.with_today(shared.agreements(facts.organisation_ids), case)
    _tighten_due(session, case, whose_limits_count(agreements_by_stage(facts, agreements), offered))


def _load_offered(session: Session, case: Case) -> set[str]:
    """Return the agreements under which the case is offered or read now."""
    offered = (
        select(Offer.agreement_id)
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .where(
            ReadingTask.case_id == case.case_id,
            ReadingTask.phase == Phase.INTERPRETATION,
            ReadingTask.state != ReadingTaskState.CANCELED,
            Offer.state.in_(("open", "claimed")),
        )
    )
    return set(session.scalars(offered))


def _tighten_due(session: Session, case: Case, agreement_ids: Collection[str]) -> None:
    """Set when the report is due by the agreements' own limits, where they have one for this lane: the earliest."""
    limits = session.scalars(select(Agreement.time_limits_min).where(Agreement.agreement_id.in_(agreement_ids)))
    minutes = limit_of(limits, Lane(case.lane))
    if minutes is not None:
        due_at = (case.exam_started_at or case.first_instance_at) + timedelta(minutes=minutes)
        due_at = moved_limit(due_at, Lane(case.lane), timedelta(seconds=case.paused_s))  # it waited for its site
        in_green_channel = case.green_channel is not None
        case.due_at = agreed_due(due_at, case.due_at or due_at, in_green_channel=in_green_channel)
        case.look_again_at = None


def _mark_unroutable(session: Session, case: Case, task: ReadingTask, run: Run, now: datetime) -> None:
    """Say on the case why nobody can be asked, go back to READY, and try again later."""
    ranking = run.ranking
    reason = describe_nobody(ranking.counts())
    if case.state == CaseState.OFFERED:
        move_case(case, CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)
    raise_escalation(session, case, Escalation.NOBODY, now)
    if case.unroutable_reason != reason:
        case.unroutable_reason = reason
        decision = keep_decision(session, task, [], run, now)
        record_custody(
            session,
            case,
            Hop.UNROUTABLE,
            f"unroutable:{decision.decision_id}",
            now,
            detail={"reading_task_id": task.reading_task_id, "excluded": ranking.counts()},
        )
        log.warning("reading_task_unroutable", reading_task_id=task.reading_task_id, excluded=ranking.counts())
    launch_route(session, now, task.reading_task_id, due_at=now + RETRY_UNROUTABLE)


def chosen_by_hand(physician_id: str, agreement_id: str) -> Candidate:
    """Return who is chosen by a person and not by the order."""
    return Candidate(
        physician_id=physician_id,
        agreement_id=agreement_id,
        stage=0,
        let_pass=False,
        work_in_progress=0,
        workload_points=0,
        read_this_patient=False,
    )


def decide_by_hand(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    chosen: Candidate,
    said: Mapping[str, Any],
    now: datetime,
) -> None:
    """Keep a person's decision as those of the ranking are: with everybody who could have read it, and all reasons."""
    facts = load_facts(session, case, task, SharedFacts(session, now, hub.policy.workload_points))
    ranking = rank(facts.case, facts.physicians, facts.agreements, now)
    run = Run(facts, ranking, {}, {"workload_points": hub.policy.workload_points, **said})
    keep_decision(session, task, [chosen], run, now)


def keep_decision(
    session: Session,
    task: ReadingTask,
    offered: Sequence[Candidate],
    run: Run,
    now: datetime,
) -> RoutingDecision:
    """Keep what explains this run, and lets it be made again (`decisions`): whom it offered, and what it looked at."""
    facts, ranking = run.facts, run.ranking
    limited = (one for one in facts.agreements if one.cases_per_day_max)
    agreement_ids = sorted(agreement.agreement_id for agreement in facts.agreements)
    decision = RoutingDecision(
        reading_task_id=task.reading_task_id,
        decided_at=now,
        offered_physician_ids=[candidate.physician_id for candidate in offered],
        excluded_counts=ranking.counts(),
        inputs={
            "lane": Lane(facts.case.lane).value,
            "phase": facts.case.phase.value,
            "modality": facts.case.modality,
            "body_region": facts.case.body_region,
            "organisation_ids": list(facts.case.organisation_ids),
            "local_date": facts.case.local_date.isoformat(),
            "agreement_ids": agreement_ids,
            "agreement_versions": present_versions(session, agreement_ids),
            "physicians_considered": len(facts.physicians),
            "task_version": task.version,
            "author_id": facts.case.author_id,
            "specialties": list(facts.case.specialties),
            "cases_today": {one.agreement_id: [dict(one.cases_today), one.has_this_case] for one in limited},
            "readers": [one.physician_id for one in facts.physicians if one.read_this_patient],
            "declined": [one.physician_id for one in facts.physicians if one.declined],
            "let_pass": [one.physician_id for one in facts.physicians if one.let_pass],
            **run.kept,
        },
    )
    session.add(decision)
    session.flush()
    return decision
