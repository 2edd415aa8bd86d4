"""Why not me, for a physician; why late, for a coordinator: from decisions, offers and clocks as they were kept.

Reads only. A physician is told of cases of the sites that their hospitals read for, and nothing of the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Case, CaseStudy, Offer, Organisation, Physician, ReadingTask, RoutingDecision
from reading_queue.domain.clocks import Standing, pause_of, standing
from reading_queue.domain.lateness import Spent, spans_of
from reading_queue.domain.routing import REASONS, Phase, Ranking, rank
from reading_queue.domain.transitions import ROUTABLE, CaseState, ReadingTaskState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.case_heads import CaseHead, load_case_head
from reading_queue.services.cases.casework import find_open_task
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.cases.waiting import load_waiting
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import organisation_name, site_name
from reading_queue.services.reading.claims import require_physician
from reading_queue.services.routing.decisions import decide_again
from reading_queue.services.routing.routing_facts import SharedFacts, load_facts, load_lineage, load_local_date
from storage.catalogue.tables import Study
from storage.contract.lanes import Lane
from storage.ledger.tables import CustodyEvent, Site

NUMBER_MAX: Final = 64
CASES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why a case is not with the viewer. `decided_at`: its newest run of the ranking, None when there was none.

    `own_offer` is the state of an offer to the viewer; `place` and `words` are as of now while it waits for a taker,
    and of that run when it does not any more (`is_past`).
    """

    case_id: str
    site_name: str
    modality: str
    lane: Lane
    state: CaseState
    phase: Phase | None  # what is to be done now
    held_by_viewer: bool
    own_offer: str | None
    decided_at: datetime | None
    offered: int  # to how many it was offered then
    considered: int
    place: int | None
    of: int
    words: tuple[str, ...]
    is_past: bool = False


@dataclass(frozen=True, slots=True)
class Lateness:
    """Where the time of a case went, and what happened to it on the way."""

    case: CaseHead
    due_at: datetime | None
    late_by: timedelta | None  # by the clock that counts, None while it is in time
    standing: Standing  # by both clocks
    spans: tuple[Spent, ...]
    longest: Spent | None
    waited_for_site: timedelta  # how long it stood still for a reader's questions, or for whose it is
    declined: int
    let_pass: int  # offers that ran out unanswered
    given_back: int  # claims that ended without their work
    nobody: int  # how often nobody could be asked
    agreement_id: str | None  # under which it is read, or was first offered
    agreement: tuple[str, str] | None  # names of who has it read, and of who reads
    agreement_version: int | None  # of that day; later ones change nothing for it
    limit_min: int | None  # as that version says for the lane; None: the hub's own limit counts


def why_not_me(hub: Hub, viewer: Viewer, number: str) -> tuple[WhyNot, ...]:
    """Return why the cases with this accession number are not with the viewer, the newest first.

    Nothing for a number of a site that none of the viewer's hospitals reads for.
    """
    physician_id, wanted = require_physician(viewer), number.strip()[:NUMBER_MAX]
    now = hub.clock()
    if not wanted:
        return ()
    of_study = (Study.site_id == CaseStudy.site_id) & (Study.study_uid == CaseStudy.study_uid)
    query = (
        select(Case, site_name(viewer.language))
        .join(Site, Site.site_id == Case.site_id)
        .where(
            exists()
            .where(CaseStudy.case_id == Case.case_id, of_study, Study.accession_number == wanted)
            .correlate(Case)
        )
        .order_by(Case.created_at.desc())
        .limit(CASES_MAX)
    )
    with hub.transaction() as session:
        shared = SharedFacts(session, now, hub.policy.workload_points)
        physician = session.get_one(Physician, physician_id)
        return tuple(
            _explain(session, case, name, physician, viewer.language, shared, now)
            for case, name in session.execute(query).all()
            if _is_read_by(session, case, physician, now)
        )


