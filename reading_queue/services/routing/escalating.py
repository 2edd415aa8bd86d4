"""Acting on the running clock of cases: asking more stages, telling people, and taking it back when it is settled.

Durable: each escalation, from when it was raised until it ended, and who acknowledged it. There is no countdown: a
case says when it is to be looked at again (`look_again_at`, empty after every change), and a sweep looks. Any number of
sweeps may run at once; a case has one open escalation of each kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.tables import Account, Case, CaseStudy, Organisation, ReadingTask
from reading_queue.domain.clocks import moved_limit
from reading_queue.domain.escalation import (
    OF_CONSULTS,
    TELLS_A_PERSON,
    TELLS_THE_DIRECTOR,
    THIRDS,
    UNTIL_TAKEN,
    WHILE_UNTAKEN,
    Clock,
    Escalation,
    next_look,
    steps_reached,
)
from reading_queue.domain.transitions import AMENDED, BEING_READ, CaseState, ReadingTaskState
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, require_case, visible_sites
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    find_open_task,
    get_case_locked,
    is_first_study,
    launch_route,
    record_custody,
)
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.cases.waiting import load_waiting, stands_at
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import organisation_name, site_name, why_nobody
from reading_queue.services.network.directors import organisations_directed
from reading_queue.services.routing.director_notices import tell_directors, tell_further, was_told
from reading_queue.services.worklists.desk_events import tell
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.ledger.tables import Site

log = structlog.get_logger(__name__)

BATCH: Final = 200
LISTED_MAX: Final = 200
LOOKED_BACK: Final = timedelta(days=3)
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
UNSIGNED: Final = BEING_READ | {CaseState.RECEIVING, CaseState.READY, CaseState.OFFERED}


@dataclass(frozen=True, slots=True)
class EscalationView:
    """One open escalation, for who oversees the case's site."""

    escalation_id: str
    kind: Escalation
    raised_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str  # a name
    case_id: str
    site_id: str
    site_name: str
    study_uid: str
    state: CaseState
    lane: Lane
    green_channel: str | None
    modality: str
    description: str  # of its first study, empty while that is on the way
    due_at: datetime | None
    reason: str  # why nobody can be asked
    ended_at: datetime | None = None
    tells_director: bool = False
    directors: tuple[str, ...] = ()  # names of those who were told; none: the coordinators have it
    directors_of: str = ""  # the organisation whose directors they are


