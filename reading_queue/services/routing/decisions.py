"""What was decided about a case, and each decision made again from what was kept with it, whatever is agreed by now.

Reads only. Kept with a decision: the facts of the case, who had answered or read the patient before, the versions of
the agreements with their cases of that day, the weights, and how far the circle was widened. Looked up as of its
moment: people and their terms by their versions, duty, absences, and who held and had done what by the reading tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.consult_tables import Consult, MdtEntry
from reading_queue.db.network_tables import Absence, AgreementVersion, DutyPeriod
from reading_queue.db.tables import Account, Case, Organisation, Physician, ReadingTask, RoutingDecision
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import (
    POINTS_OF_ONE_RVU,
    REASONS,
    AgreementFacts,
    CaseFacts,
    Phase,
    PhysicianFacts,
    Ranking,
    Reason,
    rank,
)
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.case_heads import CaseHead, load_case_head
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import organisation_name
from reading_queue.services.network.network_versions import network_as_of
from reading_queue.services.routing.routing_facts import RoutingFacts, agreement_facts, load_workload
from storage.contract.lanes import Lane

DECISIONS_MAX: Final = 50
Names = Mapping[str, tuple[str, str]]  # of physicians and their hospitals, by the physician's id
_KEPT: Final = ("readers", "declined", "let_pass", "workload_points", "cases_today")


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One physician of the assisting hospitals. `place` is None for who is not in the order."""

    physician_id: str
    name: str
    organisation: str
    place: int | None
    stage: int | None
    work_in_progress: int
    work_in_progress_max: int
    workload_points: int
    read_this_patient: bool
    specialty: str  # the most telling one for this case that they have
    let_pass: bool  # it was offered to them before, and the offer ran out
    offered: bool  # the task is, or was then, offered to them
    reasons: tuple[Reason, ...]  # why they are not in the order
    words: tuple[str, ...]  # the same, in the viewer's language
    assignable: bool  # perhaps with something set aside


class Act(StrEnum):
    """What a decision was: the ranking's, or a person's."""

    ROUTED = "routed"
    ASSIGNED = "assigned"
    TAKEN_OVER = "taken_over"
    CONSULTED = "consulted"
    LISTED = "listed"


# Under which name of what was kept the account stands that decided.
_BY: Final[Mapping[str, Act]] = {"assigned_by": Act.ASSIGNED, "taken_over_by": Act.TAKEN_OVER}


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One decision about who is asked, as it was kept: of the ranking, or of the person who is named, with why."""

    decided_at: datetime
    act: Act
    offered_to: tuple[str, ...]  # names: of physicians, or of the hospital that is asked or confers
    decided_by: str = ""  # a name
    reason: str = ""
    could_be_asked: tuple[str, ...] = ()  # names of the hospitals among which one was chosen
    meets_on: date | None = None  # of a conference
    decision_id: int | None = None  # only what concerns a reading task can be made again
    phase: Phase | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)  # reason → number of physicians
    inputs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecisionsView:
    """What was decided about a case, the newest first; and everybody as of the one that is looked at."""

    case: CaseHead
    decisions: tuple[DecisionView, ...]
    shown: DecisionView | None
    then: tuple[CandidateView, ...]
    is_exact: bool  # made again it comes to the same; not so where something was not kept yet when it was made


def list_decisions(hub: Hub, viewer: Viewer, case_id: str, decision_id: int | None = None) -> DecisionsView:
    """Return all decisions about a case, over or not, and one of them made again: by default the newest.

    Raises:
        NotFound: the viewer does not oversee the case, or it has no such decision.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = load_case_head(session, session.get_one(Case, case_id), viewer.language)
        rows = _load_rows(session, case_id)
        decisions = load_decisions(session, case_id, load_names(session, viewer.language), viewer.language)
        row = next((one for one in rows if decision_id in (None, one.decision_id)), None)
        if row is None:
            if decision_id is not None:
                raise NotFound("there is no such decision about this case")
            return DecisionsView(case, decisions, None, (), is_exact=True)
        facts, ranking = decide_again(session, row, case_id)
        names = _names_as_of(session, row.decided_at, viewer.language)
        then = view_candidates(facts, ranking, names, viewer.language, row.offered_physician_ids)
        shown = next(one for one in decisions if one.decision_id == row.decision_id)
        return DecisionsView(case, decisions, shown, then, is_exact=_is_exact(row, ranking))


