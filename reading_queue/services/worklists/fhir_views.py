"""What FHIR clients find and read: orders, cases, studies and reports, by the same rights as desks and DICOMweb.

Writes the audit trail alone.
"""

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
    INCLUDES,
    ORDER_STATUS,
    SYSTEM,
    TASK_STATUS,
    CaseFacts,
    Found,
    Resource,
    StudyFacts,
    Subject,
    diagnostic_report,
    imaging_study,
    referred,
    service_request,
    task,
    versioned,
)
from reading_queue.domain.page_places import Place
from reading_queue.domain.report import ReportContent
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState, ReadingTaskState
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, may_follow, may_follow_case, may_see
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.hub import Hub
from reading_queue.services.orders.orders import orders_of_cases
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.lanes import Lane
from storage.contract.orders import Order
from storage.contract.signed_report import AmendmentKind
from storage.ledger.tables import AuditEvent

QUERY: Final = "110112"  # DCM audit event (PS3.15 A.5)


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

    `includes` are names of `INCLUDES`; `counted` asks how many there are on all pages.
    """

    identifier: Token | None = None
    accession: Token | None = None
    patient: Token | None = None
    status: tuple[str, ...] = ()
    changed: tuple[tuple[str, datetime, datetime], ...] = ()
    includes: tuple[str, ...] = ()
    counted: bool = False
    count: int = 50
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class FhirPage:
    """Part of what a search found, and where the next part begins; None after the last."""

    found: Found
    next_after: Place | None


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one type of resource is selected, ordered, shown and searched."""

    select: Callable[[Viewer, datetime], Select[Any]]
    key: ColumnElement[str]
    changed_at: ColumnElement[datetime]
    conditions: Callable[[FhirQuery], list[ColumnElement[bool]]]
    show: Callable[[Session, Sequence[Any]], list[Resource]]  # a page at once: as many statements as for one row


def search_resources(hub: Hub, viewer: Viewer, resource_type: str, query: FhirQuery) -> FhirPage:
    """Return the page that a search asks for, what changed last first."""
    now, kind = hub.clock(), KINDS[resource_type]
    compared = [_COMPARISONS[prefix](kind.changed_at, start, end) for prefix, start, end in query.changed]
    with hub.transaction() as session:
        statement = kind.select(viewer, now).where(*kind.conditions(query), *compared)
        counting = select(func.count()).select_from(statement.with_only_columns(kind.key).subquery())
        total = session.scalar(counting) if query.counted else None
        if query.after is not None:
            statement = statement.where(tuple_(kind.changed_at, kind.key) < tuple_(query.after.at, query.after.key))
        places = kind.changed_at.label("place_at"), kind.key.label("place_key")
        statement = statement.add_columns(*places).order_by(kind.changed_at.desc(), kind.key.desc())
        rows = session.execute(statement.limit(query.count + 1)).all()
        _audit(session, viewer, QUERY, "E", resource_type, "search", now)
        shown = rows[: query.count]
        more = Place(shown[-1].place_at, shown[-1].place_key) if len(rows) > query.count else None
        matches = _show(kind, session, [row[:-2] for row in shown])
        included = [
            resource
            for element, target in (INCLUDES[resource_type][name] for name in query.includes)
            for resource in _load(KINDS[target], session, viewer, referred(matches, element), now)
        ]
        return FhirPage(Found(matches, included, total), more)


def read_resource(hub: Hub, viewer: Viewer, resource_type: str, resource_id: str) -> Resource:
    """Return one resource. Raises NotFound for what is not there, or not the viewer's to see."""
    now, kind = hub.clock(), KINDS[resource_type]
    with hub.transaction() as session:
        found = _load(kind, session, viewer, [resource_id], now)
        if not found:
            raise NotFound(f"there is no such {resource_type}, or you may not see it")
        _audit(session, viewer, PATIENT_RECORD, "R", resource_type, resource_id, now)
        return found[0]


def _load(kind: _Kind, session: Session, viewer: Viewer, ids: Sequence[str], now: datetime) -> list[Resource]:
    """Return those of these resources that the viewer may see."""
    if not ids:
        return []
    wanted = kind.select(viewer, now).where(kind.key.in_(ids)).order_by(kind.key)
    return _show(kind, session, session.execute(wanted).all())


def _show(kind: _Kind, session: Session, rows: Sequence[Any]) -> list[Resource]:
    return [versioned(resource) for resource in kind.show(session, rows)]


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
    if query.patient or query.accession:
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
    found = _of_cases(FhirQuery(patient=query.patient, accession=query.accession))
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


def _show_orders(_session: Session, rows: Sequence[Any]) -> list[Resource]:
    return [service_request(Order.model_validate(row[0].content), row[0].received_at) for row in rows]


def _show_reports(session: Session, rows: Sequence[Any]) -> list[Resource]:
    case_ids = [case.case_id for _, case in rows]
    studies, orders = _load_studies(session, case_ids), orders_of_cases(session, case_ids)
    return [
        diagnostic_report(
            ReportContent.from_json(report.content),
            CaseState(case.state),
            study_ids=[study.study_id for study, _ in studies[case.case_id]],
            order_ids=[order.order_id for order in orders[case.case_id]],
            pdf_url=f"/api/v1/cases/{case.case_id}/report.pdf",
        )
        for report, case in rows
    ]


def _subject(study: Study, patient: Patient) -> Subject:
    facts = facts_of(study, patient)
    return Subject(study.site_id, facts.number, facts.name)


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


def _audit(
    session: Session, viewer: Viewer, code: str, action: str, resource_type: str, resource_id: str, now: datetime
) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=code,
            action=action,
            account_id=viewer.account_id,
            object_kind=resource_type,
            object_id=resource_id,
            outcome="success",
            detail={},
        )
    )


def _is_within(column: Any, start: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(column >= start, column < end)


# FHIR R4 3.1.1.4.7: what is asked for lasts from `start` to before `end`; a resource changes at one moment.
_COMPARISONS: Final[Mapping[str, Callable[[Any, datetime, datetime], ColumnElement[bool]]]] = {
    "eq": _is_within,
    "ne": lambda column, start, end: ~_is_within(column, start, end),
    "gt": lambda column, _start, end: column >= end,
    "sa": lambda column, _start, end: column >= end,
    "ge": lambda column, start, _end: column >= start,
    "lt": lambda column, start, _end: column < start,
    "eb": lambda column, start, _end: column < start,
    "le": lambda column, _start, end: column < end,
}
KINDS: Final[Mapping[str, _Kind]] = {
    "DiagnosticReport": _Kind(
        _select_reports, Report.report_id.expression, Report.signed_at.expression, _of_reports, _show_reports
    ),
    "Task": _Kind(_select_cases, Case.case_id.expression, func.greatest(*_CLOCKS), _of_cases, _show_cases),
    "ImagingStudy": _Kind(
        _select_studies, Study.study_id.expression, Study.catalogued_at.expression, _of_studies, _show_studies
    ),
    "ServiceRequest": _Kind(
        _select_orders, ClinicOrder.order_id.expression, ClinicOrder.received_at.expression, _of_orders, _show_orders
    ),
}