def escalate_due(hub: Hub) -> int:
    """Look at the cases whose next step is reached or whose course has changed; return how many were looked at."""
    now = hub.clock()
    due = (
        select(Case)
        .where(Case.state.in_(UNSIGNED), or_(Case.look_again_at.is_(None), Case.look_again_at <= now))
        .order_by(Case.look_again_at.nulls_first())
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    with hub.transaction() as session:
        cases = session.scalars(due).all()
        open_kinds = _load_open_kinds(session, cases)
        waiting = load_waiting(session, cases)
        for case in cases:
            _look_at(session, case, open_kinds[case.case_id], waiting.get(case.case_id), now)
    _end_settled(hub, now)
    with hub.transaction() as session:
        tell_further(session, now, hub.policy.director_answer_s)
    return len(cases)


def clock_of(case: Case) -> Clock | None:
    """Return how the case stands in time, None without a limit.

    It begins later by what the case has waited for its site, as its limit does: the thirds are of the net time.
    """
    if case.due_at is None:
        return None
    waited = timedelta(seconds=case.paused_s)
    began_at = moved_limit(case.exam_started_at or case.first_instance_at, Lane(case.lane), waited)
    return Clock(min(began_at, case.due_at), case.due_at, taken=case.state in BEING_READ)


def raise_escalation(session: Session, case: Case, kind: Escalation, now: datetime) -> bool:
    """Write that people are to look at the case, unless they are told already; return whether it is new."""
    row = insert(EscalationRow).values(escalation_id=new_id(), case_id=case.case_id, kind=kind, raised_at=now)
    row = row.on_conflict_do_nothing(index_elements=["case_id", "kind"], index_where=EscalationRow.ended_at.is_(None))
    escalation_id = session.scalar(row.returning(EscalationRow.escalation_id))
    if escalation_id is None:
        return False
    told = tell_directors(session, case, escalation_id, now) if kind in TELLS_THE_DIRECTOR else {}
    detail = {"step": kind.value, **told}
    record_custody(session, case, Hop.ESCALATED, f"escalated:{escalation_id}", now, detail=detail)
    log.warning("case_escalated", case_id=case.case_id, kind=kind.value, lane=case.lane)
    return True


def tell_given_back(session: Session, case: Case, now: datetime) -> None:
    """Tell people anew of a case of a green channel that lies there again, with nobody asked; the case is locked."""
    if case.green_channel is None or case.state != CaseState.READY:
        return
    end_escalations(session, case.case_id, frozenset({Escalation.GREEN_CHANNEL}), now)
    raise_escalation(session, case, Escalation.GREEN_CHANNEL, now)


def end_escalations(session: Session, case_id: str, kinds: frozenset[Escalation], now: datetime) -> None:
    """Take back what is settled."""
    still_open = (EscalationRow.case_id == case_id, EscalationRow.ended_at.is_(None), EscalationRow.kind.in_(kinds))
    session.execute(update(EscalationRow).where(*still_open).values(ended_at=now))


def list_escalations(hub: Hub, viewer: Viewer) -> tuple[EscalationView, ...]:
    """Return what is open at the sites that the viewer oversees and tells a person, the oldest unacknowledged first.

    Of the steps of a case's limit only the newest: who is told that it is breached knows that two thirds are over.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        theirs = Case.site_id.in_(visible_sites(session, viewer, now))
        tells = EscalationRow.kind.in_(TELLS_A_PERSON)
        return _load_views(session, viewer, EscalationRow.ended_at.is_(None), tells, theirs, ~_is_overtaken())


def list_told(hub: Hub, viewer: Viewer) -> tuple[EscalationView, ...]:
    """Return what the viewer was told of as duty director: what is open, and what ended in the last days.

    Facts of the case without its patient; being told opens nothing else.
    """
    told = select(DirectorNotice.escalation_id).where(DirectorNotice.account_id == viewer.account_id)
    lately = or_(EscalationRow.ended_at.is_(None), EscalationRow.ended_at > hub.clock() - LOOKED_BACK)
    with hub.transaction() as session:
        return _load_views(session, viewer, EscalationRow.escalation_id.in_(told), lately)


def find_directed(hub: Hub, viewer: Viewer) -> tuple[str, ...]:
    """Return the names of the organisations whose duty director the viewer is now."""
    with hub.transaction() as session:
        codes = organisations_directed(session, viewer.account_id, hub.clock())
        rows = [session.get_one(Organisation, code) for code in codes]
        return tuple(organisation_name(row.name, row.name_en, viewer.language) for row in rows)


def acknowledge(hub: Hub, viewer: Viewer, escalation_id: str) -> None:
    """Write that the viewer has seen it and acts; the first one counts.

    Whoever oversees the case's site may, and whoever was told as duty director. Raises Forbidden, NotFound.
    """
    now = hub.clock()
    with hub.transaction() as session:
        found = session.get(EscalationRow, escalation_id)
        if found is None:
            raise NotFound("there is no such escalation")
        as_director = was_told(session, viewer.account_id, escalation_id)
        if not as_director:
            require(viewer, *WITH_OVERSIGHT)
            require_case(session, viewer, found.case_id, now)
        case = get_case_locked(session, found.case_id)
        row = session.get_one(EscalationRow, escalation_id, populate_existing=True)
        if row.acknowledged_at is None:
            row.acknowledged_at = now
            row.acknowledged_by = viewer.account_id
            tell(session, "acknowledged_escalation", case.site_id, case.case_id)
            audit(
                session,
                now,
                PROCEDURE_RECORD,
                "U",
                viewer.account_id,
                case,
                event="escalation_acknowledged",
                as_director=as_director,
            )


def _load_open_kinds(session: Session, cases: Sequence[Case]) -> defaultdict[str, set[Escalation]]:
    found: defaultdict[str, set[Escalation]] = defaultdict(set)
    of_cases = EscalationRow.case_id.in_([case.case_id for case in cases])
    rows = select(EscalationRow.case_id, EscalationRow.kind).where(of_cases, EscalationRow.ended_at.is_(None))
    for case_id, kind in session.execute(rows):
        found[case_id].add(Escalation(kind))
    return found


def _look_at(
    session: Session, case: Case, open_kinds: set[Escalation], waits_since: datetime | None, now: datetime
) -> None:
    """Do what the clock of a locked case asks for, and say when to look again: a clock that stands still, not before
    it goes on.
    """
    clock = clock_of(case)
    if clock is None:
        case.look_again_at = NEVER
        return
    at = stands_at(case, waits_since, now)
    reached = set(steps_reached(clock, at))
    raised = {step for step in THIRDS if step in reached - open_kinds and raise_escalation(session, case, step, now)}
    if WHILE_UNTAKEN & raised:
        task = find_open_task(session, case.case_id)
        if task is not None:
            launch_route(session, now, task.reading_task_id)
    settled = open_kinds - reached - OF_CONSULTS - {Escalation.NOBODY} - (UNTIL_TAKEN if not clock.taken else set())
    if settled:
        end_escalations(session, case.case_id, frozenset(settled), now)
    case.look_again_at = (next_look(clock, now) if at == now else None) or NEVER


def _end_settled(hub: Hub, now: datetime) -> None:
    """End what concerns no case any more: that nobody can be asked stands as long as a task waits for somebody."""
    waits = exists().where(
        ReadingTask.case_id == EscalationRow.case_id, ReadingTask.state == ReadingTaskState.SCHEDULED
    )
    nobody = EscalationRow.kind == Escalation.NOBODY
    amends = EscalationRow.kind.in_(OF_CONSULTS) & Case.state.in_(AMENDED)
    over = exists().where(Case.case_id == EscalationRow.case_id, Case.state.not_in(UNSIGNED), ~amends)
    settled = or_(nobody & ~waits, ~nobody & over)
    with hub.transaction() as session:
        session.execute(update(EscalationRow).where(EscalationRow.ended_at.is_(None), settled).values(ended_at=now))


def _is_overtaken() -> ColumnElement[bool]:
    """Return whether the limit of a row's case has reached its next step since."""
    newer = aliased(EscalationRow)
    breached = (newer.case_id == EscalationRow.case_id, newer.ended_at.is_(None), newer.kind == Escalation.BREACHED)
    return (EscalationRow.kind == Escalation.TWO_THIRDS) & exists().where(*breached)


def _load_views(session: Session, viewer: Viewer, *conditions: ColumnElement[bool]) -> tuple[EscalationView, ...]:
    """Return the escalations, what is open and unacknowledged first."""
    of_study = and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid)
    rows = session.execute(
        select(
            EscalationRow,
            Case,
            site_name(viewer.language),
            CaseStudy.study_uid,
            Study.description,
            Account.display_name,
        )
        .join(Case, Case.case_id == EscalationRow.case_id)
        .join(Site, Site.site_id == Case.site_id)
        .join(CaseStudy, CaseStudy.case_id == Case.case_id)
        .outerjoin(Study, of_study)
        .outerjoin(Account, Account.account_id == EscalationRow.acknowledged_by)
        .where(is_first_study(), *conditions)
        .order_by(
            EscalationRow.ended_at.is_not(None),
            EscalationRow.acknowledged_at.is_not(None),
            Case.green_channel.is_(None),
            EscalationRow.raised_at,
        )
        .limit(LISTED_MAX)
    ).all()
    reasons = why_nobody(session, [row[1] for row in rows], viewer.language)
    told = _load_told(session, [row[0].escalation_id for row in rows], viewer.language)
    views = (_view(*row, reason=reasons.get(row[1].case_id, "")) for row in rows)
    return tuple(replace(one, **told[one.escalation_id]) if one.escalation_id in told else one for one in views)