def decide_again(session: Session, row: RoutingDecision, case_id: str) -> tuple[RoutingFacts, Ranking]:
    """Return what a decision looked at, and the ranking that comes of it."""
    facts = _load_facts_then(session, row, case_id)
    return facts, rank(facts.case, facts.physicians, facts.agreements, row.decided_at)


def load_decisions(session: Session, case_id: str, names: Names, language: str) -> tuple[DecisionView, ...]:
    """Return what was decided about a case in all its phases, by the ranking and by people, the newest first."""
    rows = _load_rows(session, case_id)
    deciding = {row.inputs[name] for row in rows for name in _BY if name in row.inputs}
    people = select(Account.account_id, Account.display_name).where(Account.account_id.in_(deciding))
    called: dict[str, str] = dict(session.execute(people).all()) if deciding else {}
    views = [_view(row, names, called) for row in rows]
    views += _load_consults(session, case_id, language)
    views += _load_conferences(session, case_id, language)
    return tuple(sorted(views, key=lambda one: one.decided_at, reverse=True))


def _view(row: RoutingDecision, names: Names, called: Mapping[str, str]) -> DecisionView:
    by = next((name for name in _BY if name in row.inputs), "")
    return DecisionView(
        decided_at=row.decided_at,
        act=_BY.get(by, Act.ROUTED),
        offered_to=tuple(names.get(one, ("—", ""))[0] for one in row.offered_physician_ids),
        decided_by=called.get(row.inputs.get(by, ""), ""),
        reason=row.inputs.get("reason", ""),
        decision_id=row.decision_id,
        phase=Phase(row.inputs["phase"]),
        excluded=row.excluded_counts,
        inputs=row.inputs,
    )


def _load_consults(session: Session, case_id: str, language: str) -> list[DecisionView]:
    asked = (
        select(Consult, Account.display_name, ReadingTask.phase)
        .join(ReadingTask, ReadingTask.reading_task_id == Consult.reading_task_id)
        .join(Physician, Physician.physician_id == Consult.asked_by)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Consult.case_id == case_id)
    )
    rows = session.execute(asked.order_by(Consult.asked_at.desc()).limit(DECISIONS_MAX)).all()
    ids = {one for row, _, _ in rows for one in (row.organisation_id, *row.could_be_asked)}
    hospitals = select(Organisation.organisation_id, Organisation.name, Organisation.name_en)
    found = session.execute(hospitals.where(Organisation.organisation_id.in_(ids))).all() if ids else []
    called = {code: organisation_name(native, english, language) for code, native, english in found}
    return [
        DecisionView(
            decided_at=row.asked_at,
            act=Act.CONSULTED,
            offered_to=(called[row.organisation_id],),
            decided_by=name,
            reason=row.question,
            could_be_asked=tuple(called[one] for one in row.could_be_asked if one in called),
            phase=Phase(phase),
        )
        for row, name, phase in rows
    ]


def _load_conferences(session: Session, case_id: str, language: str) -> list[DecisionView]:
    listed = (
        select(MdtEntry, Account.display_name, Organisation.name, Organisation.name_en)
        .join(Account, Account.account_id == MdtEntry.asked_by)
        .join(Organisation, Organisation.organisation_id == MdtEntry.organisation_id)
        .where(MdtEntry.case_id == case_id)
    )
    return [
        DecisionView(
            decided_at=row.asked_at,
            act=Act.LISTED,
            offered_to=(organisation_name(native, english, language),),
            decided_by=name,
            reason=row.question,
            meets_on=row.meets_on,
        )
        for row, name, native, english in session.execute(
            listed.order_by(MdtEntry.asked_at.desc()).limit(DECISIONS_MAX)
        )
    ]


