"""What the reading desk shows: offers, held work and one case with all that belongs to it.

Reads only, but for the audit line of every look at a case. What a viewer may not see does not exist for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from reading_queue.db.consult_tables import Consult
from reading_queue.db.tables import (
    Account,
    Case,
    ClinicOrder,
    Draft,
    Physician,
    ReadingTask,
    Report,
    Submission,
)
from reading_queue.domain.report import ReportContent, SubmissionContent
from reading_queue.domain.roles import LEAD_TITLES, Role
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskState, events_open_to
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, may_follow_case, require_case
from reading_queue.services.cases.case_summaries import summarise, summarise_all
from reading_queue.services.cases.case_views import (
    AddendumView,
    CaseKey,
    CaseSummary,
    CaseView,
    ConsultsOfCase,
    HeldView,
    LedView,
    OfferView,
    OrderView,
    ReportView,
    ReturnedView,
    SubmissionView,
)
from reading_queue.services.cases.casework import PATIENT_RECORD, audit, find_open_task
from reading_queue.services.cases.information_requests import list_requests
from reading_queue.services.corrections.voiding import view_voiding
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import why_nobody
from reading_queue.services.orders.order_versions import OrderNoteView, list_news, list_notes
from reading_queue.services.orders.orders import orders_of_case
from reading_queue.services.patients.identity_views import list_doubts
from reading_queue.services.patients.linked_priors import list_linked_priors
from reading_queue.services.reading.case_evidence import list_evidence
from reading_queue.services.reading.claims import is_held_by, view_task
from reading_queue.services.reading.consult_rows import list_consults
from reading_queue.services.reading.consults import ConsultableHospital, hospitals_to_ask
from reading_queue.services.reading.drafts import DraftView, view_draft
from reading_queue.services.reading.notices import load_partial
from reading_queue.services.reading.priors import list_priors
from reading_queue.services.reading.takeovers import leads_holder
from reading_queue.services.reading.worklist import most_urgent_first, select_open_offers, view_offer
from reading_queue.services.reports.addenda import find_open_addendum
from reading_queue.services.reports.single_signing import may_sign_alone
from storage.contract.orders import Order
from storage.contract.signed_report import AmendmentKind

_HOLDER: Final = aliased(Physician, name="holder")
_LEAD: Final = aliased(Physician, name="lead")


def held_by(hub: Hub, viewer: Viewer) -> list[HeldView]:
    """Return the reading tasks the viewer holds, most urgent first."""
    now = hub.clock()
    held = (
        select(ReadingTask, Case)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(ReadingTask.holder_id == viewer.physician_id, ReadingTask.state == ReadingTaskState.IN_PROGRESS)
        .order_by(*most_urgent_first())
    )
    with hub.transaction() as session:
        rows = session.execute(held.limit(hub.policy.page_size_max)).all()
        summaries = summarise_all(session, [found for _, found in rows], viewer.language, now)
        return [HeldView(task=view_task(task), case=summaries[found.case_id]) for task, found in rows]


def led_by(hub: Hub, viewer: Viewer) -> list[LedView]:
    """Return what colleagues hold whom the viewer leads, most urgent first; nothing for a junior."""
    now = hub.clock()
    held = (
        select(ReadingTask, Case, Account.display_name)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .join(_HOLDER, _HOLDER.physician_id == ReadingTask.holder_id)
        .join(_LEAD, _LEAD.organisation_id == _HOLDER.organisation_id)
        .join(Account, Account.account_id == _HOLDER.account_id)
        .where(
            ReadingTask.state == ReadingTaskState.IN_PROGRESS,
            _LEAD.physician_id == viewer.physician_id,
            _LEAD.title.in_(LEAD_TITLES),
            _HOLDER.physician_id != viewer.physician_id,
        )
        .order_by(*most_urgent_first())
    )
    with hub.transaction() as session:
        rows = session.execute(held.limit(hub.policy.page_size_max)).all()
        summaries = summarise_all(session, [found for _, found, _ in rows], viewer.language, now)
        return [LedView(view_task(task), summaries[found.case_id], name) for task, found, name in rows]


def case_view(hub: Hub, viewer: Viewer, case_id: str) -> CaseView:
    """Return the case as the viewer may see it, and write the look into the audit trail. Raises NotFound."""
    now = hub.clock()
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        found = session.get(Case, case_id)
        if found is None:
            raise NotFound("there is no such case")
        task = find_open_task(session, case_id)
        held = is_held_by(viewer, task)
        offer = _find_offer(session, viewer, case_id, now)
        audit(session, now, PATIENT_RECORD, "R", viewer.account_id, found, event="case_viewed")
        reads = viewer.role is Role.PHYSICIAN
        leads = reads and not held and task is not None and leads_holder(session, viewer.physician_id, task.holder_id)
        actors = _actors(viewer, held=held, offered=offer is not None, leads=leads)
        actors += (Actor.SIGNATORY,) * (reads and _has_signed(session, viewer, case_id))
        return CaseView(
            summary=summarise(session, found, viewer.language, now),
            task=view_task(task) if task is not None else None,
            holder_name=_load_name(session, task.holder_id) if task is not None and task.holder_id else None,
            held_by_viewer=held,
            offer=offer,
            events=_open_events(session, viewer, found, task if held else None, actors, now),
            draft=_load_draft(session, case_id, task if held else None) if reads else None,
            submissions=_load_submissions(session, case_id) if reads else (),
            report=_load_report(session, case_id),
            unroutable_reason=why_nobody(session, [found], viewer.language).get(case_id),
            partial=load_partial(session, case_id),
            requests=list_requests(session, case_id),
            withdrawal_reason=found.withdrawal_reason if found.withdrawal_asked_at is not None else "",
            returned=ReturnedView(found.return_code, found.return_words) if found.return_code is not None else None,
            addendum=_view_addendum(session, case_id),
            voiding=view_voiding(session, viewer, case_id),
            leads=leads,
            orders=_load_orders(session, case_id),
            order_news=list_news(session, case_id) if reads else (),
            doubts=list_doubts(session, found, viewer.language),
            consults=list_consults(session, viewer.language, Consult.case_id == case_id) if reads else (),
            hospitals_to_ask=_hospitals_to_ask(session, viewer, found, task if held else None, now),
            evidence=list_evidence(session, case_id) if reads else (),
            priors=list_priors(session, case_id).with_linked(list_linked_priors(session, viewer, case_id, now)),
        )


def consults_of_case(hub: Hub, viewer: Viewer, case_id: str) -> ConsultsOfCase | None:
    """Return what was asked up the line about a case, for the open page of a physician who has looked at it already.

    None once the viewer may not see the case any more: another physician of their hospital has declined, say.
    """
    now = hub.clock()
    with hub.transaction() as session:
        case = session.get(Case, case_id)
        if case is None or not session.scalar(select(may_follow_case(viewer, case_id, case.site_id, now))):
            return None
        task = find_open_task(session, case_id)
        held = is_held_by(viewer, task)
        return ConsultsOfCase(
            summary=CaseKey(case_id),
            task=view_task(task) if task is not None else None,
            held_by_viewer=held,
            consults=list_consults(session, viewer.language, Consult.case_id == case_id),
            hospitals_to_ask=_hospitals_to_ask(session, viewer, case, task if held else None, now),
        )


def _hospitals_to_ask(
    session: Session, viewer: Viewer, case: Case, held: ReadingTask | None, now: datetime
) -> tuple[ConsultableHospital, ...]:
    if held is None or viewer.physician_id is None:
        return ()
    physician = session.get_one(Physician, viewer.physician_id)
    return hospitals_to_ask(session, case, held, physician, viewer.language, now)


def cases_asked_about(hub: Hub, viewer: Viewer, case_ids: Collection[str]) -> Mapping[str, CaseSummary]:
    """Return the facts of those of these cases that the viewer may see, by their ids."""
    if not case_ids:
        return {}
    now = hub.clock()
    seen = select(Case).where(Case.case_id.in_(case_ids), may_follow_case(viewer, Case.case_id, Case.site_id, now))
    with hub.transaction() as session:
        return summarise_all(session, session.scalars(seen).all(), viewer.language, now)


def _find_offer(session: Session, viewer: Viewer, case_id: str, now: datetime) -> OfferView | None:
    row = session.execute(select_open_offers(viewer, now).where(Case.case_id == case_id)).first()
    return view_offer(row[0], row[1], summarise(session, row[2], viewer.language, now)) if row is not None else None


def _actors(viewer: Viewer, *, held: bool, offered: bool, leads: bool) -> tuple[Actor, ...]:
    """Return as whom the viewer may act on the case: a physician only where it is theirs, or a colleague's."""
    if viewer.role is not Role.PHYSICIAN:
        return (Actor(viewer.role.value),)
    return (Actor.HOLDER,) * held + (Actor.PHYSICIAN,) * offered + (Actor.LEAD,) * leads


