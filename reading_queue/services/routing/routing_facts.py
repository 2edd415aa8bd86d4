"""What the ranking is told: the case, the physicians who might read it and the agreements, from the database.

Reads only; the caller has locked the case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, ColumnElement, Select, Text, any_, bindparam, exists, func, literal, or_, select, true
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import Absence, DutyPeriod
from reading_queue.db.tables import (
    Account,
    Agreement,
    Case,
    CaseStudy,
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
    POINTS_OF_ONE_RVU,
    AgreementFacts,
    CaseFacts,
    Phase,
    PhysicianFacts,
    workload_points,
)
from reading_queue.domain.specialties import specialties_for
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.services.routing.known_readers import load_readers
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


class SharedFacts:
    """What all reading tasks that are routed in one transaction are told alike; each thing is read once.

    `weights` are the policy's workload points. Who is `deciding` counts the cases of agreements with a limit alone,
    until the transaction ends: two who decide at once would both take the last place of the day. `only`: of the
    physicians nobody but this one is looked at.
    """

    def __init__(
        self,
        session: Session,
        now: datetime,
        weights: Mapping[str, int],
        *,
        deciding: bool = False,
        only: str | None = None,
    ) -> None:
        self._session = session
        self._now = now
        self._weights = weights
        self._deciding = deciding
        self._only = only
        self._lineages: dict[str, tuple[str, ...]] = {}
        self._zones: dict[str, ZoneInfo] = {}
        self._agreements: dict[tuple[str, ...], list[AgreementFacts]] = {}
        self._physicians: dict[frozenset[str], list[PhysicianFacts]] = {}

    def lineage(self, organisation_id: str) -> tuple[str, ...]:
        """Return the organisation and those above it, nearest first."""
        if organisation_id not in self._lineages:
            self._lineages[organisation_id] = load_lineage(self._session, organisation_id)
        return self._lineages[organisation_id]

    def local_date(self, site_id: str) -> date:
        """Return today's date at the site."""
        return self._now.astimezone(self._zone(site_id)).date()

    def midnight(self, site_id: str) -> datetime:
        """Return when today began at the site."""
        return datetime.combine(self.local_date(site_id), time.min, self._zone(site_id))

    def _zone(self, site_id: str) -> ZoneInfo:
        if site_id not in self._zones:
            self._zones[site_id] = _load_zone(self._session, site_id)
        return self._zones[site_id]

    def agreements(self, organisation_ids: tuple[str, ...]) -> list[AgreementFacts]:
        """Return the agreements of the requesting organisations."""
        if organisation_ids not in self._agreements:
            self._agreements[organisation_ids] = _load_agreements(self._session, organisation_ids)
        return self._agreements[organisation_ids]

    def with_today(self, agreements: list[AgreementFacts], case: Case) -> list[AgreementFacts]:
        """Return the agreements with today's cases, where any of them has a limit for a day."""
        limited = [one.agreement_id for one in agreements if one.cases_per_day_max]
        if not limited:
            return agreements
        if self._deciding:
            self._session.execute(_ALONE)
            self._deciding = False  # it lasts for the transaction
        counted = _count_today(self._session, limited, case.case_id, self.midnight(case.site_id))
        return [
            replace(one, cases_today=counted[one.agreement_id][0], has_this_case=counted[one.agreement_id][1])
            if one.cases_per_day_max
            else one
            for one in agreements
        ]

    def physicians(self, organisation_ids: frozenset[str]) -> list[PhysicianFacts]:
        """Return the physicians of the assisting organisations, without what concerns one case only."""
        if organisation_ids not in self._physicians:
            self._physicians[organisation_ids] = _load_physicians(
                self._session, organisation_ids, self._now, self._weights, self._only
            )
        return self._physicians[organisation_ids]


