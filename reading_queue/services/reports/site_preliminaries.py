"""Preliminary reports of emergencies for the site's own gateway, and the site's word that somebody there has seen one.

Durable: the first word of the site about each, with who was told (危急情况 are told by people, not by lists). Who is
waiting for news is woken by a notification, which is only a hint.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import PreliminaryAcknowledgement
from reading_queue.db.tables import Case, CaseStudy, Submission
from reading_queue.domain.report import SubmissionContent
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import (
    PATIENT_RECORD,
    PROCEDURE_RECORD,
    audit,
    get_case_locked,
    record_custody,
)
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.reports.preliminary import PUBLISHED_IN, WAITS_FOR_SECOND, PreliminaryView, find_preliminary
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.preliminary import (
    PRELIMINARIES_PER_ANSWER_MAX,
    PreliminariesAnswer,
    PreliminaryReport,
    version_of,
)

CHANNEL: Final = "preliminary_reports"
# Until the signed report is at the clinic, what its author signed is better than nothing.
NAMED_IN: Final = WAITS_FOR_SECOND | {CaseState.FINAL}
MAY_ACKNOWLEDGE: Final = (Role.TECHNICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)


def preliminaries_for_site(hub: Hub, site_id: str, known: str) -> PreliminariesAnswer:
    """Return what stands of the site's emergencies, the newest first; without it when `known` is its version."""
    standing = (
        select(Submission, Case)
        .join(Case, Case.case_id == Submission.case_id)
        .where(
            Case.site_id == site_id,
            Case.lane.in_(sorted(PUBLISHED_IN)),
            Case.state.in_(sorted(NAMED_IN)),
            Submission.returned_at.is_(None),
        )
        .order_by(Submission.submitted_at.desc(), Submission.submission_id)
        .limit(PRELIMINARIES_PER_ANSWER_MAX)
    )
    with hub.transaction() as session:
        newest: dict[str, tuple[Submission, Case]] = {}
        for submission, case in session.execute(standing):
            newest.setdefault(case.case_id, (submission, case))
        studies = _load_studies(session, list(newest))
        reports = tuple(_view(submission, case, studies[case.case_id]) for submission, case in newest.values())
    version = version_of(reports)
    return PreliminariesAnswer(version=version, reports=None if version == known else reports)


def tell_site(session: Session, case: Case) -> None:
    """Wake the site's gateway when what stands of an emergency changes with this transaction."""
    if Lane(case.lane) in PUBLISHED_IN:
        session.execute(select(func.pg_notify(CHANNEL, case.site_id)))


def preliminary_of(hub: Hub, viewer: Viewer, case_id: str) -> PreliminaryView | None:
    """Return what stands of an emergency until the second physician signs, else None. Raises NotFound."""
    now = hub.clock()
    require(viewer, *MAY_ACKNOWLEDGE)
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = session.get_one(Case, case_id)
        audit(session, now, PATIENT_RECORD, "R", viewer.account_id, case, event="preliminary_viewed")
        return find_preliminary(session, case)


def acknowledge(hub: Hub, viewer: Viewer, submission_id: str, told: str, at: datetime | None = None) -> bool:
    """Write that the site has seen a preliminary report and who was told; return whether it is the first word of it.

    `at` is when, by the site's own clock, if not now.

    Raises:
        NotFound: there is no such report of an emergency that the viewer may see. Forbidden: it is not theirs to say.
        Invalid: it is not said who was told.
    """
    now = hub.clock()
    require(viewer, *MAY_ACKNOWLEDGE)
    words = parse_words(told, "say who was told of it")
    with hub.transaction() as session:
        submission = session.get(Submission, submission_id)
        if submission is None:
            raise NotFound("there is no such preliminary report")
        require_case(session, viewer, submission.case_id, now)
        case = get_case_locked(session, submission.case_id)
        if Lane(case.lane) not in PUBLISHED_IN:
            raise NotFound("there is no such preliminary report")
        row = insert(PreliminaryAcknowledgement).values(
            submission_id=submission_id,
            account_id=viewer.account_id,
            told=words,
            at=min(at or now, now),
            received_at=now,
        )
        first = session.scalar(row.on_conflict_do_nothing().returning(PreliminaryAcknowledgement.submission_id))
        if first is None:
            return False
        key = f"{Hop.PRELIMINARY_ACKNOWLEDGED}:{submission_id}"
        about = {"submission_id": submission_id}
        record_custody(session, case, Hop.PRELIMINARY_ACKNOWLEDGED, key, now, actor=viewer.account_id, detail=about)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="preliminary_acknowledged", **about)
        return True


def _load_studies(session: Session, case_ids: list[str]) -> dict[str, list[Uid]]:
    rows = session.execute(
        select(CaseStudy.case_id, CaseStudy.study_uid)
        .where(CaseStudy.case_id.in_(case_ids))
        .order_by(CaseStudy.case_id, CaseStudy.study_uid)
    )
    found: dict[str, list[Uid]] = {case_id: [] for case_id in case_ids}
    for case_id, study_uid in rows:
        found[case_id].append(Uid(study_uid))
    return found


def _view(submission: Submission, case: Case, studies: list[Uid]) -> PreliminaryReport:
    content = SubmissionContent.from_json(submission.content)
    return PreliminaryReport(
        submission_id=submission.submission_id,
        case_id=case.case_id,
        study_uids=tuple(studies),
        lane=Lane(case.lane),
        author=content.author,
        findings=content.findings,
        impression=content.impression,
        recommendation=content.recommendation,
        submitted_at=content.submitted_at,
        is_final_signed=case.state == CaseState.FINAL,
    )
