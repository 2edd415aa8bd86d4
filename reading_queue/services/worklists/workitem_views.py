"""Reading tasks as workitems: what a search finds and a retrieval gives. Writes the audit trail alone.

Physicians find what is offered to them and what is or was theirs, everybody else the workitems of the cases that they
may follow. About whom a workitem is, is told by the right to the case alone (`may_follow_case`): to a physician who
gave it back, or came too late, it says how it stands and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, true
from sqlalchemy.orm import Session

from reading_queue.db.subscription_tables import WorkitemProgress
from reading_queue.db.tables import (
    Account,
    Case,
    CaseStudy,
    Document,
    Offer,
    Organisation,
    Physician,
    ReadingTask,
    Report,
)
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState, ReadingTaskState
from reading_queue.domain.workitems.content import (
    WORKITEM_CODES,
    DicomJson,
    Output,
    Performer,
    Said,
    WorkitemFacts,
    WorkitemPatient,
    WorkitemStudy,
    workitem_json,
)
from reading_queue.domain.workitems.listing import listed
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, may_follow_case
from reading_queue.services.cases.casework import PROCEDURE_RECORD, audit
from reading_queue.services.hub import Hub
from reading_queue.services.worklists.workitem_search import WorkitemQuery
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.lanes import Lane
from storage.dicomweb.addresses import ROOT
from storage.ledger.tables import AuditEvent

QUERY: Final = "110112"  # DCM audit event (PS3.15 A.5)
SR_CLASSES: Final = {"sr": "1.2.840.10008.5.1.4.1.1.88.11", "pdf": "1.2.840.10008.5.1.4.1.1.104.1"}


@dataclass(frozen=True, slots=True)
class WorkitemPage:
    """Part of what a search found, and whether more comes after."""

    workitems: list[DicomJson]
    has_more: bool


def search_workitems(hub: Hub, viewer: Viewer, query: WorkitemQuery) -> WorkitemPage:
    """Return the page that a search asks for of what the viewer may see, the newest first."""
    now = hub.clock()
    with hub.transaction() as session:
        statement = (
            select(ReadingTask, Case, _follows(viewer, now))
            .join(Case, Case.case_id == ReadingTask.case_id)
            .where(_is_listed(viewer, now), _is_known(), *query.conditions)
            .order_by(ReadingTask.created_at.desc(), ReadingTask.reading_task_id)
            .limit(query.limit + 1)
            .offset(query.offset)
        )
        if query.about_patient:
            statement = statement.where(_follows(viewer, now))
        rows = [(task, case, bool(follows)) for task, case, follows in session.execute(statement)]
        found = rows[: query.limit]
        _audit_search(session, viewer, query, len(found), now)
        facts = load_workitems(session, hub, found, now)
        return WorkitemPage([listed(workitem_json(one), query.told) for one in facts], len(rows) > query.limit)


def retrieve_workitem(hub: Hub, viewer: Viewer, workitem_uid: str) -> DicomJson:
    """Return one workitem. Raises NotFound for what is not there, or not the viewer's to see."""
    now = hub.clock()
    with hub.transaction() as session:
        task, case, follows = get_workitem(session, viewer, workitem_uid, now)
        audit(session, now, PROCEDURE_RECORD, "R", viewer.account_id, case, event="workitem", workitem=workitem_uid)
        (facts,) = load_workitems(session, hub, [(task, case, follows)], now)
        return workitem_json(facts)


def get_workitem(session: Session, viewer: Viewer, workitem_uid: str, now: datetime) -> tuple[ReadingTask, Case, bool]:
    """Return the reading task of this UID, its case, and whether the viewer may follow the case. Raises NotFound."""
    of_uid = met_workitems(viewer, now).where(ReadingTask.workitem_uid == workitem_uid)
    row = session.execute(of_uid).one_or_none()
    if row is None:
        raise NotFound("there is no such workitem, or you may not see it")
    task, case, follows = row
    return task, case, bool(follows)


def met_workitems(viewer: Viewer, now: datetime) -> Select[ReadingTask, Case, bool]:
    """Return the statement of the reading tasks that the viewer may ask for by UID, as `load_workitems` takes them."""
    return (
        select(ReadingTask, Case, _follows(viewer, now))
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(_is_met(viewer, now), _is_known())
    )


