"""Asking a named hospital up the line for its opinion (会诊), while the case stays with who holds it.

Durable: each consultation with its question, its own limit, who took it and the opinion, dated; an opinion never
changes. One is open for a case at most, under an agreement in force with the service consultation. Nobody signs while
one is open: the opinion belongs to the record of the report. It ends with the claim that asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import exists, extract, literal, select
from sqlalchemy.orm import Session

from reading_queue.db.consult_tables import Consult
from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.tables import Agreement, Case, Organisation, Physician, ReadingTask
from reading_queue.domain.consults import (
    CONSULTANT_TITLES,
    ConsultActor,
    ConsultEvent,
    ConsultEventNotAllowed,
    ConsultState,
    apply_to_consult,
    covers,
)
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.errors import Conflict, Forbidden, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    get_case_locked,
    get_task_locked,
)
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import require_holder, require_licence, require_physician
from reading_queue.services.reading.consult_rows import ConsultView, find_open_consult, list_consults, record_consult
from reading_queue.services.reports.signed_facts import hospital_of
from reading_queue.services.routing.escalating import end_escalations, raise_escalation
from reading_queue.services.routing.routing_facts import load_lineage, load_local_date
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane

BATCH: Final = 200


class MayNotBeConsulted(Forbidden):
    """No agreement in force lets this hospital be asked for its opinion on this case."""

    code = "may_not_be_consulted"


class ConsultOpen(Conflict):
    """A hospital is being asked for its opinion; wait for it, or withdraw the question before you sign."""

    code = "consult_open"


@dataclass(frozen=True, slots=True)
class ConsultableHospital:
    """A hospital that may be asked, and under which agreement."""

    organisation_id: str
    name: str
    agreement_id: str


def hospitals_to_ask(
    session: Session, case: Case, task: ReadingTask, physician: Physician, language: str, now: datetime
) -> tuple[ConsultableHospital, ...]:
    """Return which hospitals the holder may ask: by an agreement of a hospital of theirs or the site, or above.

    All but the one for which they read the case; at another hospital of theirs a colleague answers.
    """
    reads_for = hospital_of(session, physician, task.reading_task_id)
    asking = {reads_for, physician.organisation_id, *physician.also_at, case.organisation_id}
    above = {one for organisation_id in sorted(asking) for one in load_lineage(session, organisation_id)}
    today = load_local_date(session, case.site_id, now)
    agreed = (
        select(Agreement, Organisation)
        .join(Organisation, Organisation.organisation_id == Agreement.assisting_organisation_id)
        .where(
            Agreement.requesting_organisation_id.in_(above),
            Agreement.assisting_organisation_id != reads_for,
            Agreement.valid_from <= today,
            Agreement.valid_until >= today,
        )
        .order_by(Agreement.stage, Agreement.agreement_id)
    )
    found: dict[str, ConsultableHospital] = {}
    for agreement, hospital in session.execute(agreed):
        if covers(agreement, case.modality, case.body_region):
            name = (hospital.name_en or hospital.name) if language == "en" else hospital.name
            one = ConsultableHospital(hospital.organisation_id, name, agreement.agreement_id)
            found.setdefault(one.organisation_id, one)
    return tuple(found.values())


def ask(hub: Hub, viewer: Viewer, reading_task_id: str, organisation_id: str, question: str) -> str:
    """Ask a hospital for its opinion; return the consultation's id. The case stays with the viewer.

    Raises:
        NotHolder: the viewer does not hold the task. MayNotBeConsulted: no agreement allows it.
        WrongState: a hospital is being asked already. Invalid: nothing is asked.
    """
    now = hub.clock()
    words = parse_words(question, "say in a few words what you want to know")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        physician_id = require_holder(viewer, task)
        physician = session.get_one(Physician, physician_id)
        hospitals = hospitals_to_ask(session, case, task, physician, viewer.language, now)
        hospital = next((one for one in hospitals if one.organisation_id == organisation_id), None)
        if hospital is None:
            raise MayNotBeConsulted
        if find_open_consult(session, case.case_id) is not None:
            raise WrongState("a hospital is being asked already; wait for it or withdraw the question")
        consult = Consult(
            consult_id=new_id(),
            case_id=case.case_id,
            reading_task_id=task.reading_task_id,
            asked_by=physician_id,
            organisation_id=organisation_id,
            could_be_asked=[one.organisation_id for one in hospitals],
            agreement_id=hospital.agreement_id,
            question=words,
            asked_at=now,
            due_at=now + timedelta(minutes=hub.policy.consult_limit_min[Lane(case.lane)]),
            state=ConsultState.ASKED,
        )
        session.add(consult)
        session.flush()
        end_escalations(session, case.case_id, frozenset({Escalation.CONSULT_EXPIRED}), now)
        _record(session, case, consult, Hop.CONSULT_ASKED, now, viewer)
        return consult.consult_id


def accept(hub: Hub, viewer: Viewer, consult_id: str) -> None:
    """Take a consultation that the viewer's hospital is asked for; the first one has it.

    Raises: NotFound, WrongState, LicenceNotValid.
    """
    now = hub.clock()
    with hub.transaction() as session:
        consult, case, physician_id = _get_locked(session, viewer, consult_id)
        if consult.state == ConsultState.ACCEPTED and consult.accepted_by == physician_id:
            return
        require_licence(session, physician_id, case.site_id, now)
        _move(session, consult, ConsultEvent.ACCEPT, viewer)
        consult.accepted_by, consult.accepted_at = physician_id, now
        session.flush()
        _record(session, case, consult, Hop.CONSULT_ACCEPTED, now, viewer)


def answer(hub: Hub, viewer: Viewer, consult_id: str, opinion: str) -> None:
    """Write the opinion; it is dated, shown to who asked, and never changes.

    Raises: NotFound, LicenceNotValid, Invalid. WrongState: the viewer has not taken it, or it has ended.
    """
    words = parse_words(opinion, "write your opinion")
    _end(hub, viewer, consult_id, ConsultEvent.ANSWER, Hop.CONSULT_ANSWERED, words)


def decline(hub: Hub, viewer: Viewer, consult_id: str, reason: str) -> None:
    """Say no for the hospital, with a reason; who asked may ask another. Raises NotFound, WrongState, Invalid."""
    words = parse_words(reason, "say in a few words why")
    _end(hub, viewer, consult_id, ConsultEvent.DECLINE, Hop.CONSULT_ENDED, words)


def withdraw(hub: Hub, viewer: Viewer, consult_id: str) -> None:
    """Take the question back. Raises NotFound; WrongState when it has ended."""
    _end(hub, viewer, consult_id, ConsultEvent.WITHDRAW, Hop.CONSULT_ENDED, "")


def expire_consults(hub: Hub) -> int:
    """End the consultations whose time is over; return how many. The case goes on with its reader."""
    now = hub.clock()
    overdue = select(Consult.consult_id, Consult.case_id).where(Consult.ended_at.is_(None), Consult.due_at <= now)
    with hub.transaction() as session:
        rows = session.execute(overdue.order_by(Consult.due_at).limit(BATCH)).all()
    ended = 0
    for consult_id, case_id in rows:
        with hub.transaction() as session:
            case = get_case_locked(session, case_id)
            consult = session.get_one(Consult, consult_id, populate_existing=True)
            if consult.ended_at is None:
                consult.state = apply_to_consult(ConsultState(consult.state), ConsultEvent.EXPIRE, ConsultActor.SYSTEM)
                consult.ended_at = now
                session.flush()
                _record(session, case, consult, Hop.CONSULT_ENDED, now, None)
                raise_escalation(session, case, Escalation.CONSULT_EXPIRED, now)
                ended += 1
    return ended


def hurry_consults(hub: Hub) -> int:
    """Tell the coordinators of those that are unanswered after two thirds of their time; return how many are new."""
    now = hub.clock()
    told = exists().where(
        EscalationRow.case_id == Consult.case_id,
        EscalationRow.kind == Escalation.CONSULT_WAITS,
        EscalationRow.ended_at.is_(None),
    )
    waited_s = extract("epoch", literal(now) - Consult.asked_at)
    limit_s = extract("epoch", Consult.due_at - Consult.asked_at)
    in_time = Consult.ended_at.is_(None), Consult.due_at > now
    late = select(Consult.case_id).where(*in_time, waited_s * 3 >= limit_s * 2, ~told)
    with hub.transaction() as session:
        cases = session.scalars(late.order_by(Consult.due_at).limit(BATCH)).all()
    raised = 0
    for case_id in cases:
        with hub.transaction() as session:
            case = get_case_locked(session, case_id)
            if find_open_consult(session, case_id) is not None:
                raised += raise_escalation(session, case, Escalation.CONSULT_WAITS, now)
    return raised


def consults_of(hub: Hub, viewer: Viewer) -> tuple[ConsultView, ...]:
    """Return what the viewer's hospital is asked now and the viewer has taken, and what the viewer has asked.

    What has ended stays with who asked as long as they hold the case, so that they see that the answer is here.
    """
    if viewer.physician_id is None:
        return ()
    with hub.transaction() as session:
        physician = session.get_one(Physician, viewer.physician_id)
        holds = exists().where(
            ReadingTask.case_id == Consult.case_id,
            ReadingTask.holder_id == viewer.physician_id,
            ReadingTask.state == ReadingTaskState.IN_PROGRESS,
        )
        told = Consult.ended_at.is_(None) | ((Consult.state != ConsultState.WITHDRAWN) & holds)
        theirs = (Consult.asked_by == viewer.physician_id) & told
        if physician.title in CONSULTANT_TITLES:
            hospitals = physician.organisation_id, *physician.also_at
            asked = Consult.organisation_id.in_(hospitals) & (Consult.state == ConsultState.ASKED)
            theirs = (
                theirs | asked | (Consult.state == ConsultState.ACCEPTED) & (Consult.accepted_by == viewer.physician_id)
            )
        return list_consults(session, viewer.language, theirs)


def require_none_open(session: Session, case: Case) -> None:
    """Raise ConsultOpen while a hospital is asked about the case."""
    if find_open_consult(session, case.case_id) is not None:
        raise ConsultOpen


def _end(hub: Hub, viewer: Viewer, consult_id: str, event: ConsultEvent, hop: Hop, words: str) -> None:
    now = hub.clock()
    with hub.transaction() as session:
        consult, case, physician_id = _get_locked(session, viewer, consult_id)
        if event is ConsultEvent.ANSWER:
            require_licence(session, physician_id, case.site_id, now)
        _move(session, consult, event, viewer)
        consult.ended_at, consult.words = now, words
        session.flush()
        _record(session, case, consult, hop, now, viewer)


def _get_locked(session: Session, viewer: Viewer, consult_id: str) -> tuple[Consult, Case, str]:
    """Return the consultation, its case, locked, and the viewer's physician id; raises NotFound for who has no part."""
    physician_id = require_physician(viewer)
    case_id = session.scalar(select(Consult.case_id).where(Consult.consult_id == consult_id))
    if case_id is None:
        raise NotFound("there is no such consultation")
    case = get_case_locked(session, case_id)
    consult = session.get_one(Consult, consult_id, populate_existing=True)
    if not _actors(session, consult, physician_id):
        raise NotFound("there is no such consultation")
    return consult, case, physician_id


def _move(session: Session, consult: Consult, event: ConsultEvent, viewer: Viewer) -> None:
    actors = _actors(session, consult, require_physician(viewer))
    try:
        consult.state = apply_to_consult(ConsultState(consult.state), event, *actors)
    except ConsultEventNotAllowed as exc:
        raise WrongState(str(exc)) from exc


def _actors(session: Session, consult: Consult, physician_id: str) -> tuple[ConsultActor, ...]:
    """Return as whom a physician may act on a consultation; nobody answers what they ask."""
    if physician_id == consult.asked_by:
        return (ConsultActor.ASKER,)
    physician = session.get_one(Physician, physician_id)
    at_hospital = consult.organisation_id in (physician.organisation_id, *physician.also_at)
    consults = at_hospital and physician.title in CONSULTANT_TITLES
    has_taken = consult.accepted_by == physician_id
    return (ConsultActor.CONSULTANT,) * consults + (ConsultActor.ACCEPTED_BY,) * has_taken


def _record(session: Session, case: Case, consult: Consult, hop: Hop, now: datetime, viewer: Viewer | None) -> None:
    about = record_consult(session, case, consult, hop, now, viewer.account_id if viewer is not None else None)
    if viewer is not None:
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event=hop.value, **about)
