"""What a gateway at an assisting hospital may have: the cases that are read for it, and their reports' drafts.

A case is read for the hospital under whose agreement it was given: by its own physicians, and by those of others who
read for it too (`also_at`), whose cases their own hospital's gateway has no part in.

Nothing is volatile. Its right is that of each physician who holds a task at this moment, by the same condition as on
the desks; it ends with the claim. A text that comes from a workstation becomes the draft and nothing more: only the
physician signs, at the desk, after giving the password.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Account, Case, CaseStudy, Draft, Offer, Physician, ReadingTask
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.domain.wording import find_unstorable
from reading_queue.errors import Conflict, NotFound, TextNotAcceptable
from reading_queue.services.access.visibility import Viewer, may_see
from reading_queue.services.cases.casework import PATIENT_RECORD, audit, get_task_locked, record_custody
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import extend_lease
from reading_queue.services.reading.drafts import WORKSTATION, view_text, write_draft
from storage.catalogue.tables import Pack, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, Uid
from storage.contract.wire import ReaderCase, ReaderCases, ReaderPack, ReaderReceipt, ReaderReport, ReaderStudy

CASES_MAX: Final = 500
PRIORS_MAX: Final = 20


class NotTheClaimer(Conflict):
    """Whoever wrote this report does not hold the case now. Claim it at the desk, then send the report again."""

    code = "not_the_claimer"


class DraftAtDesk(Conflict):
    """A draft was written at the desk meanwhile, and is not replaced. Go on there, or empty it and send again."""

    code = "draft_at_desk"


def claimed_cases(hub: Hub, organisation_id: str) -> ReaderCases:
    """Return what those who read for the organisation hold now, oldest claim first, with what each may see."""
    now = hub.clock()
    with hub.transaction() as session:
        held = _held_by(organisation_id).order_by(ReadingTask.claimed_at).limit(CASES_MAX)
        rows = session.execute(held).all()
        cases = tuple(
            _describe(session, task, _viewer(account, physician, now), now) for task, physician, account in rows
        )
    return ReaderCases(cases=cases)


def pack_of_claim(hub: Hub, organisation_id: str, reading_task_id: str, pack_id: str) -> Pack:
    """Return a pack of a study that the holder of this task may see; its bytes lie under its `object_key`.

    Raises:
        NotFound: there is none, or the claim has ended.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, viewer = _get_held(session, organisation_id, reading_task_id, now)
        wanted = select(Pack).join(Study, Study.study_id == Pack.study_id).where(Pack.pack_id == pack_id)
        pack = session.scalars(wanted.where(may_see(viewer, Study.site_id, Study.study_uid, now))).one_or_none()
        studies = {study.study_id for study, _ in _studies(session, task, viewer, now)}
        if pack is None or pack.study_id not in studies:
            raise NotFound("there is no such pack of this claim")
        return pack


def record_reader_receipt(hub: Hub, organisation_id: str, reading_task_id: str, receipt: ReaderReceipt) -> None:
    """Write what became of the case at the hospital; also after the claim has ended. Raises NotFound."""
    now = hub.clock()
    with hub.transaction() as session:
        theirs = select(ReadingTask).join(Physician, Physician.physician_id == ReadingTask.holder_id)
        theirs = theirs.where(ReadingTask.reading_task_id == reading_task_id, _is_read_for(organisation_id))
        task = session.scalars(theirs).one_or_none()
        if task is None:
            raise NotFound("there is no such claim of this organisation")
        case = session.get_one(Case, task.case_id)
        key = f"at_reader:{reading_task_id}:{receipt.target}:{receipt.step}:{receipt.code}"
        detail = {"target": receipt.target, "step": receipt.step, "organisation_id": organisation_id}
        record_custody(
            session, case, Hop.AT_READER, key, now, detail=detail | ({"fault": receipt.code} if receipt.code else {})
        )


def take_report(hub: Hub, organisation_id: str, gateway_id: str, report: ReaderReport) -> None:
    """Make a workstation's text the draft of the case that its writer holds; the same text again changes nothing.

    Raises:
        NotTheClaimer: no case of this study or accession number is held by this physician.
        DraftAtDesk: a draft was written at the desk.
        TextNotAcceptable: the text cannot be stored.
    """
    now = hub.clock()
    text = ReportText(findings=report.findings, impression=report.impression, recommendation=report.recommendation)
    if problems := find_unstorable(text):
        raise TextNotAcceptable(problems)
    with hub.transaction() as session:
        found, account_id = _find_claim(session, organisation_id, report)
        task, case = get_task_locked(session, found.reading_task_id)
        if task.state != ReadingTaskState.IN_PROGRESS or task.holder_id is None:  # given back meanwhile
            raise NotTheClaimer
        draft = session.get(Draft, case.case_id)
        if draft is not None and view_text(draft) == text:
            return
        if draft is not None and draft.source != WORKSTATION and any(view_text(draft).model_dump().values()):
            raise DraftAtDesk
        extend_lease(hub, task, now)
        write_draft(session, case.case_id, task.holder_id, text, now, source=WORKSTATION)
        detail = {"reading_task_id": task.reading_task_id, "gateway_id": gateway_id}
        key = f"draft_came:{task.reading_task_id}:{report.message_id}"
        record_custody(session, case, Hop.DRAFT_CAME, key, now, detail=detail)
        audit(
            session, now, PATIENT_RECORD, "U", account_id, case, event="draft_from_workstation", gateway_id=gateway_id
        )


