"""The types of resources that FHIR clients find and read: who sees which, by what they are searched, how they look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, aliased

from reading_queue.db.tables import Account, Case, CaseStudy, ClinicOrder, Physician, ReadingTask, Report
from reading_queue.domain.fhir_content import (
    DICOM_UID,
    ORDER_STATUS,
    SYSTEM,
    TASK_STATUS,
    CaseFacts,
    PersonFacts,
    Resource,
    StudyFacts,
    Subject,
    diagnostic_report,
    imaging_study,
    patient_record,
    service_request,
    task,
)
from reading_queue.domain.page_places import Place
from reading_queue.domain.report import ReportContent
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState, ReadingTaskState
from reading_queue.services.access.visibility import Viewer, may_follow, may_follow_case, may_see
from reading_queue.services.orders.orders import cases_of_orders, orders_of_cases
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.patient_numbers import shown_number
from storage.catalogue.tables import Patient, Study
from storage.contract.lanes import Lane
from storage.contract.orders import Order
from storage.contract.signed_report import AmendmentKind


@dataclass(frozen=True, slots=True)
class Token:
    """A number that is asked for, and within which system; None is any (FHIR R4 3.1.1.4.10)."""

    value: str
    system: str | None = None

    def is_in(self, column: Any, system: ColumnElement[str] | str) -> ColumnElement[bool]:
        """Return the condition that the column, whose numbers are of this system, holds it."""
        return and_(column == self.value, true() if self.system is None else literal(self.system) == system)


@dataclass(frozen=True, slots=True)
class FhirQuery:
    """A search that was understood. `changed` are comparisons of _lastUpdated: prefix, start and end of the time.

    `includes` are names of `INCLUDES`, `revincludes` of `REVINCLUDES`; `counted` asks how many there are on all pages.
    """

    identifier: Token | None = None
    accession: Token | None = None
    patient: Token | None = None
    patient_id: str = ""
    status: tuple[str, ...] = ()
    changed: tuple[tuple[str, datetime, datetime], ...] = ()
    includes: tuple[str, ...] = ()
    revincludes: tuple[str, ...] = ()
    counted: bool = False
    count: int = 50
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """How one type of resource is selected, ordered, shown and searched."""

    select: Callable[[Viewer, datetime], Select[Any]]
    key: ColumnElement[str]
    changed_at: ColumnElement[datetime]
    conditions: Callable[[FhirQuery], list[ColumnElement[bool]]]
    show: Callable[[Session, Sequence[Any]], list[Resource]]  # a page at once: as many statements as for one row


def _select_cases(viewer: Viewer, now: datetime) -> Select[Any]:
    return select(Case).where(may_follow_case(viewer, Case.case_id, Case.site_id, now))


def _select_studies(viewer: Viewer, now: datetime) -> Select[Any]:
    entities: tuple[Any, ...] = (Study, Patient)
    statement: Select[Any] = select(*entities).join(Patient, Patient.patient_id == Study.patient_id)
    return statement.where(may_see(viewer, Study.site_id, Study.study_uid, now), Study.instance_count > 0)


def _select_orders(viewer: Viewer, now: datetime) -> Select[Any]:
    """Select the orders of the viewer's sites, or of the cases that are theirs: by study, or by accession number."""
    follows = may_follow(viewer, ClinicOrder.site_id, ClinicOrder.study_uid, now)
    if viewer.role is not Role.PHYSICIAN:
        return select(ClinicOrder).where(follows)
    by_number = exists().where(
        Study.site_id == ClinicOrder.site_id,
        Study.accession_number == ClinicOrder.accession_number,
        Study.accession_number != "",
        CaseStudy.site_id == Study.site_id,
        CaseStudy.study_uid == Study.study_uid,
        may_follow_case(viewer, CaseStudy.case_id, CaseStudy.site_id, now),
    )
    return select(ClinicOrder).where(or_(follows, by_number))


# The newest study of a patient's record says when it changed last: whatever changes a record comes with a study.
_NEWEST: Final = (
    select(func.max(Study.catalogued_at))
    .where(Study.patient_id == Patient.patient_id)
    .correlate(Patient)
    .scalar_subquery()
)