def _open_events(
    session: Session, viewer: Viewer, found: Case, held: ReadingTask | None, actors: tuple[Actor, ...], now: datetime
) -> frozenset[CaseEvent]:
    """Return what may be done now; nobody can let go what the site does not ask for, or sign alone what needs two."""
    events = events_open_to(CaseState(found.state), *actors)
    if found.withdrawal_asked_at is None:
        events -= {CaseEvent.ACCEPT_WITHDRAWAL}
    if CaseEvent.SIGN_ALONE in events and (
        held is None
        or viewer.physician_id is None
        or not may_sign_alone(session, found, held, viewer.physician_id, now)
    ):
        events -= {CaseEvent.SIGN_ALONE}
    return events


def _has_signed(session: Session, viewer: Viewer, case_id: str) -> bool:
    """Return whether the viewer wrote or verified a signed version of the report."""
    by = or_(Report.verifier_id == viewer.physician_id, Submission.author_id == viewer.physician_id)
    signed = select(Report.report_id).join(Submission, Submission.submission_id == Report.submission_id)
    return session.scalar(signed.where(Report.case_id == case_id, by).limit(1)) is not None


def _view_addendum(session: Session, case_id: str) -> AddendumView | None:
    addendum = find_open_addendum(session, case_id)
    if addendum is None:
        return None
    return AddendumView(AmendmentKind(addendum.kind), addendum.reason, addendum.opened_at)


