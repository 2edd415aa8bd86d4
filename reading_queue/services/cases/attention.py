"""What waits for a person to act: each thing with its kind, since when, and why in the reader's language.

Reads only; every line is found anew from the rows it is about, and is gone when these have moved on. Lines about what
nothing in the database can ever settle are shown for FORGET_AFTER and stay in the study's ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Case, CaseStudy, Document, DocumentReceipt, PriorRequest, ReadingTask, Report
from reading_queue.domain.identity import may_wait
from reading_queue.domain.transitions import BEING_READ, CaseState
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.arrival.quarantine import came_since, code_of_event, is_unseen
from reading_queue.services.cases.casework import is_first_study
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.cases.waiting import late_condition
from reading_queue.services.holdings.study_list import UNSIGNED
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name, why_nobody
from reading_queue.services.patients.identity_doubts import OVER
from storage.catalogue.tables import SOUND, Grant, GrantedPack, Pack, Patient, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.wire import ReceiptStep, TransferState
from storage.ledger.tables import OPEN_DEAD_JOB, CustodyEvent, DeadJob, Site

UNDELIVERED_AFTER: Final = timedelta(minutes=15)  # a signed report should be home long before
STALLED_AFTER: Final = timedelta(minutes=30)  # without a new grant or commit; the slowest line brings a pack sooner
FORGET_AFTER: Final = timedelta(days=14)
PRIORS_FAIL_AFTER: Final = timedelta(days=1)  # before, it is the clinic's own matter
SITE_SILENT_AFTER: Final = timedelta(hours=2)  # a reader waits for the site's answer, or the site for the reader's
STUCK_MAX: Final = 100
SIGNED: Final = (CaseState.FINAL, CaseState.DELIVERED, CaseState.ACKNOWLEDGED)
PLACE_GATEWAY: Final = "gateway:"
SPOOL_TARGET: Final = "spool"


class StuckKind(StrEnum):
    """Why something waits for a person."""

    UNROUTABLE = "unroutable"
    LATE = "late"
    UNANSWERED = "unanswered"  # what a reader has asked the site
    WITHDRAWAL = "withdrawal"  # the site wants a case back, and its reader says nothing
    UNDELIVERED = "undelivered"
    LATE_IMAGES = "late_images"  # after the signature
    STALLED = "stalled"  # a transfer that has begun and does not go on
    REFUSED_PACK = "refused_pack"
    QUARANTINED = "quarantined"  # set aside by the clinic's gateway, or by the hub out of a deposit
    DEAD_JOB = "dead_job"
    IDENTITY = "identity"  # one patient number, two birth dates or sexes
    IDENTITY_CONFLICT = "identity_conflict"  # order and images contradict each other, and nobody has settled it
    DAMAGED = "damaged"  # stored bytes are not what they were, and nothing whole has come in their place
    PRIORS = "priors"  # the clinic's PACS cannot be searched for earlier studies


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing that does not move.

    `reason` is in words and may be empty when the kind says it all. `code` is the constant name of the reason, or the
    state of a case that is stuck in it, `params` what its words quote; `instance_count` is how many images it is about,
    0 where they are not counted.
    """

    kind: StuckKind
    site_id: str
    site_name: str
    study_uid: str
    since: datetime
    reason: str = ""
    code: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    instance_count: int = 0
    case_id: str | None = None  # None while nothing of the study was declared to the hub