def _load_told(session: Session, escalation_ids: Sequence[str], language: str) -> dict[str, dict[str, Any]]:
    """Return by escalation which directors were told, in order, and of which organisation the last one is."""
    rows = session.execute(
        select(DirectorNotice.escalation_id, Account.display_name, Organisation.name, Organisation.name_en)
        .join(Account, Account.account_id == DirectorNotice.account_id)
        .join(Organisation, Organisation.organisation_id == DirectorNotice.organisation_id)
        .where(DirectorNotice.escalation_id.in_(escalation_ids))
        .order_by(DirectorNotice.told_at, Account.login)
    ).all()
    told: dict[str, dict[str, Any]] = {}
    for escalation_id, name, organisation, name_en in rows:
        one = told.setdefault(escalation_id, {"directors": ()})
        one["directors"] += (name,)
        one["directors_of"] = organisation_name(organisation, name_en, language)
    return told


def _view(
    row: EscalationRow,
    case: Case,
    site: str,
    study_uid: str,
    description: str | None,
    acknowledged_by: str | None,
    *,
    reason: str,
) -> EscalationView:
    return EscalationView(
        escalation_id=row.escalation_id,
        kind=Escalation(row.kind),
        raised_at=row.raised_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=acknowledged_by or "",
        case_id=case.case_id,
        site_id=case.site_id,
        site_name=site,
        study_uid=study_uid,
        state=CaseState(case.state),
        lane=Lane(case.lane),
        green_channel=case.green_channel,
        modality=case.modality,
        description=description or "",
        due_at=case.due_at,
        reason=reason,
        ended_at=row.ended_at,
        tells_director=Escalation(row.kind) in TELLS_THE_DIRECTOR,
    )
