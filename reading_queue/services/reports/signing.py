"""The two signatures: the author submits, a second physician verifies and signs, or returns the text.

Where an agreement lets one physician sign alone, `single_signing` writes both with the same functions.

What is signed is canonical JSON, stored as signed. Both functions may be repeated after a lost answer and then return
what the first call made; a signed report is never written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Offer, Organisation, Physician, ReadingTask, Report, Submission
from reading_queue.domain.canonical import sha256_hex
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.report import ReportContent, ReportText, SubmissionContent, report_format
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import AMENDED, Actor, CaseEvent, ReadingTaskEvent, ReadingTaskState
from reading_queue.domain.wording import find_problems, find_warnings
from reading_queue.errors import (
    AuthorMayNotVerify,
    ConfirmationNeeded,
    Invalid,
    ReauthenticationNeeded,
    TextNotAcceptable,
    WrongState,
)
from reading_queue.services.access.keys import ALGORITHM, sign_as
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import (
    PATIENT_RECORD,
    RENDER_JOB,
    audit,
    get_task_locked,
    launch_route,
    move_case,
    move_task,
    open_reading_task,
    record_custody,
)
from reading_queue.services.cases.images_seen import require_all_seen
from reading_queue.services.hub import Hub, launch
from reading_queue.services.orders.order_versions import require_told_seen
from reading_queue.services.patients.identity_doubts import require_settled
from reading_queue.services.reading.case_evidence import load_reported, sign_evidence
from reading_queue.services.reading.claims import require_holder, require_licence, require_physician, require_verifier
from reading_queue.services.reading.consult_rows import end_consult_of, join_report, load_opinions
from reading_queue.services.reading.consults import require_none_open
from reading_queue.services.reading.drafts import write_draft
from reading_queue.services.reports.addenda import (
    find_open_addendum,
    get_newest_report,
    get_open_addendum,
    require_undisputed,
)
from reading_queue.services.reports.signed_facts import load_orders, load_signatory, load_subject
from reading_queue.services.reports.site_preliminaries import tell_site
from reading_queue.services.routing.offers import offer_own_work
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind, SinglePhysician
from storage.ledger.tables import Site

log = structlog.get_logger(__name__)

AUTH_METHOD: Final = "password"
RETURN_REASON_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a report, and, where they do so alone, what allows it."""

    physician_id: str
    alone: SinglePhysician | None = None

    @property
    def role(self) -> str:
        """The role of the signature over the report."""
        return "verifier" if self.alone is None else "single_physician"