def stuck(hub: Hub, viewer: Viewer) -> tuple[Stuck, ...]:
    """Return what waits for a person to act, longest waiting first, at most STUCK_MAX."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        found = [
            *_stuck_cases(session, sites, viewer.language, now),
            *_unanswered(session, sites, viewer.language, now),
            *_missing_targets(session, sites, viewer.language, now),
            *_late_images(session, sites, viewer.language, now),
            *_stalled_transfers(session, sites, viewer.language, now),
            *_refused_packs(session, sites, viewer.language),
            *_quarantined(session, sites, viewer.language, now),
            *_dead_jobs(session, sites, viewer.language),
            *_priors(session, sites, viewer.language, now),
            *_identities(session, sites, viewer.language, now),
            *_doubted(session, sites, viewer.language),
            *_damaged(session, sites, viewer.language),
        ]
        longest = sorted(found, key=lambda item: item.since)[:STUCK_MAX]
        cases = _load_cases(session, longest)
    return tuple(replace(item, case_id=cases.get((item.site_id, item.study_uid))) for item in longest)


def _load_cases(session: Session, found: Sequence[Stuck]) -> dict[tuple[str, str], str]:
    studies = {(item.site_id, item.study_uid) for item in found}
    rows = session.scalars(select(CaseStudy).where(tuple_(CaseStudy.site_id, CaseStudy.study_uid).in_(studies)))
    return {(row.site_id, row.study_uid): row.case_id for row in rows}


def _stuck_cases(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    still_open = Case.state.in_(UNSIGNED)
    on_its_way = Case.state.in_((CaseState.FINAL, CaseState.DELIVERED))
    kinds: tuple[tuple[StuckKind, ColumnElement[bool], Any], ...] = (
        (StuckKind.UNROUTABLE, still_open & Case.unroutable_reason.is_not(None), Case.created_at),
        (StuckKind.LATE, still_open & Case.unroutable_reason.is_(None) & late_condition(now), Case.due_at),
        (StuckKind.UNDELIVERED, on_its_way & (Case.signed_at < now - UNDELIVERED_AFTER), Case.signed_at),
    )
    for kind, condition, since in kinds:
        rows = session.execute(
            select(Site.site_id, site_name(language), CaseStudy.study_uid, since, Case)
            .join(Case, Case.site_id == Site.site_id)
            .join(CaseStudy, CaseStudy.case_id == Case.case_id)
            .where(Site.site_id.in_(sites), condition, is_first_study())
            .order_by(since)
            .limit(STUCK_MAX)
        ).all()
        reasons = why_nobody(session, [row[4] for row in rows], language)
        if kind is StuckKind.UNDELIVERED:
            for site_id, name, study_uid, moment, case in rows:
                yield Stuck(kind, site_id, name, study_uid, moment, *_why_undelivered(session, case))
            continue
        for site_id, name, study_uid, moment, case in rows:
            yield Stuck(kind, site_id, name, study_uid, moment, reasons.get(case.case_id, ""), code=case.state)


def _why_undelivered(session: Session, case: Case) -> tuple[str, str, Mapping[str, str]]:
    """Return the last failed delivery of the newest report: in English, its code and parameters; empty without one."""
    failed = (
        select(DocumentReceipt.reason, DocumentReceipt.code, DocumentReceipt.params)
        .join(Document, Document.document_id == DocumentReceipt.document_id)
        .join(Report, Report.report_id == Document.report_id)
        .where(Document.case_id == case.case_id, DocumentReceipt.step == ReceiptStep.FAILED)
        .order_by(Report.report_version.desc(), DocumentReceipt.received_at.desc())
        .limit(1)
    )
    found = session.execute(failed).first()
    return (found[0], found[1], found[2]) if found is not None else ("", "", {})


def _unanswered(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield cases in which one side has waited too long for the other's answer: somebody has to pick up a telephone."""
    asked = exists().where(InformationRequest.case_id == Case.case_id, InformationRequest.ended_at.is_(None))
    asked_at = (
        select(InformationRequest.asked_at)
        .where(InformationRequest.case_id == Case.case_id, InformationRequest.ended_at.is_(None))
        .scalar_subquery()
    )
    kinds: tuple[tuple[StuckKind, ColumnElement[bool], Any], ...] = (
        (StuckKind.UNANSWERED, asked & (Case.state == CaseState.ON_HOLD), asked_at),
        (StuckKind.WITHDRAWAL, Case.state.in_(sorted(BEING_READ)), Case.withdrawal_asked_at),
    )
    for kind, condition, since in kinds:
        rows = session.execute(
            select(Site.site_id, site_name(language), CaseStudy.study_uid, since)
            .join(Case, Case.site_id == Site.site_id)
            .join(CaseStudy, CaseStudy.case_id == Case.case_id)
            .where(Site.site_id.in_(sites), condition, is_first_study(), since < now - SITE_SILENT_AFTER)
            .order_by(since)
            .limit(STUCK_MAX)
        )
        for site_id, name, study_uid, at in rows:
            yield Stuck(kind, site_id, name, study_uid, at)


