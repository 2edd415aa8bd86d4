"""What another vendor's worklist does to a reading task: claim, report progress, complete, give back, ask to cancel.

Every change goes through the use cases of the reading desk, so that nothing is easier over UPS-RS: a claim needs an
open offer, a signature a recent password, and two physicians sign. PS3.4 Table CC.1.1-2 (`domain.workitems.states`)
is asked first; between that look and the change another request may win, and then the loser is refused as the table
says. What a performer said is durable with its answer.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from reading_queue.db.subscription_tables import WorkitemProgress
from reading_queue.db.tables import CaseEvidence, ReadingTask
from reading_queue.domain.discontinuation import REASONS_ZH, DiscontinuationReason
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.domain.workitems.content import DicomJson, Output, Said, lacking, outputs_of, report_text
from reading_queue.domain.workitems.creation import Creation
from reading_queue.domain.workitems.reports import EventType
from reading_queue.domain.workitems.states import WARNINGS, WORDS, Operation, Status, judge
from reading_queue.domain.workitems.updating import Update
from reading_queue.errors import AlreadyClaimed, Conflict, Forbidden, HubError, Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, may_follow
from reading_queue.services.cases.cases import open_case_for
from reading_queue.services.cases.casework import PROCEDURE_RECORD, audit, get_task_locked, record_custody
from reading_queue.services.cases.withdrawals import Wish, withdraw
from reading_queue.services.hub import Hub
from reading_queue.services.reading import claims
from reading_queue.services.reports import signing
from reading_queue.services.routing.assigning import assign
from reading_queue.services.worklists.workitem_events import report_event
from reading_queue.services.worklists.workitem_views import get_workitem
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.hops import Hop

REPORT_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22))  # Basic Text and Enhanced SR
REPORT_BYTES_MAX = 4 * 1024 * 1024
ASSIGNED_WITHOUT_WORDS = "UPS-RS"


class TransactionUidWrong(HubError):
    """The Transaction UID is missing, or not that of the claim."""

    code = "transaction_uid_wrong"
    status = 400

    def __init__(self, *, is_missing: bool) -> None:
        self.is_missing = is_missing
        super().__init__("Send the Transaction UID of the claim." if is_missing else "It is not that of the claim.")


class WorkitemConflict(Conflict):
    """This cannot be done with the workitem in its present state."""

    code = "workitem_conflict"

    def __init__(self, ups_status: Status, detail: str = "") -> None:
        self.ups_status = ups_status
        super().__init__(detail or WORDS[ups_status])


class WorkitemEnded(WorkitemConflict):
    """What has ended is not updated any more; PS3.18 section 11.6.2 wants 400."""

    status = 400


@dataclass(frozen=True, slots=True)
class Found:
    """A workitem as a request met it."""

    reading_task_id: str
    case_id: str
    phase: str
    state: ReadingTaskState
    said: Said


def create_workitem(hub: Hub, viewer: Viewer, wanted: Creation) -> str:
    """Have a study read that no case reads yet, as a coordinator who oversees its site; return the workitem's UID.

    Raises:
        NotFound: there is no such study, or the viewer does not oversee its site.
        Invalid: the patient is another one than that of the study.
        WorkitemConflict, Conflict: the UID is taken; the study has a case, or came from two sites.
    """
    now = hub.clock()
    with hub.transaction() as session:
        taken = select(ReadingTask.reading_task_id).where(ReadingTask.workitem_uid == wanted.workitem_uid)
        if wanted.workitem_uid and session.scalar(taken) is not None:
            raise WorkitemConflict(Status.DUPLICATE)
        study = _get_overseen_study(session, viewer, wanted, now)
        case, task = open_case_for(session, hub, now, study=study, lane=wanted.lane)
        task.workitem_uid = wanted.workitem_uid or task.workitem_uid
        try:
            session.flush()
        except IntegrityError as exc:  # somebody took it since
            raise WorkitemConflict(Status.DUPLICATE) from exc
        record_custody(session, case, Hop.DECLARED, f"workitem:{case.case_id}", now, actor=viewer.account_id)
        audit(session, now, PROCEDURE_RECORD, "C", viewer.account_id, case, event="workitem_created")
        return task.workitem_uid


def claim_workitem(hub: Hub, viewer: Viewer, workitem_uid: str, transaction_uid: str) -> Status:
    """Take the workitem under the Transaction UID that the claimant chose.

    Raises:
        WorkitemConflict: somebody has it already, or it has ended.
        NotOffered, WorkInProgressFull, LicenceNotValid, AuthorMayNotVerify: the physician may not take it.
    """
    found, status = _meet(hub, viewer, workitem_uid, Operation.CLAIM, transaction_uid)
    if status is not Status.SUCCESS:
        return status
    try:
        held = claims.claim(hub, viewer, found.reading_task_id, transaction_uid=transaction_uid)
    except AlreadyClaimed as exc:
        raise WorkitemConflict(Status.TRANSACTION_UID_INCORRECT, str(exc)) from exc
    if held.transaction_uid != transaction_uid:  # the same physician, from another screen, was first
        raise WorkitemConflict(
            Status.TRANSACTION_UID_INCORRECT, "You hold this workitem under another Transaction UID."
        )
    return status


def schedule_workitem(hub: Hub, viewer: Viewer, workitem_uid: str) -> Status:
    """Refuse: a workitem never goes back to scheduled. Raises WorkitemConflict."""
    return _meet(hub, viewer, workitem_uid, Operation.SCHEDULE, None)[1]


def update_workitem(hub: Hub, viewer: Viewer, workitem_uid: str, transaction_uid: str, said: Said) -> None:
    """Keep what the performer says, and extend their claim. What is not said stays as it was said before.

    Raises:
        TransactionUidWrong, WorkitemConflict: as PS3.4 Table CC.1.1-2. NotHolder: the claim has ended.
    """
    now = hub.clock()
    found, _ = _meet(hub, viewer, workitem_uid, Operation.UPDATE, transaction_uid)
    with hub.transaction() as session:
        task, case = get_task_locked(session, found.reading_task_id)
        claims.require_holder(viewer, task)
        claims.extend_lease(hub, task, now)
        row = _progress(session, task, now)
        row.percent, row.description = said.percent or row.percent, said.text or row.description
        row.performed, row.reason = said.performed or row.performed, said.reason or row.reason
        report_event(session, task, EventType.PROGRESS_REPORT)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="workitem_progress")


def assign_workitem(hub: Hub, viewer: Viewer, workitem_uid: str, update: Update) -> None:
    """Give a scheduled workitem to the one physician whom a coordinator names, as at the desk.

    Raises:
        TransactionUidWrong, WorkitemConflict: as PS3.4 Table CC.1.1-2, and for what is not a coordinator's to say.
        Forbidden, MayNotBeAssigned, IdentityInDoubt, WrongState: as for an assignment at the desk.
    """
    found, _ = _meet(hub, viewer, workitem_uid, Operation.UPDATE, None)
    if update.is_of_performer:
        raise WorkitemConflict(Status.NOT_IN_PROGRESS)
    if not update.assignee:
        words = "Until it is claimed, a coordinator names its performer (0040,4034); all else the network says itself."
        raise WorkitemConflict(Status.NOT_AUTHORIZED, words)
    assign(hub, viewer, found.case_id, update.assignee, update.comment or ASSIGNED_WITHOUT_WORDS)


def complete_workitem(hub: Hub, viewer: Viewer, workitem_uid: str, transaction_uid: str) -> Status:
    """Sign with what the performer stored: an interpretation is submitted, a verification signs the report.

    The text is that of the structured report which the performed procedure names and the performer stored for this
    case; a verification without one signs the author's text as it stands. Signing asks what it asks at the desk.

    Raises:
        WorkitemConflict: something that the final state needs is missing, or the text cannot be signed as it stands.
        ReauthenticationNeeded, LicenceNotValid, ImagesUnacknowledged: the physician may not sign now.
    """
    found, status = _meet(hub, viewer, workitem_uid, Operation.COMPLETE, transaction_uid)
    if status is not Status.SUCCESS:
        return status
    interpreting = found.phase == Phase.INTERPRETATION
    if not interpreting and found.phase != Phase.VERIFICATION:
        raise WorkitemConflict(Status.FINAL_STATE_REQUIREMENTS, "An addendum is written and signed at the desk.")
    if missing := lacking(found.said.performed, needs_report=interpreting):
        words = "The performed procedure (0074,1216) still needs: " + ", ".join(missing) + "."
        raise WorkitemConflict(Status.FINAL_STATE_REQUIREMENTS, words)
    text = _read_report(hub, found, outputs_of(found.said.performed))
    try:
        if not interpreting:
            signing.sign(hub, viewer, found.reading_task_id, text)
        elif text is None:
            raise WorkitemConflict(Status.FINAL_STATE_REQUIREMENTS, "No stored structured report of yours is named.")
        else:
            signing.submit(hub, viewer, found.reading_task_id, text)
    except Invalid as exc:
        raise WorkitemConflict(Status.FINAL_STATE_REQUIREMENTS, exc.detail) from exc
    return status


def cancel_workitem(hub: Hub, viewer: Viewer, workitem_uid: str, transaction_uid: str, reason: str) -> Status:
    """Give the claim back: this workitem ends, and another takes its place; what was written stays.

    `reason` is a code of CID 9303; without one that of the last update counts, else "unspecified".
    """
    found, status = _meet(hub, viewer, workitem_uid, Operation.CANCEL, transaction_uid)
    if status is Status.SUCCESS:
        code = reason or found.said.reason or DiscontinuationReason.UNSPECIFIED
        claims.release(hub, viewer, found.reading_task_id, code)
    return status


def request_cancel(
    hub: Hub, viewer: Viewer, workitem_uid: str, reason: str, words: str = "", contact: tuple[str, str] = ("", "")
) -> Status:
    """Ask that a workitem be cancelled, by somebody who does not hold it; `contact` is a name and a URI to ask there.

    A physician to whom it is offered declines, and others are asked. The site, or who oversees it, withdraws what
    nobody has begun; while somebody reads, the wish is shown to them, who may go on.

    Raises:
        WorkitemConflict: it is completed, or its case is signed.
    """
    code = claims.parse_reason(reason or DiscontinuationReason.UNSPECIFIED)
    found, status = _meet(hub, viewer, workitem_uid, Operation.REQUEST_CANCEL, None)
    if status is not Status.SUCCESS:
        return status
    if viewer.role is Role.PHYSICIAN:
        if found.state is not ReadingTaskState.SCHEDULED:
            raise Forbidden("the reader alone, or the site, asks to end what is being read")
        claims.decline(hub, viewer, found.reading_task_id, code)
        return status
    try:
        wish = Wish(code if reason else DiscontinuationReason.DOCTOR_CANCELED, *contact)
        withdraw(hub, viewer, found.case_id, words or REASONS_ZH[code], wish=wish)
    except WrongState as exc:
        raise WorkitemConflict(Status.ALREADY_COMPLETED, exc.detail) from exc
    return status


def _meet(
    hub: Hub, viewer: Viewer, workitem_uid: str, operation: Operation, transaction_uid: str | None
) -> tuple[Found, Status]:
    """Return the workitem and how the table answers the operation: with success or with a warning.

    Raises:
        NotFound: it is not there, or not the viewer's to see.
        TransactionUidWrong, WorkitemConflict: the table refuses.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, _, _ = get_workitem(session, viewer, workitem_uid, now)
        state = ReadingTaskState(task.state)
        status = judge(operation, state, transaction_uid, task.transaction_uid)
        if status is Status.TRANSACTION_UID_INCORRECT and not (operation is Operation.CLAIM and transaction_uid):
            raise TransactionUidWrong(is_missing=not transaction_uid)
        if status is Status.NO_LONGER_UPDATED and operation is Operation.UPDATE:
            raise WorkitemEnded(status)
        if status is not Status.SUCCESS and status not in WARNINGS:
            raise WorkitemConflict(status, _who_has_it(task) if status is Status.TRANSACTION_UID_INCORRECT else "")
        row = session.get(WorkitemProgress, task.reading_task_id)
        said = Said(performed=row.performed, reason=row.reason) if row is not None else Said()
        return Found(task.reading_task_id, task.case_id, task.phase, state, said), status