def submit(
    hub: Hub,
    viewer: Viewer,
    reading_task_id: str,
    text: ReportText,
    *,
    confirm: bool = False,
    confirm_identity: bool = False,
    images: str | None = None,
) -> str:
    """Sign the interpretation as its author and launch its verification; return the submission's id.

    Raises:
        NotHolder, ReauthenticationNeeded, LicenceNotValid: the viewer may not sign now.
        ImagesUnacknowledged: images arrived after the claim.
        ImagesChanged: `images` names what the viewer was shown of the case, and it shows more now.
        IdentityUnconfirmed: it is open whose the case is, it is no emergency, and `confirm_identity` was not given.
        TextNotAcceptable: the text has faults; ConfirmationNeeded: it may have, and `confirm` was not given.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        done = _find_own_submission(session, viewer, task)
        if done is not None:
            return done
        author_id = require_may_sign(session, hub, viewer, task, case, now, images)
        _require_phase(task, Phase.INTERPRETATION, Phase.ADDENDUM)
        require_signable(text, confirm=confirm)
        require_settled(session, viewer, case, now, is_final=False, confirmed=confirm_identity)
        submission = sign_submission(session, hub, case, task, author_id, text, now)
        write_draft(session, case.case_id, author_id, text, now)
        move_task(task, ReadingTaskEvent.COMPLETE, Actor.HOLDER, now)
        move_case(case, CaseEvent.SUBMIT, Actor.HOLDER)
        case.submitted_at = case.submitted_at if task.phase == Phase.ADDENDUM else now
        verification = open_reading_task(session, case, Phase.VERIFICATION, now)
        launch_route(session, now, verification.reading_task_id)
        record_step(session, viewer, case, Hop.SUBMITTED, submission.submission_id, now)
        return submission.submission_id


def sign(
    hub: Hub,
    viewer: Viewer,
    reading_task_id: str,
    text: ReportText | None,
    *,
    confirm: bool = False,
    confirm_identity: bool = False,
    images: str | None = None,
) -> str:
    """Sign the report as its verifier, with `text` as the final text or the author's where None; return its id.

    Raises:
        AuthorMayNotVerify: the viewer wrote it. TitleTooLow: it is not, or no more, high enough to verify.
        IdentityUnconfirmed: it is open whose the case is, and `confirm_identity` was not given.
        and as `submit`.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        done = _find_own_report(session, viewer, task)
        if done is not None:
            return done
        verifier_id = require_may_sign(session, hub, viewer, task, case, now, images)
        _require_phase(task, Phase.VERIFICATION)
        require_verifier(session.get_one(Physician, verifier_id))
        submission = get_standing_submission(session, case.case_id)
        if submission.author_id == verifier_id:
            raise AuthorMayNotVerify
        final = text or SubmissionContent.from_json(submission.content).text()
        require_signable(final, confirm=confirm or text is None)
        require_settled(session, viewer, case, now, is_final=True, confirmed=confirm_identity)
        report = sign_report(session, hub, case, task, submission, Signer(verifier_id), final, now)
        sign_evidence(session, case.case_id, report.report_id)
        join_report(session, case.case_id, report.report_id)
        move_task(task, ReadingTaskEvent.COMPLETE, Actor.HOLDER, now)
        move_case(case, CaseEvent.SIGN, Actor.HOLDER)
        if report.report_version == 1:
            case.signed_at = now
        else:
            case.amended_at = now
        launch(session, now, RENDER_JOB, report_id=report.report_id)
        record_step(session, viewer, case, Hop.SIGNED, report.report_id, now)
        return report.report_id


def return_to_author(hub: Hub, viewer: Viewer, reading_task_id: str, reason: str) -> None:
    """Give the text back to its author with a reason in words; the author is offered it before anybody else.

    The draft stays as it is. When the author lets the offer pass, others are asked.

    Raises:
        NotHolder: the viewer does not hold the verification.
        Invalid: the reason is empty or too long.
    """
    now = hub.clock()
    reason = reason.strip()
    if not 0 < len(reason) <= RETURN_REASON_CHARACTERS_MAX:
        raise Invalid("say in a few words why the text goes back to its author")
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        _require_phase(task, Phase.VERIFICATION)
        submission = get_standing_submission(session, case.case_id)
        submission.returned_at = now
        submission.return_reason = reason
        end_consult_of(session, case, now)
        move_case(case, CaseEvent.RETURN_TO_AUTHOR, Actor.HOLDER)
        move_task(task, ReadingTaskEvent.CANCEL, Actor.HOLDER, now)
        task.cancel_reason = DiscontinuationReason.UNSPECIFIED
        written = session.get_one(ReadingTask, submission.reading_task_id)
        again = open_reading_task(session, case, Phase(written.phase), now, replaces=task)
        _offer_to_author(session, hub, case, again, submission, now)
        launch_route(session, now, again.reading_task_id)  # which asks others where the author is not there
        record_step(session, viewer, case, Hop.RETURNED_TO_AUTHOR, task.reading_task_id, now)


def get_standing_submission(session: Session, case_id: str) -> Submission:
    """Return the submission that waits for its verification; raises WrongState when there is none."""
    verified = exists().where(Report.submission_id == Submission.submission_id)
    standing = select(Submission).where(Submission.case_id == case_id, Submission.returned_at.is_(None), ~verified)
    submission = session.scalars(standing.order_by(Submission.submitted_at.desc()).limit(1)).one_or_none()
    if submission is None:
        raise WrongState("no author has signed this case yet")
    return submission


