"""What the ranking is told: the case, the physicians who might read it and the agreements, from the database.

Reads only; the caller has locked the case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import (
    Account,
    Agreement,
    Case,
    CaseStudy,
    DutyPeriod,
    Offer,
    Organisation,
    Physician,
    ReadingTask,
    Report,
    Submission,
)
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import (
    WORKLOAD_POINTS,
    WORKLOAD_POINTS_DEFAULT,
    AgreementFacts,
    CaseFacts,
    Phase,
    PhysicianFacts,
)
from reading_queue.domain.transitions import ReadingTaskState
from storage.catalogue.tables import Study
from storage.contract.lanes import Lane
from storage.ledger.tables import Site

WORKLOAD_WINDOW: Final = timedelta(days=7)  # fairness counts over the week
ORGANISATION_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """The arguments of `domain.routing.rank`."""

    case: CaseFacts
    physicians: list[PhysicianFacts]
    agreements: list[AgreementFacts]


def load_facts(session: Session, case: Case, task: ReadingTask, now: datetime) -> RoutingFacts:
    """Return what the ranking of this reading task needs, as of `now`."""
    facts = CaseFacts(
        case_id=case.case_id,
        phase=Phase(task.phase),
        lane=Lane(case.lane),
        modality=case.modality,
        body_region=case.body_region,
        organisation_ids=load_lineage(session, case.organisation_id),
        local_date=load_local_date(session, case.site_id, now),
        author_id=load_author(session, case.case_id) if task.phase == Phase.VERIFICATION else None,
    )
    agreements = _load_agreements(session, facts.organisation_ids)
    assisting = {agreement.assisting_organisation_id for agreement in agreements}
    return RoutingFacts(facts, _load_physicians(session, case, task, assisting, now), agreements)


def load_lineage(session: Session, organisation_id: str) -> tuple[str, ...]:
    """Return the organisation and those above it, nearest first."""
    lineage: list[str] = []
    above: str | None = organisation_id
    while above is not None and above not in lineage and len(lineage) < ORGANISATION_DEPTH_MAX:
        lineage.append(above)
        above = session.scalar(select(Organisation.parent_id).where(Organisation.organisation_id == above))
    return tuple(lineage)


def load_local_date(session: Session, site_id: str, now: datetime) -> date:
    """Return today's date at the site: licences and agreements run in local days."""
    zone = session.scalars(select(Site.time_zone).where(Site.site_id == site_id)).one()
    return now.astimezone(ZoneInfo(zone)).date()


def load_author(session: Session, case_id: str) -> str | None:
    """Return the author of the submission that waits for its verification, if there is one."""
    verified = exists().where(Report.submission_id == Submission.submission_id)
    waits = (Submission.case_id == case_id, Submission.returned_at.is_(None), ~verified)
    standing = select(Submission.author_id).where(*waits)
    return session.scalar(standing.order_by(Submission.submitted_at.desc()).limit(1))


def _load_agreements(session: Session, organisation_ids: Sequence[str]) -> list[AgreementFacts]:
    rows = session.scalars(select(Agreement).where(Agreement.requesting_organisation_id.in_(organisation_ids)))
    return [
        AgreementFacts(
            agreement_id=row.agreement_id,
            requesting_organisation_id=row.requesting_organisation_id,
            assisting_organisation_id=row.assisting_organisation_id,
            modalities=frozenset(row.modalities),
            body_regions=frozenset(row.body_regions),
            services=frozenset(row.services),
            stage=row.stage,
            valid_from=row.valid_from,
            valid_until=row.valid_until,
        )
        for row in rows
    ]


def _load_physicians(
    session: Session, case: Case, task: ReadingTask, organisation_ids: set[str], now: datetime
) -> list[PhysicianFacts]:
    """Return the physicians of the assisting organisations; a disabled account is nobody."""
    rows = session.scalars(
        select(Physician)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Physician.organisation_id.in_(organisation_ids), Account.disabled_at.is_(None))
        .order_by(Physician.physician_id)
    ).all()
    ids = [row.physician_id for row in rows]
    duty = _load_duty(session, ids, now)
    load = load_work_in_progress(session, ids)
    workload = _load_workload(session, ids, now)
    readers = _load_readers_of_patient(session, case)
    declined, let_pass = _load_answers(session, task)
    return [
        PhysicianFacts(
            physician_id=row.physician_id,
            organisation_id=row.organisation_id,
            title=Title(row.title),
            licence_valid_until=row.licence_valid_until,
            modalities=frozenset(row.modalities),
            duty=tuple(duty[row.physician_id]),
            work_in_progress=load.get(row.physician_id, 0),
            work_in_progress_max=row.wip_max,
            workload_points=workload[row.physician_id],
            read_this_patient=row.physician_id in readers,
            declined=row.physician_id in declined,
            let_pass=row.physician_id in let_pass,
        )
        for row in rows
    ]