def load_workitems(
    session: Session, hub: Hub, rows: Sequence[tuple[ReadingTask, Case, bool]], now: datetime
) -> list[WorkitemFacts]:
    """Return what workitems tell, in the order of `rows`: each a task, its case, and whether that may be followed."""
    case_ids = [case.case_id for _, case, _ in rows]
    task_ids = [task.reading_task_id for task, _, _ in rows]
    studies = _load_studies(session, case_ids)
    offers = _load_offers(session, task_ids, now)
    holders = _load_performers(session, {task.holder_id for task, _, _ in rows if task.holder_id})
    said = {one.reading_task_id: one for one in session.scalars(_among(WorkitemProgress.reading_task_id, task_ids))}
    replaced = {task.replaces_id for task, _, _ in rows if task.replaces_id}
    uids = select(ReadingTask.reading_task_id, ReadingTask.workitem_uid).where(
        ReadingTask.reading_task_id.in_(replaced)
    )
    replaced_uids = {task_id: uid for task_id, uid in session.execute(uids)}  # noqa: C416 -- rows are no pairs for mypy
    outputs = _load_outputs(session, case_ids)
    return [
        WorkitemFacts(
            workitem_uid=task.workitem_uid,
            phase=task.phase,
            state=task.state,
            lane=Lane(case.lane),
            is_arriving=case.state == CaseState.RECEIVING or case.still_arriving,
            created_at=task.created_at,
            due_at=case.due_at,
            patient=_patient(studies.get(case.case_id, [])) if follows else None,
            studies=[_study(hub, study) for study, _ in studies.get(case.case_id, [])] if follows else (),
            offered_to=offers.get(task.reading_task_id, ()),
            holder=holders.get(task.holder_id or ""),
            claimed_at=task.claimed_at,
            ended_at=task.completed_at,
            cancel_reason=task.cancel_reason or "",
            replaces_uid=replaced_uids.get(task.replaces_id or "", ""),
            outputs=_outputs(task, outputs.get(case.case_id, ())) if follows else (),
            said=_said(said.get(task.reading_task_id), follows=follows),
        )
        for task, case, follows in rows
    ]


def _follows(viewer: Viewer, now: datetime) -> ColumnElement[bool]:
    """Return the condition under which the viewer is told about whom a workitem is, once they are given it."""
    if viewer.role is not Role.PHYSICIAN:
        return true()
    return may_follow_case(viewer, Case.case_id, Case.site_id, now)


def _is_listed(viewer: Viewer, now: datetime) -> ColumnElement[bool]:
    """Return what a search finds: of a physician, what is offered to them or is or was theirs."""
    if viewer.role is not Role.PHYSICIAN:
        return may_follow_case(viewer, Case.case_id, Case.site_id, now)
    is_open = (Offer.state == "open", Offer.expires_at > now, ReadingTask.state == ReadingTaskState.SCHEDULED)
    return or_(_was_offered_to(viewer, *is_open), ReadingTask.holder_id == viewer.physician_id)


def _is_met(viewer: Viewer, now: datetime) -> ColumnElement[bool]:
    """Return what is given by its UID: to a physician, too, what was once offered, so that a late claim is told why."""
    if viewer.role is not Role.PHYSICIAN:
        return may_follow_case(viewer, Case.case_id, Case.site_id, now)
    return or_(_was_offered_to(viewer), ReadingTask.holder_id == viewer.physician_id)