def load_facts(session: Session, case: Case, task: ReadingTask, shared: SharedFacts) -> RoutingFacts:
    """Return what the ranking of this reading task needs, as of the moment of `shared`, which is of this session."""
    facts = CaseFacts(
        case_id=case.case_id,
        phase=Phase(task.phase),
        lane=Lane(case.lane),
        modality=case.modality,
        body_region=case.body_region,
        organisation_ids=shared.lineage(case.organisation_id),
        local_date=shared.local_date(case.site_id),
        author_id=load_author(session, case.case_id) if task.phase == Phase.VERIFICATION else None,
        specialties=specialties_for(
            case.modality,
            case.body_region,
            session.scalar(_BIRTH_DATE, {"case_id": case.case_id}),
            shared.local_date(case.site_id),
        ),
    )
    agreements = shared.with_today(shared.agreements(facts.organisation_ids), case)
    physicians = shared.physicians(frozenset(agreement.assisting_organisation_id for agreement in agreements))
    readers = load_readers(session, case.case_id)
    declined, let_pass = _load_answers(session, task)
    concerned = readers | declined | let_pass
    return RoutingFacts(
        facts,
        [
            replace(
                physician,
                read_this_patient=physician.physician_id in readers,
                declined=physician.physician_id in declined,
                let_pass=physician.physician_id in let_pass,
            )
            if physician.physician_id in concerned
            else physician
            for physician in physicians
        ],
        agreements,
    )


def load_lineage(session: Session, organisation_id: str) -> tuple[str, ...]:
    """Return the organisation and those above it, nearest first."""
    return tuple(session.scalars(_LINEAGE, {"organisation_id": organisation_id}))


def load_local_date(session: Session, site_id: str, now: datetime) -> date:
    """Return today's date at the site: licences and agreements run in local days."""
    return now.astimezone(_load_zone(session, site_id)).date()


def _load_zone(session: Session, site_id: str) -> ZoneInfo:
    return ZoneInfo(session.scalars(select(Site.time_zone).where(Site.site_id == site_id)).one())


def load_author(session: Session, case_id: str) -> str | None:
    """Return the author of the submission that waits for its verification, if there is one."""
    verified = exists().where(Report.submission_id == Submission.submission_id)
    waits = (Submission.case_id == case_id, Submission.returned_at.is_(None), ~verified)
    standing = select(Submission.author_id).where(*waits)
    return session.scalar(standing.order_by(Submission.submitted_at.desc()).limit(1))


def _load_agreements(session: Session, organisation_ids: Sequence[str]) -> list[AgreementFacts]:
    return [agreement_facts(row) for row in session.execute(_AGREEMENTS, {"organisations": list(organisation_ids)})]


def agreement_facts(row: Any) -> AgreementFacts:
    """Return the terms of a row of `agreements`, or of `agreement_versions`, without the cases of any day."""
    return AgreementFacts(
        agreement_id=row.agreement_id,
        requesting_organisation_id=row.requesting_organisation_id,
        assisting_organisation_id=row.assisting_organisation_id,
        modalities=frozenset(row.modalities),
        body_regions=frozenset(row.body_regions),
        services=frozenset(row.services),
        stage=row.stage,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        cases_per_day_max=row.cases_per_day_max,
    )


def _count_today(
    session: Session, agreement_ids: Sequence[str], case_id: str, midnight: datetime
) -> defaultdict[str, tuple[dict[str, int], bool]]:
    """Return by agreement how many other cases are offered or read under it today, by modality; and whether this is."""
    counted: defaultdict[str, tuple[dict[str, int], bool]] = defaultdict(lambda: ({}, False))
    known = {"agreements": list(agreement_ids), "case_id": case_id, "midnight": midnight}
    for agreement_id, modality, others, this in session.execute(_TODAY, known):
        by_modality, has_this = counted[agreement_id]
        counted[agreement_id] = ({**by_modality, modality: others}, has_this or this)
    return counted