def require_may_sign(
    session: Session, hub: Hub, viewer: Viewer, task: ReadingTask, case: Case, now: datetime, images: str | None
) -> str:
    """Return the physician id of a viewer who holds the task and may sign at this moment; raises as `submit` else."""
    physician_id = require_holder(viewer, task)
    if viewer.authenticated_at < now - timedelta(seconds=hub.policy.reauthentication_s):
        raise ReauthenticationNeeded
    require_licence(session, physician_id, case.site_id, now)
    require_all_seen(session, case, images)
    if case.state in AMENDED:
        require_undisputed(session, case.case_id)
    require_told_seen(session, case)
    require_none_open(session, case)
    return physician_id


def _require_phase(task: ReadingTask, *phases: Phase) -> None:
    if task.phase not in phases:
        raise WrongState(f"this cannot be done with a task of {task.phase}")


def require_signable(text: ReportText, *, confirm: bool) -> None:
    """Raise TextNotAcceptable or ConfirmationNeeded where the text cannot be signed as it stands."""
    if problems := find_problems(text):
        raise TextNotAcceptable(problems)
    if not confirm and (warnings := find_warnings(text)):
        raise ConfirmationNeeded(warnings)


def sign_submission(
    session: Session, hub: Hub, case: Case, task: ReadingTask, author_id: str, text: ReportText, now: datetime
) -> Submission:
    """Write what the author signs, with their signature."""
    patient, studies = load_subject(session, case)
    amends = _load_amendment(session, case)
    content = SubmissionContent(
        format="counterpart-submission/2" if amends else "counterpart-submission/1",
        submission_id=new_id(),
        case_id=case.case_id,
        reading_task_id=task.reading_task_id,
        site_id=case.site_id,
        patient=patient,
        studies=studies,
        author=load_signatory(session, author_id, task.reading_task_id),
        findings=text.findings,
        impression=text.impression,
        recommendation=text.recommendation,
        submitted_at=now,
        **amends,
    )
    data = content.canonical()
    submission = Submission(
        submission_id=content.submission_id,
        case_id=case.case_id,
        reading_task_id=task.reading_task_id,
        author_id=author_id,
        content=data,
        content_sha256=sha256_hex(data),
        signature=_signature(session, hub, "author", author_id, data, now),
        submitted_at=now,
    )
    session.add(submission)
    session.flush()
    return submission


def sign_report(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    submission: Submission,
    signer: Signer,
    text: ReportText,
    now: datetime,
) -> Report:
    """Write the next version of the case's report with both signatures, of two physicians or of one."""
    patient, studies = load_subject(session, case)
    site = session.get_one(Site, case.site_id)
    evidence, amends = load_reported(session, case.case_id), _load_amendment(session, case)
    opinions, orders = load_opinions(session, case.case_id), load_orders(session, case, studies)
    more = {"has_opinions": bool(opinions), "is_single": signer.alone is not None, "names_orders": bool(orders)}
    content = ReportContent(
        format=report_format(says_more=bool(evidence or amends), **more),
        report_id=new_id(),
        case_id=case.case_id,
        report_version=_next_version(session, case.case_id),
        network_name=hub.network_name,
        site_id=case.site_id,
        site_name=site.name,
        time_zone=site.time_zone,
        organisation_id=case.organisation_id,
        organisation_name=session.get_one(Organisation, case.organisation_id).name,
        lane=Lane(case.lane),
        modality=case.modality,
        patient=patient,
        studies=studies,
        author=SubmissionContent.from_json(submission.content).author,
        verifier=load_signatory(session, signer.physician_id, task.reading_task_id),
        findings=text.findings,
        impression=text.impression,
        recommendation=text.recommendation,
        exam_started_at=case.exam_started_at,
        submitted_at=submission.submitted_at,
        signed_at=now,
        submission_sha256=submission.content_sha256,
        evidence=evidence,
        opinions=opinions,
        orders=orders,
        single_physician=signer.alone,
        **amends,
    )
    data = content.canonical()
    report = Report(
        report_id=content.report_id,
        case_id=case.case_id,
        report_version=content.report_version,
        submission_id=submission.submission_id,
        verifier_id=signer.physician_id,
        content=data,
        content_sha256=sha256_hex(data),
        signatures=[submission.signature, _signature(session, hub, signer.role, signer.physician_id, data, now)],
        signed_at=now,
        rendered_at=None,
    )
    session.add(report)
    session.flush()
    _close_addendum(session, case, report, now)
    return report