def _load_duty(
    session: Session, physician_ids: Sequence[str], now: datetime
) -> defaultdict[str, list[tuple[datetime, datetime]]]:
    current = select(DutyPeriod).where(
        DutyPeriod.physician_id.in_(physician_ids), DutyPeriod.starts_at <= now, DutyPeriod.ends_at > now
    )
    periods: defaultdict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in session.scalars(current):
        periods[row.physician_id].append((row.starts_at, row.ends_at))
    return periods


def load_work_in_progress(session: Session, physician_ids: Sequence[str]) -> dict[str, int]:
    """Return how many reading tasks each physician holds now."""
    held = (
        select(ReadingTask.holder_id, func.count())
        .where(ReadingTask.holder_id.in_(physician_ids), ReadingTask.state == ReadingTaskState.IN_PROGRESS)
        .group_by(ReadingTask.holder_id)
    )
    return {holder: count for holder, count in session.execute(held) if holder is not None}


def _load_workload(session: Session, physician_ids: Sequence[str], now: datetime) -> defaultdict[str, int]:
    done = (
        select(ReadingTask.holder_id, Case.modality, func.count())
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(
            ReadingTask.holder_id.in_(physician_ids),
            ReadingTask.state == ReadingTaskState.COMPLETED,
            ReadingTask.completed_at > now - WORKLOAD_WINDOW,
        )
        .group_by(ReadingTask.holder_id, Case.modality)
    )
    points: defaultdict[str, int] = defaultdict(int)
    for holder, modality, count in session.execute(done):
        points[str(holder)] += WORKLOAD_POINTS.get(modality, WORKLOAD_POINTS_DEFAULT) * count
    return points


def _load_readers_of_patient(session: Session, case: Case) -> set[str]:
    """Return the physicians who finished work on another case of the same patient at the same site."""
    own = select(Study.patient_id).join(
        CaseStudy, (CaseStudy.study_uid == Study.study_uid) & (CaseStudy.site_id == Study.site_id)
    )
    other_cases = (
        select(CaseStudy.case_id)
        .join(Study, (Study.study_uid == CaseStudy.study_uid) & (Study.site_id == CaseStudy.site_id))
        .where(Study.patient_id.in_(own.where(CaseStudy.case_id == case.case_id)), CaseStudy.case_id != case.case_id)
    )
    readers = select(ReadingTask.holder_id).where(
        ReadingTask.case_id.in_(other_cases), ReadingTask.state == ReadingTaskState.COMPLETED
    )
    return {holder for holder in session.scalars(readers) if holder is not None}


def _load_answers(session: Session, task: ReadingTask) -> tuple[set[str], set[str]]:
    """Return who said no to this task or one it replaces in its phase, and who let it pass.

    Giving a claim back counts as no; a lease or an offer that ran out counts as letting it pass.
    """
    chain = select(ReadingTask.reading_task_id, ReadingTask.replaces_id).where(
        ReadingTask.reading_task_id == task.reading_task_id
    )
    tasks = chain.cte("chain", recursive=True)
    tasks = tasks.union_all(
        select(ReadingTask.reading_task_id, ReadingTask.replaces_id)
        .join(tasks, ReadingTask.reading_task_id == tasks.c.replaces_id)
        .where(ReadingTask.phase == task.phase)
    )
    ids = select(tasks.c.reading_task_id)
    declined: set[str] = set()
    let_pass: set[str] = set()
    offers = select(Offer.physician_id, Offer.state).where(Offer.reading_task_id.in_(ids))
    for physician_id, state in session.execute(offers.where(Offer.state.in_(("declined", "expired")))):
        (declined if state == "declined" else let_pass).add(physician_id)
    ended = select(ReadingTask.holder_id, ReadingTask.cancel_reason).where(
        ReadingTask.reading_task_id.in_(ids), ReadingTask.holder_id.is_not(None), ReadingTask.cancel_reason.is_not(None)
    )
    for holder_id, reason in session.execute(ended):
        (let_pass if reason == DiscontinuationReason.RESOURCE_PREEMPTED else declined).add(str(holder_id))
    return declined, let_pass