def _load_name(session: Session, physician_id: str) -> str:
    name = select(Account.display_name).join(Physician, Physician.account_id == Account.account_id)
    return session.scalars(name.where(Physician.physician_id == physician_id)).one()


def _load_draft(session: Session, case_id: str, held_task: ReadingTask | None) -> DraftView | None:
    draft = session.get(Draft, case_id)
    if draft is None:
        return None
    return view_draft(draft, held_task.lease_expires_at if held_task is not None else None)


def _load_submissions(session: Session, case_id: str) -> tuple[SubmissionView, ...]:
    rows = session.scalars(
        select(Submission).where(Submission.case_id == case_id).order_by(Submission.submitted_at.desc())
    )
    contents = [(row, SubmissionContent.from_json(row.content)) for row in rows]
    return tuple(
        SubmissionView(
            submission_id=row.submission_id,
            author_id=row.author_id,
            author_name=content.author.name,
            text=content.text(),
            submitted_at=row.submitted_at,
            returned_at=row.returned_at,
            return_reason=row.return_reason,
        )
        for row, content in contents
    )


def _load_orders(session: Session, case_id: str) -> tuple[OrderView, ...]:
    rows = orders_of_case(session, case_id)
    notes = list_notes(session, [row.order_id for row in rows])
    return tuple(_view_order(row, notes[row.order_id]) for row in rows)


def _view_order(row: ClinicOrder, notes: tuple[OrderNoteView, ...]) -> OrderView:
    order = Order.model_validate(row.content)
    return OrderView(
        order_id=order.order_id,
        order_version=order.version,
        accession_number=order.accession_number,
        procedure_name=order.procedure_name,
        history=order.history,
        question=order.question,
        allergies=order.allergies,
        pregnancy=order.pregnancy,
        visit_kind=order.visit_kind,
        green_channel=order.green_channel,
        requesting_physician=order.requesting_physician,
        requesting_department=order.requesting_department,
        contact_phone=order.contact_phone,
        differs=tuple(row.differs or ()),
        notes=notes,
    )


def _load_report(session: Session, case_id: str) -> ReportView | None:
    newest = select(Report).where(Report.case_id == case_id).order_by(Report.report_version.desc()).limit(1)
    report = session.scalars(newest).one_or_none()
    if report is None:
        return None
    return ReportView(
        report_id=report.report_id,
        report_version=report.report_version,
        content=ReportContent.from_json(report.content),
        content_sha256=report.content_sha256,
    )