def _next_version(session: Session, case_id: str) -> int:
    return (session.scalar(select(func.max(Report.report_version)).where(Report.case_id == case_id)) or 0) + 1


def _load_amendment(session: Session, case: Case) -> dict[str, Any]:
    """Return what a later version says of itself, nothing for the first."""
    if case.state not in AMENDED:
        return {}
    addendum = get_open_addendum(session, case.case_id)
    return {
        "predecessor_id": get_newest_report(session, case.case_id).report_id,
        "amendment_kind": AmendmentKind(addendum.kind),
        "amendment_reason": addendum.reason,
    }


def _close_addendum(session: Session, case: Case, report: Report, now: datetime) -> None:
    addendum = find_open_addendum(session, case.case_id)
    if addendum is not None:
        addendum.ended_at = now
        addendum.report_id = report.report_id


def _signature(session: Session, hub: Hub, role: str, physician_id: str, data: bytes, now: datetime) -> dict[str, Any]:
    """Sign `data` and return the signature as it is kept and sent.

    The verifier's data names the digest of the submission, so that one signature covers both texts.
    """
    signature = sign_as(session, hub, physician_id, data)
    return {
        "role": role,
        "alg": ALGORITHM,
        "key_id": signature.key_id,
        "covers_sha256": sha256_hex(data),
        "signed_at": now.isoformat(),
        "auth_method": AUTH_METHOD,
        "value": signature.value,
    }


def _offer_to_author(
    session: Session, hub: Hub, case: Case, task: ReadingTask, submission: Submission, now: datetime
) -> None:
    """Show the replacement to the author alone, under the agreement of the first reading."""
    agreement_id, agreement_version = session.execute(
        select(Offer.agreement_id, Offer.agreement_version).where(
            Offer.reading_task_id == submission.reading_task_id, Offer.physician_id == submission.author_id
        )
    ).one()
    why = {"returned_to_author": True, "submission_id": submission.submission_id}
    offer_own_work(session, hub, case, task, submission.author_id, (agreement_id, agreement_version), now, why)


def _find_own_submission(session: Session, viewer: Viewer, task: ReadingTask) -> str | None:
    """Return the submission that the viewer made by completing this very task."""
    physician_id = require_physician(viewer)
    if task.state != ReadingTaskState.COMPLETED or task.holder_id != physician_id:
        return None
    made = select(Submission.submission_id).where(Submission.reading_task_id == task.reading_task_id)
    return session.scalar(made)


def _find_own_report(session: Session, viewer: Viewer, task: ReadingTask) -> str | None:
    """Return the report that the viewer signed by completing this very task."""
    physician_id = require_physician(viewer)
    if task.state != ReadingTaskState.COMPLETED or task.holder_id != physician_id or task.phase != Phase.VERIFICATION:
        return None
    signed = select(Report.report_id).where(Report.case_id == task.case_id, Report.verifier_id == physician_id)
    return session.scalar(signed.where(Report.signed_at == task.completed_at))


def record_step(
    session: Session, viewer: Viewer, case: Case, hop: Hop, about_id: str, now: datetime, **more: str | int | bool
) -> None:
    """Write the step into ledger and audit trail; `more` holds codes and numbers only."""
    detail = {"id": about_id, **more}
    tell_site(session, case)
    record_custody(session, case, hop, f"{hop}:{about_id}", now, actor=viewer.account_id, detail=detail)
    audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event=hop.value, **detail)
    log.info("report_step_taken", hop=hop.value, case_id=case.case_id, id=about_id)