def _missing_targets(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield reports that are at home, while another of the clinic's systems does not take them."""
    delivered = aliased(DocumentReceipt)
    got_since = exists().where(
        delivered.document_id == DocumentReceipt.document_id,
        delivered.target == DocumentReceipt.target,
        delivered.step == ReceiptStep.DELIVERED,
    )
    rows = session.execute(
        select(Site.site_id, site_name(language), CaseStudy.study_uid, DocumentReceipt)
        .join(Case, Case.site_id == Site.site_id)
        .join(CaseStudy, CaseStudy.case_id == Case.case_id)
        .join(Document, Document.case_id == Case.case_id)
        .join(DocumentReceipt, DocumentReceipt.document_id == Document.document_id)
        .where(
            Site.site_id.in_(sites),
            Case.state == CaseState.ACKNOWLEDGED,
            DocumentReceipt.step == ReceiptStep.FAILED,
            DocumentReceipt.target != SPOOL_TARGET,
            DocumentReceipt.received_at > now - FORGET_AFTER,
            Case.signed_at < now - UNDELIVERED_AFTER,
            ~got_since,
            is_first_study(),
        )
        .ext(distinct_on(CaseStudy.study_uid, DocumentReceipt.target))
        .order_by(CaseStudy.study_uid, DocumentReceipt.target, DocumentReceipt.received_at)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, receipt in rows:
        why = (receipt.reason, receipt.code, receipt.params)
        yield Stuck(StuckKind.UNDELIVERED, site_id, name, study_uid, receipt.received_at, *why)


def _late_images(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield signed cases to which images came after the signature, so that nobody has read them."""
    rows = session.execute(
        select(Site.site_id, site_name(language), CustodyEvent.study_uid, func.max(CustodyEvent.received_at))
        .join(CustodyEvent, CustodyEvent.site_id == Site.site_id)
        .join(Case, Case.case_id == CustodyEvent.case_id)
        .where(
            Site.site_id.in_(sites),
            CustodyEvent.hop == Hop.LATE_IMAGES,
            CustodyEvent.received_at > now - FORGET_AFTER,
            CustodyEvent.received_at > Case.signed_at,
            Case.state.in_(SIGNED),
        )
        .group_by(Site.site_id, CustodyEvent.study_uid)
        .order_by(func.max(CustodyEvent.received_at))
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, since in rows:
        yield Stuck(StuckKind.LATE_IMAGES, site_id, name, study_uid, since)


def _stalled_transfers(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield the newest transfer of each study that has begun, is not whole, and of which nothing comes any more."""
    heard_of_packs = (
        select(func.max(func.greatest(Grant.created_at, GrantedPack.committed_at)))
        .outerjoin(GrantedPack, GrantedPack.grant_id == Grant.grant_id)
        .where(Grant.transfer_id == Transfer.transfer_id)
        .correlate(Transfer)
        .scalar_subquery()
    )
    heard_at = func.greatest(Transfer.declared_at, heard_of_packs)
    newest = (
        select(Site.site_id, site_name(language).label("name"), Transfer.study_uid, heard_at.label("heard_at"))
        .join(Transfer, Transfer.site_id == Site.site_id)
        .where(Site.site_id.in_(sites), _is_not_whole())
        .ext(distinct_on(Site.site_id, Transfer.study_uid))
        .order_by(Site.site_id, Transfer.study_uid, Transfer.declared_at.desc())
        .subquery()
    )
    stalled = select(newest).where(newest.c.heard_at < now - STALLED_AFTER).order_by(newest.c.heard_at)
    for site_id, name, study_uid, since in session.execute(stalled.limit(STUCK_MAX)):
        yield Stuck(StuckKind.STALLED, site_id, name, study_uid, since)


def _refused_packs(session: Session, sites: frozenset[str], language: str) -> Iterator[Stuck]:
    """Yield packs that did not prove, of transfers that are still not whole."""
    since = func.coalesce(GrantedPack.committed_at, Grant.created_at)
    rows = session.execute(
        select(Site.site_id, site_name(language), Transfer.study_uid, since, GrantedPack)
        .join(Transfer, Transfer.site_id == Site.site_id)
        .join(Grant, Grant.transfer_id == Transfer.transfer_id)
        .join(GrantedPack, GrantedPack.grant_id == Grant.grant_id)
        .where(
            Site.site_id.in_(sites),
            GrantedPack.state == "refused",
            _is_not_whole(),
            is_unseen(Transfer.site_id, Transfer.study_uid, func.coalesce(GrantedPack.refusal_code, ""), since),
        )
        .order_by(since)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, at, pack in rows:
        yield Stuck(
            StuckKind.REFUSED_PACK,
            site_id,
            name,
            study_uid,
            at,
            reason=pack.refusal_reason or "",
            code=pack.refusal_code or "",
            instance_count=len(pack.sop_instance_uids),
        )


def _is_not_whole() -> ColumnElement[bool]:
    """Return the condition that a Transfer misses instances which no later transfer of its study has settled.

    A gateway that sets an instance aside declares the rest anew, under a smaller manifest: the transfer before stays
    as it was for ever.
    """
    later = aliased(Transfer)
    settled = exists().where(
        later.site_id == Transfer.site_id,
        later.study_uid == Transfer.study_uid,
        later.state == TransferState.VERIFIED,
        later.declared_at > Transfer.declared_at,
    )
    return and_(Transfer.state != TransferState.VERIFIED, ~settled)


def _quarantined(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield by study and reason what was set aside or refused, by gateways or here, and has not come since."""
    code = code_of_event()
    rows = session.execute(
        _set_aside(sites, language, now, code)
        .group_by(Site.site_id, CustodyEvent.study_uid, code)
        .order_by(func.max(CustodyEvent.received_at))
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, reason_code, since, count in rows:
        yield Stuck(StuckKind.QUARANTINED, site_id, name, study_uid, since, code=reason_code, instance_count=count)


def _set_aside(
    sites: frozenset[str], language: str, now: datetime, code: ColumnElement[str]
) -> Select[str, str, str, str, datetime, int]:
    first_at = func.min(CustodyEvent.received_at)
    return (
        select(Site.site_id, site_name(language), CustodyEvent.study_uid, code, first_at, func.count())
        .join(CustodyEvent, CustodyEvent.site_id == Site.site_id)
        .where(
            Site.site_id.in_(sites),
            CustodyEvent.hop.in_((Hop.QUARANTINED, Hop.REFUSED)),
            # The hub's own lines without an instance are about packs, which are listed by themselves.
            or_(
                CustodyEvent.place.startswith(PLACE_GATEWAY, autoescape=True),
                CustodyEvent.sop_instance_uid.is_not(None),
            ),
            CustodyEvent.received_at > now - FORGET_AFTER,
            or_(CustodyEvent.sop_instance_uid.is_(None), ~came_since()),
            is_unseen(CustodyEvent.site_id, CustodyEvent.study_uid, code, CustodyEvent.received_at),
        )
    )


def _priors(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield one line for each site whose PACS has failed for a day: the request that has waited longest."""
    rows = session.execute(
        select(Site.site_id, site_name(language), PriorRequest)
        .join(PriorRequest, PriorRequest.site_id == Site.site_id)
        .where(
            Site.site_id.in_(sites),
            PriorRequest.state == "failed",
            PriorRequest.requested_at < now - PRIORS_FAIL_AFTER,
            PriorRequest.changed_at > now - FORGET_AFTER,
        )
        .ext(distinct_on(Site.site_id))
        .order_by(Site.site_id, PriorRequest.requested_at)
    )
    for site_id, name, request in rows:
        yield Stuck(
            StuckKind.PRIORS, site_id, name, request.study_uid, request.requested_at, request.reason, request.code
        )


def _identities(session: Session, sites: frozenset[str], language: str, now: datetime) -> Iterator[Stuck]:
    """Yield the study that contradicts what was said before of its patient number, for each such number."""
    since: Any = Patient.contradicted_at  # rows without one are left out
    rows = session.execute(
        select(Site.site_id, site_name(language), Patient.contradicting_study_uid, since)
        .join(Patient, Patient.site_id == Site.site_id)
        .where(Site.site_id.in_(sites), since > now - FORGET_AFTER)
        .order_by(since)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, contradicted_at in rows:
        yield Stuck(StuckKind.IDENTITY, site_id, name, study_uid, contradicted_at)


def _doubted(session: Session, sites: frozenset[str], language: str) -> Iterator[Stuck]:
    """Yield the studies of which it is open whose they are: those that wait, and emergencies that go on."""
    since: Any = func.min(IdentityConflict.found_at)
    rows = session.execute(
        select(Site.site_id, site_name(language), IdentityConflict.study_uid, since, Case.lane)
        .join(Case, Case.site_id == Site.site_id)
        .join(IdentityConflict, IdentityConflict.case_id == Case.case_id)
        .where(
            Site.site_id.in_(sites),
            Case.identity_doubted_at.is_not(None),
            Case.state.not_in(sorted(OVER)),
            IdentityConflict.ended_at.is_(None),
        )
        .group_by(Site.site_id, IdentityConflict.study_uid, Case.lane)
        .order_by(since)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, at, lane in rows:
        code = "identity_held" if may_wait(lane) else "identity_goes_on"
        yield Stuck(StuckKind.IDENTITY_CONFLICT, site_id, name, study_uid, at, code=code)


def _damaged(session: Session, sites: frozenset[str], language: str) -> Iterator[Stuck]:
    """Yield the studies of which stored instances cannot be given any more, with how many they are."""
    since: Any = func.min(Pack.condition_since)
    lost = func.jsonb_array_length(Pack.damaged_uids)
    rows = session.execute(
        select(Site.site_id, site_name(language), Study.study_uid, since, func.sum(lost), func.max(Pack.condition))
        .join(Study, Study.site_id == Site.site_id)
        .join(Pack, Pack.study_id == Study.study_id)
        .where(Site.site_id.in_(sites), Pack.condition != SOUND, lost > 0)
        .group_by(Site.site_id, Study.study_uid)
        .order_by(since)
        .limit(STUCK_MAX)
    )
    for site_id, name, study_uid, at, count, condition in rows:
        yield Stuck(
            StuckKind.DAMAGED, site_id, name, study_uid, at, code=f"stored_{condition}", instance_count=int(count)
        )


def _dead_jobs(session: Session, sites: frozenset[str], language: str) -> Iterator[Stuck]:
    """Yield the studies that wait for a job which failed for good; no id is that of a pack, a task and a report."""
    of_pack = (
        select(DeadJob, Transfer.site_id, Transfer.study_uid)
        .join(GrantedPack, GrantedPack.granted_pack_id == DeadJob.subject_id)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
        .where(Transfer.site_id.in_(sites))
    )
    of_task = (
        select(DeadJob, CaseStudy.site_id, CaseStudy.study_uid)
        .join(ReadingTask, ReadingTask.reading_task_id == DeadJob.subject_id)
        .join(CaseStudy, CaseStudy.case_id == ReadingTask.case_id)
        .where(CaseStudy.site_id.in_(sites), is_first_study())
    )
    of_report = (
        select(DeadJob, CaseStudy.site_id, CaseStudy.study_uid)
        .join(Report, Report.report_id == DeadJob.subject_id)
        .join(CaseStudy, CaseStudy.case_id == Report.case_id)
        .where(CaseStudy.site_id.in_(sites), is_first_study())
    )
    names = dict(session.execute(select(Site.site_id, site_name(language)).where(Site.site_id.in_(sites))).all())
    for about in (of_pack, of_task, of_report):
        waiting = about.where(OPEN_DEAD_JOB).order_by(DeadJob.failed_at).limit(STUCK_MAX)
        for dead, site_id, study_uid in session.execute(waiting):
            reason = f"{dead.job} ({dead.dead_job_id}): {dead.reason}"
            yield Stuck(StuckKind.DEAD_JOB, site_id, names[site_id], study_uid, dead.failed_at, reason, code=dead.job)