def _was_offered_to(viewer: Viewer, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    theirs = (Offer.reading_task_id == ReadingTask.reading_task_id, Offer.physician_id == viewer.physician_id)
    return exists().where(*theirs, *more)


def _is_known() -> ColumnElement[bool]:
    return ReadingTask.phase.in_(WORKITEM_CODES)


def _among(column: Any, values: Sequence[str]) -> Any:
    return select(column.class_).where(column.in_(values))


def _load_studies(session: Session, case_ids: Sequence[str]) -> dict[str, list[tuple[Study, Patient]]]:
    rows = session.execute(
        select(CaseStudy.case_id, Study, Patient)
        .join(Study, (Study.site_id == CaseStudy.site_id) & (Study.study_uid == CaseStudy.study_uid))
        .join(Patient, Patient.patient_id == Study.patient_id)
        .where(CaseStudy.case_id.in_(case_ids))
        .order_by(Study.study_uid)
    )
    return _grouped((case_id, (study, patient)) for case_id, study, patient in rows)


def _load_offers(session: Session, task_ids: Sequence[str], now: datetime) -> dict[str, list[Performer]]:
    rows = session.execute(
        select(Offer.reading_task_id, Physician.physician_id, Account.display_name, Organisation.name)
        .join(Physician, Physician.physician_id == Offer.physician_id)
        .join(Account, Account.account_id == Physician.account_id)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
        .where(Offer.reading_task_id.in_(task_ids), Offer.state == "open", Offer.expires_at > now)
        .order_by(Physician.physician_id)
    )
    return _grouped((task_id, Performer(*who)) for task_id, *who in rows)


def _load_performers(session: Session, physician_ids: set[str]) -> dict[str, Performer]:
    rows = session.execute(
        select(Physician.physician_id, Account.display_name, Organisation.name)
        .join(Account, Account.account_id == Physician.account_id)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
        .where(Physician.physician_id.in_(physician_ids))
    )
    return {row[0]: Performer(*row) for row in rows}


def _load_outputs(session: Session, case_ids: Sequence[str]) -> dict[str, list[tuple[datetime, Output]]]:
    """Return by case the documents of its reports that are instances, each with when its report was signed."""
    rows = session.execute(
        select(
            Document.case_id,
            Report.signed_at,
            Document.kind,
            func.coalesce(Document.sop_instance_uid, ""),
            CaseStudy.study_uid,
        )
        .join(Report, Report.report_id == Document.report_id)
        .join(CaseStudy, CaseStudy.case_id == Document.case_id)
        .where(Document.case_id.in_(case_ids), Document.sop_instance_uid.is_not(None))
        .order_by(Document.case_id, Document.cursor, CaseStudy.study_uid)
    )
    found: dict[str, dict[str, tuple[datetime, Output]]] = {}
    for case_id, signed_at, kind, uid, study_uid in rows:
        output = Output(study_uid, SR_CLASSES.get(kind, ""), uid)
        found.setdefault(case_id, {}).setdefault(uid, (signed_at, output))
    return {case_id: list(outputs.values()) for case_id, outputs in found.items()}


def _outputs(task: ReadingTask, outputs: Sequence[tuple[datetime, Output]]) -> list[Output]:
    """Return the documents of the report that was signed by completing this very task."""
    if task.state != ReadingTaskState.COMPLETED:
        return []
    return [output for signed_at, output in outputs if signed_at == task.completed_at]


def _grouped(pairs: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _patient(studies: Sequence[tuple[Study, Patient]]) -> WorkitemPatient | None:
    if not studies:
        return None
    study, patient = studies[0]
    facts = facts_of(study, patient)
    return WorkitemPatient(facts.name, facts.number, study.site_id, facts.birth_date, facts.sex)


def _study(hub: Hub, study: Study) -> WorkitemStudy:
    return WorkitemStudy(
        study_uid=study.study_uid,
        accession_number=study.accession_number,
        description=study.description,
        modalities=study.modalities,
        referring_physician=study.referring_physician,
        retrieve_url=f"{hub.public_url.rstrip('/')}{ROOT}/studies/{study.study_uid}",
    )


def _said(row: WorkitemProgress | None, *, follows: bool) -> Said:
    if row is None or not follows:
        return Said()
    return Said(percent=row.percent, text=row.description, performed=row.performed, reason=row.reason)


def _audit_search(session: Session, viewer: Viewer, query: WorkitemQuery, found: int, now: datetime) -> None:
    """Write that somebody searched, by which keys: their values may name a patient."""
    session.add(
        AuditEvent(
            at=now,
            event_code=QUERY,
            action="E",
            account_id=viewer.account_id,
            object_kind="workitems",
            object_id="search",
            outcome="success",
            detail={"keys": list(query.keywords), "found": found},
        )
    )
