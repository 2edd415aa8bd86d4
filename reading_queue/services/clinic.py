"""What a clinic sees of its own studies: where each is, who has it, and its report.

Reads only, but for the audit line that a look at one study writes. A study is listed from the moment its manifest is
declared, before the catalogue knows its patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Row, Select, and_, func, select, tuple_
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Case, CaseStudy, Report
from reading_queue.domain.report import ReportContent
from reading_queue.errors import NotFound
from reading_queue.services.casework import PATIENT_RECORD, audit
from reading_queue.services.custody import CustodyLine, ledger_of
from reading_queue.services.hub import Hub
from reading_queue.services.reports import find_pdf
from reading_queue.services.visibility import Viewer, may_see, may_see_study, require_case, require_study
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import ROAD
from storage.ledger.tables import CustodyEvent, Site

EXPORT: Final = "110106"  # DCM audit event

Joined = tuple[CaseStudy, Case, Study | None, Patient | None, Site]


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list. Patient and study fields are empty while the case is RECEIVING."""

    case_id: str
    site_id: str
    site_name: str
    time_zone: str
    study_uid: str
    state: str  # reading_queue.domain.transitions.CaseState
    lane: str
    modality: str
    patient_name: str
    patient_number: str
    patient_sex: str
    patient_birth_date: date | None
    description: str
    instance_count: int
    first_instance_at: datetime
    due_at: datetime | None
    signed_at: datetime | None
    unroutable_reason: str | None
    reached: tuple[str, ...]  # the hops of ROAD that the ledger holds, in the road's order
    is_late: bool  # past the time limit and not signed

    @property
    def has_report(self) -> bool:
        """Whether a signed report exists."""
        return self.signed_at is not None


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Studies, newest first; `next_before` asks for the page after, None at the end."""

    studies: tuple[StudyLine, ...]
    next_before: str | None


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study with its whole ledger and the newest signed report."""

    line: StudyLine
    ledger: tuple[CustodyLine, ...]
    report: ReportContent | None
    actors: Mapping[str, str]  # account id → name, of everybody in the ledger


def studies_of(hub: Hub, viewer: Viewer, *, limit: int, before: str | None = None) -> StudyPage:
    """Return a page of the studies that `viewer` may see, those that arrived last first.

    `before` is the `next_before` of the page before; an unknown one starts from the newest.
    """
    now = hub.clock()
    with hub.transaction() as session:
        listed = _lines().where(may_see(viewer, CaseStudy.site_id, CaseStudy.study_uid, now))
        start = session.get(Case, before) if before else None
        if start is not None:
            listed = listed.where(
                tuple_(Case.first_instance_at, Case.case_id) < tuple_(start.first_instance_at, start.case_id)
            )
        listed = listed.order_by(Case.first_instance_at.desc(), Case.case_id.desc()).limit(limit + 1)
        rows = session.execute(listed).all()
        reached = _reached(session, rows[:limit])
    lines = tuple(_line(row, reached, now) for row in rows[:limit])
    return StudyPage(lines, lines[-1].case_id if len(rows) > limit else None)


def study_view(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, *, audited: bool = True) -> StudyView:
    """Return one study with its ledger and report. `audited=False` is for a page that only refreshes itself.

    Raises:
        NotFound: there is no such study, or the viewer may not see it.
    """
    now = hub.clock()
    with hub.transaction() as session:
        require_study(session, viewer, site_id, study_uid, now)
        rows = session.execute(_lines().where(CaseStudy.site_id == site_id, CaseStudy.study_uid == study_uid)).all()
        if not rows:
            raise NotFound("there is no such study, or you may not see it")
        line = _line(rows[0], _reached(session, rows), now)
        report = find_report(session, line.case_id)
        if audited:
            case = session.get_one(Case, line.case_id)
            seen = {"study_uid": study_uid, "report_id": report.report_id if report else None}
            audit(session, now, PATIENT_RECORD, "R", viewer.account_id, case, **seen)
        actors = _load_actors(session, site_id, study_uid)
    return StudyView(line, tuple(ledger_of(hub, study_uid, site_id)), report, actors)