def load_names(session: Session, language: str) -> dict[str, tuple[str, str]]:
    """Return name and hospital of every physician by id, as they are called now."""
    rows = session.execute(
        select(Physician.physician_id, Account.display_name, Organisation.name, Organisation.name_en)
        .join(Account, Account.account_id == Physician.account_id)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
    )
    return {id_: (name, organisation_name(native, english, language)) for id_, name, native, english in rows}


def view_candidates(
    facts: RoutingFacts,
    ranking: Ranking,
    names: Names,
    language: str,
    offered: Collection[str],
    may_be_set_aside: Collection[Reason] | None = None,
) -> tuple[CandidateView, ...]:
    """Return everybody, best first, then all others with every reason.

    `may_be_set_aside`: against which reasons the task may be given to somebody now; None when it is not to be given.
    """
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
                specialty=candidate.specialty if candidate is not None else "",
                let_pass=who.let_pass,
                offered=who.physician_id in offered,
                reasons=reasons,
                words=tuple(REASONS[language][reason] for reason in reasons),
                assignable=may_be_set_aside is not None and set(reasons) <= set(may_be_set_aside),
            )
        )
    views.sort(key=lambda one: (one.place is None, one.place or 0, not one.assignable, one.name))
    return tuple(views)


def _load_rows(session: Session, case_id: str) -> list[RoutingDecision]:
    of_case = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == case_id)
    kept = select(RoutingDecision).where(RoutingDecision.reading_task_id.in_(of_case))
    return list(session.scalars(kept.order_by(RoutingDecision.decision_id.desc()).limit(DECISIONS_MAX)))


def _is_exact(row: RoutingDecision, ranking: Ranking) -> bool:
    """Return whether the decision made again says the same; a person's choice may set the ranking aside."""
    candidates = {one.physician_id for one in ranking.candidates}
    chosen = not _BY.keys().isdisjoint(row.inputs) or candidates.issuperset(row.offered_physician_ids)
    return set(_KEPT) <= row.inputs.keys() and chosen and ranking.counts() == row.excluded_counts


def _load_facts_then(session: Session, row: RoutingDecision, case_id: str) -> RoutingFacts:
    kept = row.inputs
    case = CaseFacts(
        case_id=case_id,
        phase=Phase(kept["phase"]),
        lane=Lane(kept["lane"]),
        modality=kept["modality"],
        body_region=kept["body_region"],
        organisation_ids=tuple(kept["organisation_ids"]),
        local_date=date.fromisoformat(kept["local_date"]),
        author_id=kept.get("author_id"),
        specialties=tuple(kept.get("specialties", ())),
    )
    agreements = _load_agreements_then(session, kept)
    hospitals = frozenset(one.assisting_organisation_id for one in agreements)
    return RoutingFacts(case, _load_physicians_then(session, kept, hospitals, row.decided_at), agreements)


def _load_agreements_then(session: Session, kept: Mapping[str, Any]) -> list[AgreementFacts]:
    numbers: Mapping[str, int] = kept["agreement_versions"]
    versions = select(AgreementVersion).where(AgreementVersion.agreement_id.in_(numbers))
    of_day: Mapping[str, Any] = kept.get("cases_today", {})
    facts = [
        agreement_facts(one)
        for one in session.scalars(versions.order_by(AgreementVersion.agreement_id, AgreementVersion.number))
        if one.number == numbers[one.agreement_id]
    ]
    counted = [of_day.get(one.agreement_id, ({}, False)) for one in facts]
    return [
        replace(one, cases_today=cases, has_this_case=has_this)
        for one, (cases, has_this) in zip(facts, counted, strict=True)
    ]