def _load_physicians(
    session: Session, organisation_ids: Collection[str], now: datetime, weights: Mapping[str, int], only: str | None
) -> list[PhysicianFacts]:
    """Return the physicians of the assisting organisations, or `only` this one; a disabled account is nobody."""
    known = {"organisations": sorted(organisation_ids), "now": now}
    found = _PHYSICIANS if only is None else _ONE_PHYSICIAN
    rows = session.execute(found, known if only is None else {**known, "physician_id": only}).all()
    workload = load_workload(session, [row.physician_id for row in rows], now, weights)
    return [
        PhysicianFacts(
            physician_id=row.physician_id,
            organisation_id=row.organisation_id,
            title=Title(row.title),
            licence_valid_until=row.licence_valid_until,
            modalities=frozenset(row.modalities),
            duty=((row.duty_from, row.duty_until),) if row.duty_until is not None else (),
            work_in_progress=row.held,
            work_in_progress_max=row.wip_max,
            workload_points=workload[row.physician_id],
            also_at=tuple(row.also_at),
            specialties=frozenset(row.specialties),
            away=row.away,
            weekly_points_max=row.weekly_rvu_max * POINTS_OF_ONE_RVU if row.weekly_rvu_max is not None else None,
        )
        for row in rows
    ]


def load_work_in_progress(session: Session, physician_ids: Sequence[str]) -> dict[str, int]:
    """Return how many reading tasks each physician holds now."""
    held = (
        select(ReadingTask.holder_id, func.count())
        .where(ReadingTask.holder_id.in_(physician_ids), ReadingTask.state == ReadingTaskState.IN_PROGRESS)
        .group_by(ReadingTask.holder_id)
    )
    return {holder: count for holder, count in session.execute(held) if holder is not None}


def load_workload(
    session: Session, physician_ids: Sequence[str], now: datetime, weights: Mapping[str, int]
) -> defaultdict[str, int]:
    """Return what each has read in the window, in hundredths of one CT; a read of several studies counts all."""
    known = {"physicians": list(physician_ids), "since": now - WORKLOAD_WINDOW, "until": now}
    done = session.execute(_DONE, known)
    points: defaultdict[str, int] = defaultdict(int)
    for holder, modality, count in done:
        points[str(holder)] += workload_points(weights, modality) * count
    return points


def _load_answers(session: Session, task: ReadingTask) -> tuple[set[str], set[str]]:
    """Return who said no to this task or one it replaces in its phase, and who let it pass.

    Giving a claim back counts as no; a lease or an offer that ran out counts as letting it pass.
    """
    declined: set[str] = set()
    let_pass: set[str] = set()
    chain = [task.reading_task_id]
    if task.replaces_id is not None:
        ended = session.execute(_CHAIN, {"task_id": task.reading_task_id, "phase": task.phase}).all()
        chain = [row.reading_task_id for row in ended]
        for _, holder_id, reason in ended:
            if holder_id is not None and reason is not None:
                (let_pass if reason == DiscontinuationReason.RESOURCE_PREEMPTED else declined).add(holder_id)
    for physician_id, state in session.execute(_ANSWERS, {"tasks": chain}):
        (declined if state == "declined" else let_pass).add(physician_id)
    return declined, let_pass


def _any_of(name: str) -> ColumnElement[Any]:
    return any_(bindparam(name, type_=ARRAY(Text)))


def _select_lineage() -> Select[str]:
    first = select(Organisation.organisation_id, Organisation.parent_id, literal(1).label("depth"))
    lineage = first.where(Organisation.organisation_id == bindparam("organisation_id")).cte("lineage", recursive=True)
    above = select(Organisation.organisation_id, Organisation.parent_id, lineage.c.depth + 1)
    above = above.join(lineage, lineage.c.parent_id == Organisation.organisation_id)
    lineage = lineage.union_all(above.where(lineage.c.depth < ORGANISATION_DEPTH_MAX))
    return select(lineage.c.organisation_id).order_by(lineage.c.depth)