def _select_patients(viewer: Viewer, now: datetime) -> Select[Any]:
    """Select the patients of studies that the viewer may see."""
    seen = may_see(viewer, Study.site_id, Study.study_uid, now)
    entities: tuple[Any, ...] = (Patient, _NEWEST)
    statement: Select[Any] = select(*entities)
    return statement.where(exists().where(Study.patient_id == Patient.patient_id, Study.instance_count > 0, seen))


def _of_patients(query: FhirQuery) -> list[ColumnElement[bool]]:
    if query.identifier is None:
        return []
    return [query.identifier.is_in(Patient.patient_number, _site_system(Patient.site_id, "patient"))]


def _of_cases(query: FhirQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.identifier:
        found.append(query.identifier.is_in(Case.case_id, f"{SYSTEM}:case"))
    if query.status:
        states = [state for state, status in TASK_STATUS.items() if status in query.status]
        returned = Case.state == CaseState.RETURNED
        begun = Case.claimed_at.is_not(None)
        plain = and_(Case.state.in_(states), ~returned)
        rejected = and_(returned, ~begun) if "rejected" in query.status else false()
        failed = and_(returned, begun) if "failed" in query.status else false()
        found.append(or_(plain, rejected, failed))
    if query.patient or query.accession or query.patient_id:
        found.append(
            exists().where(
                CaseStudy.case_id == Case.case_id,
                Study.site_id == CaseStudy.site_id,
                Study.study_uid == CaseStudy.study_uid,
                Patient.patient_id == Study.patient_id,
                *_of_numbers(query),
            )
        )
    return found


def _of_numbers(query: FhirQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on a study and its patient: their numbers are one system for each site."""
    found: list[ColumnElement[bool]] = []
    if query.accession:
        found.append(query.accession.is_in(Study.accession_number, _site_system(Study.site_id, "accession")))
    if query.patient_id:
        found.append(Study.patient_id == query.patient_id)
    if query.patient:
        found.append(query.patient.is_in(Patient.patient_number, _site_system(Study.site_id, "patient")))
    return found


def _of_studies(query: FhirQuery) -> list[ColumnElement[bool]]:
    found = _of_numbers(query)
    if query.identifier:
        uid = replace(query.identifier, value=query.identifier.value.removeprefix("urn:oid:"))
        number = query.identifier.is_in(Study.accession_number, _site_system(Study.site_id, "accession"))
        found.append(or_(uid.is_in(Study.study_uid, DICOM_UID), number))
    if query.status and "available" not in query.status:
        found.append(false())
    return found


def _site_system(site_id: Any, kind: str) -> ColumnElement[str]:
    """Return the system of a site's numbers of this kind, as `fhir_content` writes it."""
    return func.concat(f"{SYSTEM}:site:", site_id, f":{kind}")


def _select_reports(viewer: Viewer, now: datetime) -> Select[Any]:
    """Select the newest signed version of each case that the viewer may follow."""
    newer = aliased(Report)
    is_newest = ~exists().where(newer.case_id == Report.case_id, newer.report_version > Report.report_version)
    entities: tuple[Any, ...] = (Report, Case)
    statement: Select[Any] = select(*entities).join(Case, Case.case_id == Report.case_id)
    return statement.where(may_follow_case(viewer, Case.case_id, Case.site_id, now), is_newest)


def _of_reports(query: FhirQuery) -> list[ColumnElement[bool]]:
    found = _of_cases(FhirQuery(patient=query.patient, accession=query.accession, patient_id=query.patient_id))
    if query.identifier:
        found.append(query.identifier.is_in(Report.report_id, f"{SYSTEM}:report"))
    if query.status:
        kind = func.convert_from(Report.content, literal_column("'UTF8'")).cast(JSONB)["amendment_kind"].as_string()
        void = Case.state == CaseState.ENTERED_IN_ERROR
        kinds = {"final": kind.is_(None), "corrected": kind == AmendmentKind.CORRECTED}
        kinds["appended"] = kind == AmendmentKind.APPENDED
        standing = [and_(~void, condition) for status, condition in kinds.items() if status in query.status]
        found.append(or_(false(), *standing, *([void] if "entered-in-error" in query.status else [])))
    return found


def _of_orders(query: FhirQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for number in (query.identifier, query.accession):
        if number:
            found.append(number.is_in(ClinicOrder.accession_number, _site_system(ClinicOrder.site_id, "accession")))
    if query.patient:
        patient_number = ClinicOrder.content["patient_number"].as_string()
        found.append(query.patient.is_in(patient_number, _site_system(ClinicOrder.site_id, "patient")))
    if query.patient_id:
        found.append(_orders_of([query.patient_id]))
    if query.status:
        found.append(ClinicOrder.state.in_([one for one, status in ORDER_STATUS.items() if status in query.status]))
    return found


def _show_cases(session: Session, rows: Sequence[Any]) -> list[Resource]:
    cases: list[Case] = [row[0] for row in rows]
    case_ids = [case.case_id for case in cases]
    studies, holders = _load_studies(session, case_ids), _load_holders(session, case_ids)
    orders = orders_of_cases(session, case_ids)
    return [
        task(
            CaseFacts(
                case_id=case.case_id,
                state=CaseState(case.state),
                lane=Lane(case.lane),
                site_id=case.site_id,
                organisation_id=case.organisation_id,
                was_begun=case.claimed_at is not None,
                created_at=case.created_at,
                changed_at=_changed_at(case),
                claimed_at=case.claimed_at,
                signed_at=case.signed_at,
                due_at=case.due_at,
                return_code=case.return_code or "" if case.state == CaseState.RETURNED else "",
                subject=_subject(*studies[case.case_id][0]) if studies[case.case_id] else None,
                study_ids=[study.study_id for study, _ in studies[case.case_id]],
                order_ids=[order.order_id for order in orders[case.case_id]],
                holder=holders.get(case.case_id),
            )
        )
        for case in cases
    ]


def _show_studies(_session: Session, rows: Sequence[Any]) -> list[Resource]:
    return [
        imaging_study(
            StudyFacts(
                study_id=study.study_id,
                study_uid=study.study_uid,
                accession_number=study.accession_number,
                description=study.description,
                modalities=study.modalities,
                subject=_subject(study, patient),
                study_date=study.study_date,
                started_at=study.exam_started_at,
                series_count=study.series_count,
                instance_count=study.instance_count,
                changed_at=study.catalogued_at,
            )
        )
        for study, patient in rows
    ]


def _show_orders(session: Session, rows: Sequence[Any]) -> list[Resource]:
    orders = [Order.model_validate(row[0].content) for row in rows]
    named = select(Patient.site_id, Patient.patient_number, Patient.patient_id).where(
        tuple_(Patient.site_id, Patient.patient_number).in_({(one.site_id, one.patient_number) for one in orders}),
        exists().where(Study.patient_id == Patient.patient_id, Study.instance_count > 0),
    )
    ids = {(site_id, number): patient_id for site_id, number, patient_id in session.execute(named)}
    return [
        service_request(order, row[0].received_at, ids.get((order.site_id, order.patient_number), ""))
        for row, order in zip(rows, orders, strict=True)
    ]


def _show_patients(_session: Session, rows: Sequence[Any]) -> list[Resource]:
    return [patient_record(_person(row[0], row[1])) for row in rows]


def _person(row: Patient, changed_at: datetime) -> PersonFacts:
    undisputed = row.contradicted_at is None
    return PersonFacts(
        subject=Subject(row.site_id, shown_number(row.patient_number), row.name if undisputed else "", row.patient_id),
        birth_date=row.birth_date if undisputed else None,
        sex=row.sex if undisputed else "",
        changed_at=changed_at,
    )


def _show_reports(session: Session, rows: Sequence[Any]) -> list[Resource]:
    case_ids = [case.case_id for _, case in rows]
    studies, orders = _load_studies(session, case_ids), orders_of_cases(session, case_ids)
    return [
        diagnostic_report(
            ReportContent.from_json(report.content),
            CaseState(case.state),
            patient_id=studies[case.case_id][0][1].patient_id if studies[case.case_id] else "",
            study_ids=[study.study_id for study, _ in studies[case.case_id]],
            order_ids=[order.order_id for order in orders[case.case_id]],
            pdf_url=f"/api/v1/cases/{case.case_id}/report.pdf",
        )
        for report, case in rows
    ]


def _subject(study: Study, row: Patient) -> Subject:
    facts = facts_of(study, row)
    return Subject(study.site_id, facts.number, facts.name, row.patient_id)


def _load_studies(session: Session, case_ids: Collection[str]) -> dict[str, list[tuple[Study, Patient]]]:
    """Return the studies of each case, by UID."""
    found = (
        select(CaseStudy.case_id, Study, Patient)
        .join(Study, and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid))
        .join(Patient, Patient.patient_id == Study.patient_id)
        .where(CaseStudy.case_id.in_(case_ids))
        .order_by(Study.study_uid)
    )
    studies: dict[str, list[tuple[Study, Patient]]] = {case_id: [] for case_id in case_ids}
    for case_id, study, patient in session.execute(found):
        studies[case_id].append((study, patient))
    return studies


def _load_holders(session: Session, case_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return id and name of the physician who holds each case; a case has at most one."""
    held = (
        select(ReadingTask.case_id, Physician.physician_id, Account.display_name)
        .join(Physician, Physician.physician_id == ReadingTask.holder_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(ReadingTask.case_id.in_(case_ids), ReadingTask.state == ReadingTaskState.IN_PROGRESS)
    )
    return {case_id: (physician_id, name) for case_id, physician_id, name in session.execute(held)}


_CLOCKS: Final = (
    Case.created_at,
    Case.last_instance_at,
    Case.ready_at,
    Case.offered_at,
    Case.claimed_at,
    Case.submitted_at,
    Case.signed_at,
    Case.amended_at,
    Case.delivered_at,
    Case.acknowledged_at,
)


def _changed_at(case: Case) -> datetime:
    moments: list[datetime | None] = [getattr(case, clock.key) for clock in _CLOCKS]
    return max(moment for moment in moments if moment is not None)


KINDS: Final[Mapping[str, Kind]] = {
    "DiagnosticReport": Kind(
        _select_reports, Report.report_id.expression, Report.signed_at.expression, _of_reports, _show_reports
    ),
    "Patient": Kind(_select_patients, Patient.patient_id.expression, _NEWEST, _of_patients, _show_patients),
    "Task": Kind(_select_cases, Case.case_id.expression, func.greatest(*_CLOCKS), _of_cases, _show_cases),
    "ImagingStudy": Kind(
        _select_studies, Study.study_id.expression, Study.catalogued_at.expression, _of_studies, _show_studies
    ),
    "ServiceRequest": Kind(
        _select_orders, ClinicOrder.order_id.expression, ClinicOrder.received_at.expression, _of_orders, _show_orders
    ),
}
_OF_ALL: Final[Mapping[str, str]] = {
    "identifier": "token",
    "accession": "token",
    "patient": "reference",
    "status": "token",
    "_lastUpdated": "date",
}
# By which parameters each type is searched, with their kinds (FHIR R4 3.1.1.4).
SEARCHED: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"identifier": "token", "_lastUpdated": "date"} if name == "Patient" else _OF_ALL for name in KINDS
}


def _cases_with(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        CaseStudy.case_id == Case.case_id,
        Study.site_id == CaseStudy.site_id,
        Study.study_uid == CaseStudy.study_uid,
        condition,
    )


def _orders_of(patient_ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that an order is for one of these patients, by the site's number."""
    return exists().where(
        Patient.patient_id.in_(patient_ids),
        Patient.site_id == ClinicOrder.site_id,
        Patient.patient_number == ClinicOrder.content["patient_number"].as_string(),
    )


# The condition under which a resource may refer to one of these ids, by the name of the reference.
REFERRING: Final[Mapping[str, Callable[[Sequence[str]], ColumnElement[bool]]]] = {
    "DiagnosticReport:based-on": lambda ids: Case.case_id.in_(cases_of_orders(ids)),
    "DiagnosticReport:patient": lambda ids: _cases_with(Study.patient_id.in_(ids)),
    "ImagingStudy:patient": Study.patient_id.in_,
    "ServiceRequest:patient": _orders_of,
    "Task:based-on": lambda ids: Case.case_id.in_(cases_of_orders(ids)),
    "Task:focus": lambda ids: _cases_with(Study.study_id.in_(ids)),
    "Task:patient": lambda ids: _cases_with(Study.patient_id.in_(ids)),
}
