"""What must be true of every case between any two things that happen, and once everything has come to rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.consult_tables import Consult
from reading_queue.db.course_tables import EscalationRow, InformationRequest
from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Case, CaseStudy, Draft, Offer, ReadingTask, Report, Submission
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.report import ReportContent
from reading_queue.domain.transitions import AMENDED, BEING_READ, SIGNED, CaseState
from reading_queue.services.patients.identity_doubts import is_held
from reading_queue.services.reading import mdt
from reading_queue.services.routing.eligibility import under_agreement
from reading_queue.services.routing.explaining import why_late
from storage.contract.hops import Hop
from storage.ledger.tables import CustodyEvent
from tests.integration.hub_reading.lives import FILMS, Life

HELD = frozenset(
    {CaseState.READING, CaseState.ON_HOLD, CaseState.REVIEWING, CaseState.AMENDMENT_REVIEWING}
)  # and AMENDING, where the addendum is held
IDLE = SIGNED | {CaseState.RECEIVING, CaseState.RETURNED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR}
CLAIMS = (Hop.CLAIMED, Hop.REVIEW_CLAIMED)


@dataclass
class Seen:
    """What must never be taken back once it was seen of a case."""

    reports: dict[str, bytes] = field(default_factory=dict)
    submissions: dict[str, bytes] = field(default_factory=dict)
    draft_version: int = 0
    paused_s: int = 0
    moments: dict[str, object] = field(default_factory=dict)


class Promises:
    """Looks at every case of a life, and remembers."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._seen: dict[str, Seen] = {}
        self._held: set[str] = set()

    def check(self, *, everywhere: bool = True) -> None:
        """Hold what must be true between any two steps, of every case or of the one that was last touched."""
        assert self._life.studies() == set(FILMS), "each study is read by one case, whatever was joined or parted"
        cases = select(Case) if everywhere else select(Case).where(Case.case_id == self._life.case_id)
        with self._life.hub.transaction() as session:
            for case in session.scalars(cases).all():
                self._check_tasks(session, case)
                self._check_holder(session, case)
                self._check_reports(session, case)
                self._check_kept(session, case)

    def check_rest(self) -> None:
        """Hold that nobody is forgotten, by what the sweeps alone have brought about, and that the ledger knows all."""
        life = self._life
        life.look_around()
        with life.hub.transaction() as session:
            for case in session.scalars(select(Case)).all():
                self._check_somebody_knows(session, case)
                self._check_ledger(session, case)
        for case_id in life.case_ids():
            if life.world.case(case_id).state != CaseState.CANCELLED:
                told = why_late(life.hub, life.coordinator, case_id)
                assert timedelta() <= told.standing.net <= told.standing.gross
        for who in life.people[:1] + life.people[-1:]:
            listed = mdt.list_mdt(life.hub, who).entries
            assert all(one.summary is None or one.summary.studies for one in listed), "a conference about no images"

    def _check_tasks(self, session: Session, case: Case) -> None:
        state = CaseState(case.state)
        of_case = ReadingTask.case_id == case.case_id
        tasks = session.scalars(select(ReadingTask).where(of_case, _is_open())).all()
        offered = select(ReadingTask.state).join(Offer, Offer.reading_task_id == ReadingTask.reading_task_id)
        offers = session.scalars(offered.where(of_case, Offer.state == "open")).all()
        asked = _count(session, InformationRequest, case, InformationRequest.ended_at.is_(None))
        held = [task for task in tasks if task.state == "in_progress"]
        assert len(tasks) == (state not in IDLE), f"{state} with {len(tasks)} open tasks"
        if state is not CaseState.AMENDING:
            assert len(held) == (state in HELD)
        assert all(task.holder_id and task.lease_expires_at for task in held)
        assert set(offers) <= {"scheduled"}, "nothing is offered that cannot be taken"
        assert asked == (state is CaseState.ON_HOLD)
        consults = session.scalars(select(Consult).where(Consult.case_id == case.case_id, Consult.ended_at.is_(None)))
        assert all([one.reading_task_id] == [task.reading_task_id for task in held] for one in consults.all())
        assert _count(session, CaseStudy, case) or state is CaseState.CANCELLED

    def _check_holder(self, session: Session, case: Case) -> None:
        """Hold that whoever has just got a case had the right to it at that moment."""
        held = select(ReadingTask).where(ReadingTask.case_id == case.case_id, ReadingTask.state == "in_progress")
        for task in session.scalars(held).all():
            theirs = Offer.reading_task_id == task.reading_task_id, Offer.physician_id == task.holder_id
            offer = session.scalars(select(Offer).where(*theirs)).one()
            assert offer.state == "claimed"
            if task.phase == "verification":
                author = select(Submission.author_id).where(Submission.case_id == case.case_id)
                newest = author.where(Submission.returned_at.is_(None)).order_by(Submission.submitted_at.desc())
                assert session.scalars(newest.limit(1)).one() != task.holder_id, "who wrote it verifies it"
            if task.reading_task_id in self._held or not under_agreement(offer):
                continue
            self._held.add(task.reading_task_id)
            terms = session.get_one(AgreementVersion, (offer.agreement_id, offer.agreement_version))
            assert terms.valid_from <= self._life.clock.now.date() <= terms.valid_until, "held without a right"

    def _check_reports(self, session: Session, case: Case) -> None:
        of_case = select(Report).where(Report.case_id == case.case_id).order_by(Report.report_version)
        reports = session.scalars(of_case).all()
        contents = [ReportContent.from_json(report.content) for report in reports]
        authors = {one.submission_id: one.author_id for one in session.scalars(select(Submission))}
        assert [one.report_version for one in reports] == list(range(1, len(reports) + 1))
        ids = ["", *(report.report_id for report in reports)]
        assert [one.predecessor_id for one in contents] == ids[: len(reports)], "two final reports of one case"
        for report, content in zip(reports, contents, strict=True):
            alone = content.single_physician
            assert (authors[report.submission_id] == report.verifier_id) == (alone is not None)
            if alone is not None:
                terms = session.get_one(AgreementVersion, (alone.agreement_id, alone.agreement_version))
                assert (report.report_version, terms.single_physician) == (1, True)
                assert terms.valid_from <= report.signed_at.date() <= terms.valid_until
        assert bool(reports) == (case.state in SIGNED | AMENDED | {CaseState.ENTERED_IN_ERROR})

    def _check_kept(self, session: Session, case: Case) -> None:
        reports = select(Report).where(Report.case_id == case.case_id)
        submissions = select(Submission).where(Submission.case_id == case.case_id)
        draft = session.get(Draft, case.case_id)
        seen = self._seen.get(case.case_id, Seen())
        now = Seen(
            {row.report_id: row.content for row in session.scalars(reports)},
            {row.submission_id: row.content for row in session.scalars(submissions)},
            draft.version if draft is not None else 0,
            case.paused_s,
            {name: getattr(case, name) for name in ("claimed_at", "signed_at")},
        )
        assert seen.reports.items() <= now.reports.items(), "a signed report never changes and never goes"
        assert seen.submissions.items() <= now.submissions.items()
        assert case.withdrawal_asked_at is None or case.state in BEING_READ | {CaseState.READY, CaseState.OFFERED}
        assert now.draft_version >= seen.draft_version, "a draft survives whatever happens to the claim"
        assert now.paused_s >= seen.paused_s
        assert all(now.moments[name] == at for name, at in seen.moments.items() if at is not None), "a clock stops once"
        self._seen[case.case_id] = now

    def _check_somebody_knows(self, session: Session, case: Case) -> None:
        """Hold that a case that waits is before somebody who can take it, with its site, or before a director."""
        task = session.scalars(select(ReadingTask).where(ReadingTask.case_id == case.case_id, _is_open())).one_or_none()
        told = select(DirectorNotice.notice_id).join(
            EscalationRow, EscalationRow.escalation_id == DirectorNotice.escalation_id
        )
        of_case = EscalationRow.case_id == case.case_id, EscalationRow.ended_at.is_(None)
        open_kinds = set(session.scalars(select(EscalationRow.kind).where(*of_case)))
        if case.state in (CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR) or task is None:
            assert not open_kinds, f"people are told of a case that is {case.state}"
            return
        if task.state == "in_progress" or is_held(case, task):
            return
        asked = Offer.reading_task_id == task.reading_task_id, Offer.state == "open"
        if not session.scalar(select(func.count()).select_from(Offer).where(*asked)):
            assert Escalation.NOBODY in open_kinds, f"nobody is asked and nobody is told of {case.state}, {task.phase}"
            nobody = session.scalars(told.where(*of_case, EscalationRow.kind == Escalation.NOBODY)).all()
            assert nobody, "nobody is asked, and no director knows"

    def _check_ledger(self, session: Session, case: Case) -> None:
        """Hold that every claim, its end and every signature has its line, once for each study of that day."""
        lines = session.execute(
            select(CustodyEvent.hop, CustodyEvent.detail, CustodyEvent.event_key, CustodyEvent.study_uid).where(
                CustodyEvent.case_id == case.case_id
            )
        ).all()
        tasks = session.scalars(select(ReadingTask).where(ReadingTask.case_id == case.case_id)).all()
        took = {line.detail["reading_task_id"] for line in lines if line.hop in CLAIMS}
        took |= {line.detail["replacement_id"] for line in lines if line.hop == Hop.TAKEN_OVER}
        claimed = {task.reading_task_id: task.phase for task in tasks if task.claimed_at is not None}
        assert took <= claimed.keys()
        assert {one for one, phase in claimed.items() if phase != "addendum"} <= took  # whose opening is its claim
        for table, hops in ((Report, {Hop.SIGNED}), (Submission, {Hop.SUBMITTED, Hop.SIGNED})):
            of_case = select(table).where(table.case_id == case.case_id)
            written = {line.event_key for line in lines if line.hop in hops}
            assert len(session.scalars(of_case).all()) <= len(written), f"unwritten {table.__name__}"
        uids = set(session.scalars(select(CaseStudy.study_uid).where(CaseStudy.case_id == case.case_id)))
        assert uids <= {line.study_uid for line in lines}, "a study whose ledger says nothing of its case"


def _is_open():  # type: ignore[no-untyped-def]
    return ReadingTask.state.in_(("scheduled", "in_progress"))


def _count(session: Session, table, case: Case, *conditions) -> int:  # type: ignore[no-untyped-def]
    return session.scalar(select(func.count()).select_from(table).where(table.case_id == case.case_id, *conditions))
