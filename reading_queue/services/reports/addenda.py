"""Writing a signed report again: an addition, a correction, or a look at images that came too late.

Durable: why, who began it and what came of it. The signed version is never touched: the next one stands beside it,
signed by two physicians like the first, and goes home by the same road. One addendum is open for a case at most.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import Addendum, Voiding
from reading_queue.db.tables import Case, Offer, ReadingTask, Report, Submission
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.report import ReportContent
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskEvent
from reading_queue.errors import Forbidden, WrongState
from reading_queue.services.access.visibility import Viewer, require_case
from reading_queue.services.cases.casework import (
    PATIENT_RECORD,
    audit,
    close_offers,
    find_open_task,
    get_case_locked,
    get_task_locked,
    launch_route,
    move_case,
    move_task,
    open_reading_task,
    record_custody,
)
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.cases.images_seen import require_all_seen
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import (
    ReadingTaskView,
    require_holder,
    require_licence,
    require_physician,
    view_task,
)
from reading_queue.services.reading.consult_rows import end_consult_of
from reading_queue.services.reading.drafts import write_draft
from reading_queue.services.reading.takeovers import MayNotTakeOver, hold_directly, require_lead
from reading_queue.services.reports.returns import is_acknowledged
from reading_queue.services.routing.offers import offer_own_work
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.signed_report import AmendmentKind

LATE_IMAGES: Final = "签发后收到新图像"  # the reason of an addendum that nobody but the system has begun


class MayNotAmend(Forbidden):
    """Only who signed the report, or a senior physician of their hospital, can amend it."""

    code = "may_not_amend"


def open_addendum(hub: Hub, viewer: Viewer, case_id: str, kind: AmendmentKind, reason: str) -> ReadingTaskView:
    """Begin to write the report again, with its text as the draft, and hold the task; `reason` will stand in it.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        MayNotAmend: the viewer did not sign it, and does not lead who did. LicenceNotValid.
        WrongState: it is not signed, or is being amended already. Invalid: no reason is given.
    """
    now = hub.clock()
    physician_id = require_physician(viewer)
    words = parse_words(reason, "say in a few words why the report is amended")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        report = get_newest_report(session, case_id)
        actor = amending_actor(session, physician_id, report)
        require_licence(session, physician_id, case.site_id, now)
        require_undisputed(session, case_id)
        move_case(case, CaseEvent.AMEND, actor)
        task = _open(session, case, report, kind, words, now, viewer.account_id)
        agreed = _agreement_of(session, report, physician_id)
        hold_directly(session, hub, task, physician_id, agreed, now, actor, why={"amends": report.report_id})
        audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="amendment_opened", kind=kind.value)
        return view_task(task)


def open_for_late_images(session: Session, hub: Hub, case: Case, now: datetime) -> None:
    """Have the author of a signed report look at images that came since; the case is locked and signed.

    While a second person has to decide whether the report counts at all, only once they have said that it does.
    """
    case.images_unacknowledged = True
    if _is_disputed(session, case.case_id):
        return
    report = get_newest_report(session, case.case_id)
    move_case(case, CaseEvent.AMEND, Actor.SYSTEM)
    task = _open(session, case, report, AmendmentKind.APPENDED, LATE_IMAGES, now, None)
    author_id = session.get_one(Submission, report.submission_id).author_id
    why = {"amends": report.report_id, "late_images": True}
    offer_own_work(session, hub, case, task, author_id, _agreement_of(session, report, author_id), now, why)
    session.flush()
    move_case(case, CaseEvent.OFFER, Actor.SYSTEM)
    launch_route(session, now, task.reading_task_id)  # which asks others where the author is not there


def nothing_to_amend(hub: Hub, viewer: Viewer, reading_task_id: str, reason: str, *, images: str | None = None) -> None:
    """End an addendum without another version: the signed report stands, and the case is where it was.

    Raises:
        NotHolder: the viewer does not hold the addendum. Invalid: no reason is given.
        ImagesUnacknowledged: images have come that the viewer has not said to have seen.
        ImagesChanged: the case does not show any more what `images` names.
    """
    now = hub.clock()
    words = parse_words(reason, "say in a few words why the report stands as it is")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        if task.phase != Phase.ADDENDUM:
            raise WrongState("this is not an addendum")
        require_all_seen(session, case, images)
        addendum = get_open_addendum(session, case.case_id)
        end_consult_of(session, case, now)
        move_case(case, CaseEvent.NOTHING_TO_AMEND, Actor.HOLDER)
        move_task(task, ReadingTaskEvent.CANCEL, Actor.HOLDER, now)
        close_offers(session, task, now)
        addendum.ended_at = now
        addendum.reason = f"{addendum.reason}\n→ {words}"
        report = get_newest_report(session, case.case_id)
        if is_acknowledged(session, case, report.report_id):
            move_case(case, CaseEvent.DELIVER, Actor.SYSTEM)
            move_case(case, CaseEvent.ACKNOWLEDGE, Actor.SYSTEM)
        key = f"{Hop.AMENDMENT_CLOSED}:{addendum.addendum_id}"
        record_custody(session, case, Hop.AMENDMENT_CLOSED, key, now, actor=viewer.account_id)
        audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="nothing_to_amend")


def drop_addendum(session: Session, case: Case, account_id: str, now: datetime) -> None:
    """End the addendum of a case whose report does not count any more, with its task; the draft stays."""
    addendum = find_open_addendum(session, case.case_id)
    if addendum is None:
        return
    addendum.ended_at = now
    task = find_open_task(session, case.case_id)
    if task is not None:
        close_offers(session, task, now)
        move_task(task, ReadingTaskEvent.CANCEL, Actor.SYSTEM, now)
        task.cancel_reason = DiscontinuationReason.UNSPECIFIED
    key = f"{Hop.AMENDMENT_CLOSED}:{addendum.addendum_id}"
    record_custody(session, case, Hop.AMENDMENT_CLOSED, key, now, actor=account_id)


def require_undisputed(session: Session, case_id: str) -> None:
    """Raise WrongState while a second person has to decide whether the report counts at all."""
    if _is_disputed(session, case_id):
        raise WrongState("somebody says that this report is void; decide that first")


def _is_disputed(session: Session, case_id: str) -> bool:
    disputed = select(Voiding.voiding_id).where(Voiding.case_id == case_id, Voiding.ended_at.is_(None))
    return session.scalar(disputed) is not None


def get_newest_report(session: Session, case_id: str) -> Report:
    """Return the newest version of the case's report; raises WrongState while there is none."""
    newest = select(Report).where(Report.case_id == case_id).order_by(Report.report_version.desc()).limit(1)
    report = session.scalars(newest).one_or_none()
    if report is None:
        raise WrongState("this case has no signed report yet")
    return report


