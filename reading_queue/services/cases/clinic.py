"""What a clinic sees of one of its studies: where it is, who has it, and its report.

Reads only, but for the audit line that a look at one study writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account, Case, CaseStudy, Report
from reading_queue.domain.report import ReportContent
from reading_queue.domain.report_changes import Change, changes_between
from reading_queue.domain.transitions import BEING_READ, Actor, CaseEvent, CaseState, events_open_to
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, may_follow_study, require_case, require_study
from reading_queue.services.arrival.custody import CustodyLine, ledger_of
from reading_queue.services.cases.case_facts import list_studies
from reading_queue.services.cases.case_summaries import view_study
from reading_queue.services.cases.case_views import ReturnedView
from reading_queue.services.cases.case_views import StudyView as StudyInCase
from reading_queue.services.cases.casework import PATIENT_RECORD, audit
from reading_queue.services.cases.information_requests import InformationRequestView, list_requests
from reading_queue.services.cases.joining import PartnerView, list_partners
from reading_queue.services.corrections.voiding import VoidingView, view_voiding
from reading_queue.services.holdings.study_list import StudyLine, select_lines, view_lines
from reading_queue.services.hub import Hub
from reading_queue.services.orders.study_orders import list_orders_of
from reading_queue.services.patients.identity_views import DoubtView, list_doubts
from reading_queue.services.reports.preliminary import PreliminaryView, find_preliminary
from reading_queue.services.reports.report_documents import find_pdf
from storage.catalogue.tables import Study
from storage.ledger.tables import CustodyEvent

EXPORT: Final = "110106"  # DCM audit event


@dataclass(frozen=True, slots=True)
class OrderOfStudy:
    """An order of a study, as its page names it."""

    order_id: str
    accession_number: str
    procedure_name: str


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study with its whole ledger and the newest signed report."""

    line: StudyLine
    ledger: tuple[CustodyLine, ...]
    report: ReportContent | None
    actors: Mapping[str, str]  # account id → name, of everybody in the ledger
    preliminary: PreliminaryView | None = None  # of an emergency, until the second physician signs
    changes: tuple[Change, ...] = ()  # of the report's newest version from the one before
    requests: tuple[InformationRequestView, ...] = ()  # what the reader asked, newest first
    returned: ReturnedView | None = None
    withdrawal_asked: bool = False  # and not yet answered by the reader
    withdrawal_refusal: str = ""
    may_withdraw: bool = False  # or ask the reader for it
    voiding: VoidingView | None = None  # the newest word on whether the report counts
    beside: tuple[StudyInCase, ...] = ()  # the other studies of the case, which are read with it
    partners: tuple[PartnerView, ...] = ()  # cases with which this one may be read together
    doubts: tuple[DoubtView, ...] = ()  # whether order and images are of one person; open ones first
    events: frozenset[CaseEvent] = frozenset()  # what the viewer may do now
    orders: tuple[OrderOfStudy, ...] | None = None  # None while the images are on their way


def study_view(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, *, audited: bool = True) -> StudyView:
    """Return one study with its ledger and report. `audited=False` is for a page that only refreshes itself.

    Raises:
        NotFound: there is no such study, or the viewer may not see it.
    """
    now = hub.clock()
    with hub.transaction() as session:
        require_study(session, viewer, site_id, study_uid, now)
        of_study = CaseStudy.site_id == site_id, CaseStudy.study_uid == study_uid
        rows = session.execute(select_lines(viewer.language).where(*of_study)).all()
        if not rows:
            raise NotFound("there is no such study, or you may not see it")
        (line,) = view_lines(session, rows, viewer.language, now)
        report = find_report(session, line.case_id)
        case = session.get_one(Case, line.case_id)
        if audited:
            seen = {"study_uid": study_uid, "report_id": report.report_id if report else None}
            audit(session, now, PATIENT_RECORD, "R", viewer.account_id, case, **seen)
        actors = _load_actors(session, site_id, study_uid)
        events = events_open_to(CaseState(case.state), Actor(viewer.role.value))
        asked = case.withdrawal_asked_at is not None
        return StudyView(
            line,
            tuple(ledger_of(hub, study_uid, site_id)),
            report,
            actors,
            preliminary=find_preliminary(session, case) if report is None else None,
            changes=changes_between(_find_before(session, report), report) if report is not None else (),
            requests=list_requests(session, case.case_id),
            returned=ReturnedView(case.return_code, case.return_words) if case.return_code is not None else None,
            withdrawal_asked=asked,
            withdrawal_refusal=case.withdrawal_refusal,
            may_withdraw=not asked and (CaseEvent.WITHDRAW in events or case.state in BEING_READ),
            voiding=view_voiding(session, viewer, case.case_id),
            beside=tuple(view_study(one) for one in list_studies(session, case.case_id) if one.study_uid != study_uid),
            partners=list_partners(session, case),
            doubts=list_doubts(session, case, viewer.language),
            events=events,
            orders=_load_orders(session, site_id, study_uid),
        )


def study_of_case(hub: Hub, viewer: Viewer, case_id: str, study_uid: str = "") -> tuple[str, str]:
    """Return site and UID of this study of the case, of its first where it does not read this one. Raises NotFound."""
    with hub.transaction() as session:
        require_case(session, viewer, case_id, hub.clock())
        first = select(CaseStudy.site_id, CaseStudy.study_uid).where(CaseStudy.case_id == case_id)
        wanted_first = CaseStudy.study_uid != study_uid, CaseStudy.study_uid
        site_id, found_uid = session.execute(first.order_by(*wanted_first).limit(1)).one()
    return site_id, found_uid


def custody_of(hub: Hub, viewer: Viewer, study_uid: str, site_id: str | None) -> tuple[CustodyLine, ...]:
    """Return the ledger of a study at one site, or at every site where the viewer may see it. Raises NotFound."""
    now = hub.clock()
    lines = ledger_of(hub, study_uid, site_id)
    with hub.transaction() as session:
        sites = {line.site_id for line in lines}
        seen = {site for site in sites if may_follow_study(session, viewer, site, study_uid, now)}
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


def _find_before(session: Session, report: ReportContent) -> ReportContent | None:
    """Return the version before this one, None of the first."""
    before = select(Report.content).where(
        Report.case_id == report.case_id, Report.report_version == report.report_version - 1
    )
    content = session.scalar(before)
    return ReportContent.from_json(content) if content is not None else None


def _load_orders(session: Session, site_id: str, study_uid: str) -> tuple[OrderOfStudy, ...] | None:
    its = Study.site_id == site_id, Study.study_uid == study_uid
    study = session.scalars(select(Study).where(*its)).one_or_none()
    if study is None:
        return None
    return tuple(
        OrderOfStudy(row.order_id, row.accession_number, row.content["procedure_name"])
        for row in list_orders_of(session, study)
    )


def _load_actors(session: Session, site_id: str, study_uid: str) -> dict[str, str]:
    acted = select(CustodyEvent.actor).where(CustodyEvent.site_id == site_id, CustodyEvent.study_uid == study_uid)
    names = select(Account.account_id, Account.display_name).where(Account.account_id.in_(acted))
    return dict(session.execute(names).all())
