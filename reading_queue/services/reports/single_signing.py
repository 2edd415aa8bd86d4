"""A report that its author signs alone (单医师报告), where the agreement of the reading allows it.

Durable, in one transaction: the submission, the report with two signatures of one physician, under which version of
which agreement, and the declaration in the signed facts. May be repeated after a lost answer.
Must never: sign where anything stands against it (`domain.single_physician`), or without the physician's declaration.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Agreement, Case, Offer, Physician, ReadingTask, Report, Submission
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import Phase
from reading_queue.domain.single_physician import WORDS, AgreedTerms, Obstacle, Reading, find_obstacles
from reading_queue.domain.transitions import AMENDED, Actor, CaseEvent, CaseState, ReadingTaskEvent, ReadingTaskState
from reading_queue.errors import Forbidden, Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.case_facts import list_studies
from reading_queue.services.cases.casework import RENDER_JOB, get_task_locked, move_case, move_task
from reading_queue.services.hub import Hub, launch
from reading_queue.services.network.network_history import present_version
from reading_queue.services.reading.case_evidence import sign_evidence
from reading_queue.services.reading.claims import require_physician
from reading_queue.services.reading.consult_rows import join_report
from reading_queue.services.reading.drafts import write_draft
from reading_queue.services.reports.signing import (
    Signer,
    record_step,
    require_may_sign,
    require_signable,
    sign_report,
    sign_submission,
)
from reading_queue.services.routing.routing_facts import load_local_date
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.signed_report import SinglePhysician


class SecondPhysicianNeeded(Forbidden):
    """This report cannot be signed by one physician alone."""

    code = "second_physician_needed"

    def __init__(self, obstacles: tuple[Obstacle, ...]) -> None:
        self.obstacles = obstacles
        super().__init__("; ".join(WORDS[one] for one in obstacles))


class NotDeclared(Invalid):
    """Declare that you alone answer for this report, without a second physician."""

    code = "not_declared"


def sign_alone(
    hub: Hub,
    viewer: Viewer,
    reading_task_id: str,
    text: ReportText,
    *,
    declared: bool,
    confirm: bool = False,
    images: str | None = None,
) -> str:
    """Sign the interpretation as its only physician and finish the case's first report; return the report's id.

    Raises:
        SecondPhysicianNeeded: something stands against it; every reason is told.
        NotDeclared: `declared` was not given.
        and as `signing.submit`.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        done = _find_own_report(session, viewer, task)
        if done is not None:
            return done
        physician_id = require_may_sign(session, hub, viewer, task, case, now, images)
        agreement = _find_agreement(session, task, physician_id, locked=True)
        obstacles = _find_obstacles(session, case, task, physician_id, agreement, now)
        if obstacles or agreement is None:
            raise SecondPhysicianNeeded(obstacles)
        if not declared:
            raise NotDeclared
        require_signable(text, confirm=confirm)
        number = present_version(session, Kind.AGREEMENT, agreement.agreement_id)
        alone = SinglePhysician(agreement_id=agreement.agreement_id, agreement_version=number, declared_at=now)
        submission = sign_submission(session, hub, case, task, physician_id, text, now)
        report = sign_report(session, hub, case, task, submission, Signer(physician_id, alone), text, now)
        _finish(session, case, task, report, text, now)
        said = alone.model_dump(exclude={"declared_at"}) | {"single_physician": True}
        record_step(session, viewer, case, Hop.SIGNED, report.report_id, now, **said)
        return report.report_id


def may_sign_alone(session: Session, case: Case, task: ReadingTask, physician_id: str, now: datetime) -> bool:
    """Return whether nothing stands against the holder of the task signing alone: whether a page offers it."""
    agreement = _find_agreement(session, task, physician_id)
    if agreement is None or not agreement.single_physician:
        return False
    return not _find_obstacles(session, case, task, physician_id, agreement, now)


def _find_agreement(
    session: Session, task: ReadingTask, physician_id: str, *, locked: bool = False
) -> Agreement | None:
    """Return the agreement, as it is now, under which the holder took the task, from an offer or from a colleague.

    `locked`: and stays until the transaction ends, so that who signs signs by the version that was looked at.
    """
    taken = (Offer.reading_task_id == task.reading_task_id, Offer.physician_id == physician_id)
    found = select(Agreement).join(Offer, Offer.agreement_id == Agreement.agreement_id)
    found = found.where(*taken, Offer.state == "claimed")
    return session.scalar(found.with_for_update(read=True, of=Agreement) if locked else found)


def _find_obstacles(
    session: Session, case: Case, task: ReadingTask, physician_id: str, agreement: Agreement | None, now: datetime
) -> tuple[Obstacle, ...]:
    terms = None
    if agreement is not None:
        terms = AgreedTerms(agreement.single_physician, agreement.valid_from, agreement.valid_until)
    returned = exists().where(Submission.case_id == case.case_id)
    studies = list_studies(session, case.case_id)
    reading = Reading(
        title=Title(session.get_one(Physician, physician_id).title),
        modalities=frozenset(modality.strip().upper() for study in studies for modality in study.modalities),
        lane=Lane(case.lane),
        is_green_channel=case.green_channel is not None,
        was_returned=bool(session.scalar(select(returned))),
        is_in_doubt=case.identity_doubted_at is not None,
        is_first_reading=task.phase == Phase.INTERPRETATION and CaseState(case.state) not in AMENDED,
    )
    return find_obstacles(terms, reading, load_local_date(session, case.site_id, now))


def _finish(session: Session, case: Case, task: ReadingTask, report: Report, text: ReportText, now: datetime) -> None:
    """Complete the task and the case, and launch the documents."""
    write_draft(session, case.case_id, report.verifier_id, text, now)
    sign_evidence(session, case.case_id, report.report_id)
    join_report(session, case.case_id, report.report_id)
    move_task(task, ReadingTaskEvent.COMPLETE, Actor.HOLDER, now)
    move_case(case, CaseEvent.SIGN_ALONE, Actor.HOLDER)
    case.submitted_at = now
    case.signed_at = now
    launch(session, now, RENDER_JOB, report_id=report.report_id)


def _find_own_report(session: Session, viewer: Viewer, task: ReadingTask) -> str | None:
    """Return the report that the viewer signed alone by completing this very task."""
    physician_id = require_physician(viewer)
    if task.state != ReadingTaskState.COMPLETED or task.holder_id != physician_id:
        return None
    signed = select(Report.report_id).join(Submission, Submission.submission_id == Report.submission_id)
    own = (Submission.reading_task_id == task.reading_task_id, Report.verifier_id == physician_id)
    return session.scalar(signed.where(*own, Report.signed_at == task.completed_at))