def why_late(hub: Hub, viewer: Viewer, case_id: str) -> Lateness:
    """Return where the time of the case went. Raises NotFound for who does not oversee it."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = session.get_one(Case, case_id)
        moments = (
            case.exam_started_at,
            case.first_instance_at,
            case.ready_at,
            case.offered_at,
            None if _was_given_back(case) else case.claimed_at,
            case.submitted_at,
            case.signed_at,
        )
        spans = tuple(spans_of(moments, now))
        waited = timedelta(seconds=case.paused_s), _open_wait(session, case, now)
        began_at = case.exam_started_at or case.first_instance_at
        stands = standing(began_at, case.signed_at or now, case.due_at, Lane(case.lane), waited)
        offers = _count_offers(session, case_id)
        hops = _count_hops(session, case_id)
        agreed = _find_agreed(session, case)
        return Lateness(
            case=load_case_head(session, case, viewer.language),
            due_at=case.due_at,
            late_by=stands.gross_late_by if stands.counts_gross else stands.net_late_by,
            standing=stands,
            spans=spans,
            longest=max(spans, key=lambda one: one.lasted, default=None),
            waited_for_site=sum(waited, timedelta()),
            declined=offers.get("declined", 0),
            let_pass=offers.get("expired", 0),
            given_back=hops.get("released", 0),
            nobody=hops.get("unroutable", 0),
            agreement_id=agreed.agreement_id if agreed is not None else None,
            agreement=_name_parties(session, agreed, viewer.language) if agreed is not None else None,
            agreement_version=agreed.number if agreed is not None else None,
            limit_min=agreed.time_limits_min.get(case.lane) if agreed is not None else None,
        )


def _was_given_back(case: Case) -> bool:
    """Return whether somebody had taken it who has it no more: nobody writes, it waits to be taken again."""
    return case.submitted_at is None and CaseState(case.state) in {CaseState.READY, CaseState.OFFERED}


def _open_wait(session: Session, case: Case, now: datetime) -> timedelta:
    """Return how long the case has been waiting for its site now: for an answer, or for whose it is."""
    return pause_of(load_waiting(session, [case]).get(case.case_id, now), now)


def _find_agreed(session: Session, case: Case) -> AgreementVersion | None:
    """Return the terms under which the case is first read, as they were then: by who took it, else who was asked."""
    of_its_day = (AgreementVersion.agreement_id == Offer.agreement_id) & (
        AgreementVersion.number == Offer.agreement_version
    )
    asked = (
        select(AgreementVersion)
        .join(Offer, of_its_day)
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .where(ReadingTask.case_id == case.case_id, ReadingTask.phase == Phase.INTERPRETATION)
        .order_by((Offer.state == "claimed").desc(), Offer.offered_at, Offer.offer_id)
    )
    return session.scalars(asked.limit(1)).one_or_none()


def _name_parties(session: Session, agreed: AgreementVersion, language: str) -> tuple[str, str]:
    codes = (agreed.requesting_organisation_id, agreed.assisting_organisation_id)
    requesting, assisting = (session.get_one(Organisation, code) for code in codes)
    return (
        organisation_name(requesting.name, requesting.name_en, language),
        organisation_name(assisting.name, assisting.name_en, language),
    )


def _is_read_by(session: Session, case: Case, physician: Physician, now: datetime) -> bool:
    """Return whether the physician's hospitals read for the site by what is agreed now, or was on the case's day."""
    hospitals = (physician.organisation_id, *physician.also_at)
    lineage = load_lineage(session, case.organisation_id)
    for moment in (now, case.created_at):
        day = load_local_date(session, case.site_id, moment)
        agreed = select(AgreementVersion.agreement_id).where(
            AgreementVersion.requesting_organisation_id.in_(lineage),
            AgreementVersion.assisting_organisation_id.in_(hospitals),
            AgreementVersion.recorded_at <= moment,
            or_(AgreementVersion.replaced_at.is_(None), AgreementVersion.replaced_at > moment),
            AgreementVersion.valid_from <= day,
            AgreementVersion.valid_until >= day,
        )
        if session.scalar(agreed.limit(1)) is not None:
            return True
    return False


def _explain(
    session: Session,
    case: Case,
    site: str,
    physician: Physician,
    language: str,
    shared: SharedFacts,
    now: datetime,
) -> WhyNot:
    task, own = find_open_task(session, case.case_id), physician.physician_id
    waits = task is not None and task.state == ReadingTaskState.SCHEDULED and case.state in ROUTABLE
    of_case = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == case.case_id)
    decided = select(RoutingDecision).where(RoutingDecision.reading_task_id.in_(of_case))
    decision = session.scalars(decided.order_by(RoutingDecision.decision_id.desc()).limit(1)).one_or_none()
    ranking = Ranking()
    if waits and task is not None:
        facts = load_facts(session, case, task, shared)
        ranking = rank(facts.case, facts.physicians, facts.agreements, now)
    elif decision is not None:
        _, ranking = decide_again(session, decision, case.case_id)
    order = [candidate.physician_id for candidate in ranking.candidates]
    offer = select(Offer.state).where(Offer.reading_task_id.in_(of_case), Offer.physician_id == own)
    return WhyNot(
        case_id=case.case_id,
        site_name=site,
        modality=case.modality,
        lane=Lane(case.lane),
        state=CaseState(case.state),
        phase=Phase(task.phase) if task is not None else None,
        held_by_viewer=task is not None and task.holder_id == own,
        own_offer=session.scalar(offer.order_by(Offer.offered_at.desc()).limit(1)),
        decided_at=decision.decided_at if decision is not None else None,
        offered=len(decision.offered_physician_ids) if decision is not None else 0,
        considered=int(decision.inputs.get("physicians_considered", 0)) if decision is not None else 0,
        place=order.index(own) + 1 if own in order else None,
        of=len(order),
        words=tuple(REASONS[language][reason] for reason in ranking.excluded.get(own, ())),
        is_past=not waits,
    )


def _count_offers(session: Session, case_id: str) -> dict[str, int]:
    of_case = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == case_id)
    counted = select(Offer.state, func.count()).where(Offer.reading_task_id.in_(of_case)).group_by(Offer.state)
    return dict(session.execute(counted).all())


def _count_hops(session: Session, case_id: str) -> dict[str, int]:
    counted = (
        select(CustodyEvent.hop, func.count(func.distinct(CustodyEvent.event_key)))
        .where(CustodyEvent.case_id == case_id, or_(CustodyEvent.hop == "released", CustodyEvent.hop == "unroutable"))
        .group_by(CustodyEvent.hop)
    )
    return dict(session.execute(counted).all())