def find_open_addendum(session: Session, case_id: str) -> Addendum | None:
    """Return why the case's report is being written again, if it is."""
    still_open = select(Addendum).where(Addendum.case_id == case_id, Addendum.ended_at.is_(None))
    return session.scalars(still_open).one_or_none()


def get_open_addendum(session: Session, case_id: str) -> Addendum:
    """Return why the case's report is being written again; raises WrongState when it is not."""
    addendum = find_open_addendum(session, case_id)
    if addendum is None:
        raise WrongState("the report is not being amended")
    return addendum


def _open(
    session: Session,
    case: Case,
    report: Report,
    kind: AmendmentKind,
    reason: str,
    now: datetime,
    account_id: str | None,
) -> ReadingTask:
    addendum = Addendum(
        addendum_id=new_id(), case_id=case.case_id, kind=kind, reason=reason, opened_at=now, opened_by=account_id
    )
    session.add(addendum)
    content = ReportContent.from_json(report.content)
    write_draft(session, case.case_id, report.verifier_id, content.text(), now)
    task = open_reading_task(session, case, Phase.ADDENDUM, now)
    detail = {"kind": kind.value, "report_id": report.report_id, "late_images": account_id is None}
    key = f"{Hop.AMENDMENT_OPENED}:{addendum.addendum_id}"
    record_custody(session, case, Hop.AMENDMENT_OPENED, key, now, actor=account_id, detail=detail)
    return task


def amending_actor(session: Session, physician_id: str, report: Report) -> Actor:
    """Return as whom the physician may say that a signed report is not right; raises MayNotAmend for anybody else."""
    author_id = session.get_one(Submission, report.submission_id).author_id
    if physician_id in (author_id, report.verifier_id):
        return Actor.SIGNATORY
    for signed_by in (author_id, report.verifier_id):
        try:
            require_lead(session, physician_id, signed_by)
        except MayNotTakeOver:
            continue
        return Actor.LEAD
    raise MayNotAmend


def _agreement_of(session: Session, report: Report, physician_id: str) -> tuple[str, int | None]:
    """Return the agreement, and its version, under which this physician read the report, else anybody."""
    asked = (
        select(Offer.agreement_id, Offer.agreement_version)
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .where(ReadingTask.case_id == report.case_id)
        .order_by((Offer.physician_id == physician_id).desc(), Offer.offered_at.desc())
        .limit(1)
    )
    agreement_id, agreement_version = session.execute(asked).one()
    return agreement_id, agreement_version