def custody_of(hub: Hub, viewer: Viewer, study_uid: str, site_id: str | None) -> tuple[CustodyLine, ...]:
    """Return the ledger of a study at one site, or at every site where the viewer may see it. Raises NotFound."""
    now = hub.clock()
    lines = ledger_of(hub, study_uid, site_id)
    with hub.transaction() as session:
        sites = {line.site_id for line in lines}
        seen = {site for site in sites if may_see_study(session, viewer, site, study_uid, now)}
    if not seen:
        raise NotFound("there is no such study, or you may not see it")
    return tuple(line for line in lines if line.site_id in seen)


def report_pdf(hub: Hub, viewer: Viewer, case_id: str) -> bytes | None:
    """Return the printable report of a case, None while there is none. What is handed out is audited as an export.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        StoreUnavailable: object storage did not answer.
    """
    now = hub.clock()
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
    pdf = find_pdf(hub, case_id)
    if pdf is not None:
        with hub.transaction() as session:
            case = session.get_one(Case, case_id)
            audit(session, now, EXPORT, "R", viewer.account_id, case, kind="pdf")
    return pdf


def find_report(session: Session, case_id: str) -> ReportContent | None:
    """Return the newest signed report of the case, if there is one."""
    newest = select(Report.content).where(Report.case_id == case_id).order_by(Report.report_version.desc()).limit(1)
    content = session.scalar(newest)
    return ReportContent.from_json(content) if content is not None else None


def _lines() -> Select[*Joined]:
    return (
        select(CaseStudy, Case, Study, Patient, Site)
        .join(Case, Case.case_id == CaseStudy.case_id)
        .join(Site, Site.site_id == CaseStudy.site_id)
        .outerjoin(Study, and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid))
        .outerjoin(Patient, Patient.patient_id == Study.patient_id)
    )


def _line(row: Row[*Joined], reached: dict[tuple[str, str], frozenset[str]], now: datetime) -> StudyLine:
    of_case, case, study, patient, site = row
    hops = reached.get((of_case.site_id, of_case.study_uid), frozenset())
    return StudyLine(
        case_id=case.case_id,
        site_id=site.site_id,
        site_name=site.name,
        time_zone=site.time_zone,
        study_uid=of_case.study_uid,
        state=case.state,
        lane=case.lane,
        modality=case.modality,
        patient_name=patient.name if patient else "",
        patient_number=patient.patient_number if patient else "",
        patient_sex=patient.sex if patient else "",
        patient_birth_date=patient.birth_date if patient else None,
        description=study.description if study else "",
        instance_count=study.instance_count if study else 0,
        first_instance_at=case.first_instance_at,
        due_at=case.due_at,
        signed_at=case.signed_at,
        unroutable_reason=case.unroutable_reason,
        reached=tuple(hop for hop in ROAD if hop in hops),
        is_late=case.signed_at is None and case.due_at is not None and case.due_at < now,
    )


def _load_actors(session: Session, site_id: str, study_uid: str) -> dict[str, str]:
    acted = select(CustodyEvent.actor).where(CustodyEvent.site_id == site_id, CustodyEvent.study_uid == study_uid)
    names = select(Account.account_id, Account.display_name).where(Account.account_id.in_(acted))
    return dict(session.execute(names).all())


def _reached(session: Session, rows: Sequence[Row[*Joined]]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the hops in the ledger by (site, study)."""
    keys = [(row[0].site_id, row[0].study_uid) for row in rows]
    if not keys:
        return {}
    hops = func.array_agg(CustodyEvent.hop.distinct())
    found = session.execute(
        select(CustodyEvent.site_id, CustodyEvent.study_uid, hops)
        .where(tuple_(CustodyEvent.site_id, CustodyEvent.study_uid).in_(keys))
        .group_by(CustodyEvent.site_id, CustodyEvent.study_uid)
    )
    return {(site, uid): frozenset(names) for site, uid, names in found}