def _who_has_it(task: ReadingTask) -> str:
    if task.state == ReadingTaskState.IN_PROGRESS:
        return "Somebody else has claimed this workitem, or you did under another Transaction UID."
    return "The workitem has ended, under another Transaction UID."


def _progress(session: Session, task: ReadingTask, now: datetime) -> WorkitemProgress:
    """Return what was said of the task, to be added to; the caller has locked its case."""
    row = session.get(WorkitemProgress, task.reading_task_id)
    if row is None:
        row = WorkitemProgress(
            reading_task_id=task.reading_task_id, percent="", description="", performed={}, reason="", changed_at=now
        )
        session.add(row)
    row.changed_at = now
    return row


def _get_overseen_study(session: Session, viewer: Viewer, wanted: Creation, now: datetime) -> Study:
    of_uid = select(Study, Patient).join(Patient, Patient.patient_id == Study.patient_id)
    of_uid = of_uid.where(Study.study_uid == wanted.study_uid, Study.instance_count > 0)
    rows = session.execute(of_uid.where(may_follow(viewer, Study.site_id, Study.study_uid, now))).all()
    if not rows:
        raise NotFound("there is no such study, or you may not see it")
    if len(rows) > 1:
        raise Conflict("two sites sent a study under this UID; ask for it at the desk")
    study, patient = rows[0]
    if wanted.patient_number and wanted.patient_number != patient.patient_number:
        raise Invalid("Patient ID (0010,0020) is not that of the study")
    return study