def _select_physicians() -> Select[*tuple[Any, ...]]:
    on_duty = (
        DutyPeriod.physician_id == Physician.physician_id,
        DutyPeriod.starts_at <= bindparam("now"),
        DutyPeriod.ends_at > bindparam("now"),
    )
    duty = select(DutyPeriod.starts_at, DutyPeriod.ends_at).where(*on_duty).limit(1).lateral("duty")
    away = exists().where(
        Absence.physician_id == Physician.physician_id, Absence.ended_at.is_(None), Absence.until > bindparam("now")
    )
    held = select(func.count()).where(
        ReadingTask.holder_id == Physician.physician_id, ReadingTask.state == ReadingTaskState.IN_PROGRESS
    )
    elsewhere = Physician.also_at.has_any(bindparam("organisations", type_=ARRAY(Text)))
    return (
        select(
            Physician.physician_id,
            Physician.organisation_id,
            Physician.title,
            Physician.licence_valid_until,
            Physician.modalities,
            Physician.specialties,
            Physician.wip_max,
            Physician.also_at,
            Physician.weekly_rvu_max,
            away.correlate(Physician).label("away"),
            duty.c.starts_at.label("duty_from"),
            duty.c.ends_at.label("duty_until"),
            held.correlate(Physician).scalar_subquery().label("held"),
        )
        .join(Account, Account.account_id == Physician.account_id)
        .outerjoin(duty, true())
        .where(or_(Physician.organisation_id == _any_of("organisations"), elsewhere), Account.disabled_at.is_(None))
        .order_by(Physician.physician_id)
    )


def _select_chain() -> Select[Any]:
    """Select the task and those that it replaces in its phase, with who held them and why it ended."""
    columns = (ReadingTask.reading_task_id, ReadingTask.replaces_id, ReadingTask.holder_id, ReadingTask.cancel_reason)
    tasks = select(*columns).where(ReadingTask.reading_task_id == bindparam("task_id")).cte("chain", recursive=True)
    before = select(*columns).join(tasks, ReadingTask.reading_task_id == tasks.c.replaces_id)
    tasks = tasks.union_all(before.where(ReadingTask.phase == bindparam("phase")))
    return select(tasks.c.reading_task_id, tasks.c.holder_id, tasks.c.cancel_reason)


# Built once: the hub routes dozens of cases in a second, and to build a statement takes as long as to run it.
_LINEAGE: Final = _select_lineage()
_AGREEMENTS: Final = select(*Agreement.__table__.columns).where(
    Agreement.requesting_organisation_id == _any_of("organisations")
)
_PHYSICIANS: Final = _select_physicians()
_ONE_PHYSICIAN: Final = _PHYSICIANS.where(Physician.physician_id == bindparam("physician_id"))
_DONE: Final = (
    select(ReadingTask.holder_id, Case.modality, func.count())  # each study of a read is work, of the read's modality
    .join(Case, Case.case_id == ReadingTask.case_id)
    .join(CaseStudy, CaseStudy.case_id == ReadingTask.case_id)
    .where(
        ReadingTask.holder_id == _any_of("physicians"),
        ReadingTask.state == ReadingTaskState.COMPLETED,
        ReadingTask.completed_at > bindparam("since"),
        ReadingTask.completed_at <= bindparam("until"),
    )
    .group_by(ReadingTask.holder_id, Case.modality)
)
_ALONE: Final = select(func.pg_advisory_xact_lock(func.hashtext("cases per day")))
_TODAY: Final = (
    select(
        Offer.agreement_id,
        Case.modality,
        func.count(Case.case_id.distinct()).filter(Case.case_id != bindparam("case_id")),
        func.bool_or(Case.case_id == bindparam("case_id")),
    )
    .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
    .join(Case, Case.case_id == ReadingTask.case_id)
    .where(
        Offer.agreement_id == _any_of("agreements"),
        Offer.state.in_(("open", "claimed")),
        Offer.offered_at >= bindparam("midnight"),
    )
    .group_by(Offer.agreement_id, Case.modality)
)
_BIRTH_DATE: Final = (
    select(func.max(Study.patient_birth_date))
    .join(CaseStudy, (CaseStudy.study_uid == Study.study_uid) & (CaseStudy.site_id == Study.site_id))
    .where(CaseStudy.case_id == bindparam("case_id"))
)
_CHAIN: Final = _select_chain()
_ANSWERS: Final = select(Offer.physician_id, Offer.state).where(
    Offer.reading_task_id == _any_of("tasks"), Offer.state.in_(("declined", "expired"))
)