def _load_physicians_then(
    session: Session, kept: Mapping[str, Any], hospitals: frozenset[str], moment: datetime
) -> list[PhysicianFacts]:
    """Return the physicians who read for these hospitals at the moment; a disabled account is nobody."""
    terms, people = (network_as_of(session, kind, moment) for kind in (Kind.PHYSICIAN, Kind.PERSON))
    accounts: dict[str, str] = dict(session.execute(select(Physician.physician_id, Physician.account_id)).all())
    who = {
        one: (facts, people[accounts[one]]["organisation"])
        for one, facts in terms.items()
        if not people.get(accounts[one], {"disabled": True})["disabled"]
        and not hospitals.isdisjoint((people[accounts[one]]["organisation"], *facts["also_at"]))
    }
    ids = sorted(who)
    duty, away, held = (
        _duty_then(session, ids, moment),
        _away_then(session, ids, moment),
        _held_then(session, ids, moment),
    )
    workload = load_workload(session, ids, moment, kept.get("workload_points", {}))
    return [
        PhysicianFacts(
            physician_id=one,
            organisation_id=organisation,
            title=Title(facts["title"]),
            licence_valid_until=date.fromisoformat(facts["licence_valid_until"]),
            modalities=frozenset(facts["modalities"]),
            duty=duty.get(one, ()),
            work_in_progress=held.get(one, 0),
            work_in_progress_max=facts["wip_max"],
            workload_points=workload[one],
            read_this_patient=one in kept.get("readers", ()),
            declined=one in kept.get("declined", ()),
            let_pass=one in kept.get("let_pass", ()),
            also_at=tuple(facts["also_at"]),
            away=one in away,
            weekly_points_max=_points(facts["weekly_rvu_max"]),
            specialties=frozenset(facts["specialties"]),
        )
        for one, (facts, organisation) in ((one, who[one]) for one in ids)
    ]


def _points(rvu: int | None) -> int | None:
    return rvu * POINTS_OF_ONE_RVU if rvu is not None else None


def _duty_then(
    session: Session, ids: Collection[str], moment: datetime
) -> dict[str, tuple[tuple[datetime, datetime], ...]]:
    rows = select(DutyPeriod).where(
        DutyPeriod.physician_id.in_(ids), DutyPeriod.starts_at <= moment, DutyPeriod.ends_at > moment
    )
    return {row.physician_id: ((row.starts_at, row.ends_at),) for row in session.scalars(rows)}


def _away_then(session: Session, ids: Collection[str], moment: datetime) -> set[str]:
    rows = select(Absence.physician_id).where(
        Absence.physician_id.in_(ids),
        Absence.since <= moment,
        Absence.until > moment,
        or_(Absence.ended_at.is_(None), Absence.ended_at > moment),
    )
    return set(session.scalars(rows))


def _held_then(session: Session, ids: Collection[str], moment: datetime) -> dict[str, int]:
    held = (
        select(ReadingTask.holder_id, func.count())
        .where(
            ReadingTask.holder_id.in_(ids),
            ReadingTask.claimed_at <= moment,
            or_(ReadingTask.completed_at.is_(None), ReadingTask.completed_at > moment),
        )
        .group_by(ReadingTask.holder_id)
    )
    return {holder: count for holder, count in session.execute(held) if holder is not None}


def _names_as_of(session: Session, moment: datetime, language: str) -> Names:
    people, hospitals = (network_as_of(session, kind, moment) for kind in (Kind.PERSON, Kind.ORGANISATION))
    accounts = session.execute(select(Physician.physician_id, Physician.account_id)).all()
    called = {code: organisation_name(one["name"], one["name_en"], language) for code, one in hospitals.items()}
    return {
        physician_id: (people[account_id]["name"], called.get(people[account_id]["organisation"], ""))
        for physician_id, account_id in accounts
        if account_id in people
    }