def _read_report(hub: Hub, found: Found, outputs: list[Output]) -> ReportText | None:
    """Return the text of the structured report that the performer stored for this task; None without one.

    Raises:
        WorkitemConflict: an output is not among what was stored for this case by this claim.
    """
    uids = [one.sop_instance_uid for one in outputs]
    with hub.transaction() as session:
        rows = session.execute(
            select(CaseEvidence.sop_instance_uid, Pack.object_key, Instance.offset_bytes, Instance.size_bytes)
            .join(
                Instance,
                (Instance.site_id == CaseEvidence.site_id)
                & (Instance.sop_instance_uid == CaseEvidence.sop_instance_uid),
            )
            .join(Series, Series.series_id == Instance.series_id)
            .join(Study, Study.study_id == Series.study_id)
            .join(Pack, Pack.pack_id == Instance.pack_id)
            .where(
                CaseEvidence.case_id == found.case_id,
                CaseEvidence.reading_task_id == found.reading_task_id,
                CaseEvidence.removed_at.is_(None),
                CaseEvidence.sop_class_uid.in_(REPORT_CLASSES),
                CaseEvidence.sop_instance_uid.in_(uids),
            )
        ).all()
    if len(rows) > 1 or (uids and not rows):
        raise WorkitemConflict(
            Status.FINAL_STATE_REQUIREMENTS,
            "Name exactly one Basic Text or Enhanced SR that you stored over STOW-RS for this case since your claim.",
        )
    if not rows:
        return None
    _, key, offset, size = rows[0]
    if size > REPORT_BYTES_MAX:
        raise WorkitemConflict(Status.FINAL_STATE_REQUIREMENTS, f"A report has at most {REPORT_BYTES_MAX} bytes.")
    from storage.dicom.json_model import instance_json  # loaded when somebody completes a workitem

    document: DicomJson = instance_json(io.BytesIO(hub.objects.read(key, offset=offset, length=size)))
    return report_text(document)