def _find_claim(session: Session, organisation_id: str, report: ReaderReport) -> tuple[ReadingTask, str]:
    """Return the task that this physician holds and that the report is about, and their account; if two, none."""
    writer = (Physician.licence_number == report.physician) | (Account.login == report.physician)
    about = _held_by(organisation_id).where(writer).join(CaseStudy, CaseStudy.case_id == ReadingTask.case_id)
    if report.study_uid is not None:
        about = about.where(CaseStudy.study_uid == report.study_uid)
    else:
        about = about.join(
            Study, (Study.site_id == CaseStudy.site_id) & (Study.study_uid == CaseStudy.study_uid)
        ).where(Study.accession_number == report.accession_number, Study.accession_number != "")
    tasks = {task.reading_task_id: (task, who.account_id) for task, _, who in session.execute(about).all()}
    if len(tasks) != 1:
        raise NotTheClaimer
    return next(iter(tasks.values()))


def _held_by(organisation_id: str) -> Select[ReadingTask, Physician, Account]:
    return (
        select(ReadingTask, Physician, Account)
        .join(Physician, Physician.physician_id == ReadingTask.holder_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(_is_read_for(organisation_id), ReadingTask.state == ReadingTaskState.IN_PROGRESS)
        .where(Account.disabled_at.is_(None))
    )


def _is_read_for(organisation_id: str) -> ColumnElement[bool]:
    """Say whether a task's holder has it under an agreement of this hospital: their own, or one they also read for."""
    given = (
        Offer.reading_task_id == ReadingTask.reading_task_id,
        Offer.physician_id == ReadingTask.holder_id,
        AgreementVersion.agreement_id == Offer.agreement_id,
        AgreementVersion.number == Offer.agreement_version,
    )
    assisting = AgreementVersion.assisting_organisation_id
    elsewhere = exists().where(*given, Physician.also_at.contains(func.to_jsonb(assisting)))
    as_guest = exists().where(*given, assisting == organisation_id)
    return or_(
        and_(Physician.organisation_id == organisation_id, ~elsewhere),
        and_(Physician.also_at.contains([organisation_id]), as_guest),
    )


def _get_held(
    session: Session, organisation_id: str, reading_task_id: str, now: datetime
) -> tuple[ReadingTask, Viewer]:
    row = session.execute(_held_by(organisation_id).where(ReadingTask.reading_task_id == reading_task_id)).one_or_none()
    if row is None:
        raise NotFound("there is no such claim of this organisation now")
    task, physician, account = row
    return task, _viewer(account, physician, now)


def _viewer(account: Account, physician: Physician, now: datetime) -> Viewer:
    """Return the physician as the one authorisation function knows them."""
    return Viewer(
        account_id=account.account_id,
        login=account.login,
        display_name=account.display_name,
        role=Role.PHYSICIAN,
        organisation_id=account.organisation_id,
        site_id=None,
        physician_id=physician.physician_id,
        language=account.language,
        authenticated_at=now,
    )


def _studies(session: Session, task: ReadingTask, viewer: Viewer, now: datetime) -> list[tuple[Study, bool]]:
    """Return the case's studies, then earlier ones of the same patient that the physician may see, with `prior`."""
    of_case = select(CaseStudy.site_id, CaseStudy.study_uid).where(CaseStudy.case_id == task.case_id)
    keys = [tuple(row) for row in session.execute(of_case)]
    own = (
        select(Study)
        .where(tuple_(Study.site_id, Study.study_uid).in_(keys), may_see(viewer, Study.site_id, Study.study_uid, now))
        .order_by(Study.study_uid)
    )
    studies = list(session.scalars(own))
    earlier = (
        select(Study)
        .where(
            Study.patient_id.in_([study.patient_id for study in studies]),
            Study.study_id.not_in([study.study_id for study in studies]),
            may_see(viewer, Study.site_id, Study.study_uid, now),
        )
        .order_by(Study.study_date.desc().nulls_last())
        .limit(PRIORS_MAX)
    )
    return [(study, False) for study in studies] + [(study, True) for study in session.scalars(earlier)]


def _describe(session: Session, task: ReadingTask, viewer: Viewer, now: datetime) -> ReaderCase:
    return ReaderCase(
        reading_task_id=task.reading_task_id,
        case_id=task.case_id,
        phase=task.phase,
        studies=tuple(
            ReaderStudy(
                study_uid=Uid(study.study_uid),
                accession_number=study.accession_number,
                prior=prior,
                packs=tuple(
                    ReaderPack(
                        pack_id=pack.pack_id, pack_sha256=Sha256Hex(pack.pack_sha256), size_bytes=pack.size_bytes
                    )
                    for pack in session.scalars(
                        select(Pack).where(Pack.study_id == study.study_id).order_by(Pack.verified_at, Pack.pack_id)
                    )
                ),
            )
            for study, prior in _studies(session, task, viewer, now)
        ),
    )
