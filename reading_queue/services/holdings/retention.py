"""Holds, and the deletion of what need not be kept any more: one person asks, another one decides.

Durable: every hold and request with who and when; a deletion first as an object under `deletions/`, then in the
catalogue.
What was begun is finished by the job, however often it is cut off. Reports are no images and stay.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, Select, and_, cast, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased
from sqlalchemy.types import Date

from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.retention import Facts, Rules, WhyKept, find_obstacle, keep_until
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Conflict, HubError, Invalid, NotFound, ReauthenticationNeeded
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.hub import Hub, launch
from storage.catalogue.keeping_records import HoldRecord
from storage.catalogue.keeping_tables import Deletion, DeletionRequest, Hold
from storage.catalogue.tables import Study
from storage.contract.identifiers import SiteId, Uid, new_id
from storage.ledger.tables import AuditEvent, Site

ERASE_JOB: Final = "studies.erase"
STUDY_DELETED: Final = "110105"  # DICOM Study Deleted (PS3.15 A.5)
REASON_CHARACTERS: Final = (4, 200)
LISTED_MAX: Final = 200
BATCH: Final = 20
SHORT_VISITS: Final = ("O", "E")  # HL7 table 0004: outpatients, emergencies
CLOSED: Final = (CaseState.ACKNOWLEDGED, CaseState.CANCELLED)

_log = structlog.get_logger(__name__)


class MustBeKept(Conflict):
    """This study must be kept."""

    code = "must_be_kept"


class SamePerson(Conflict):
    """Another person must decide about what you have asked for."""

    code = "same_person"


class StudyDeleted(HubError):
    """This study was deleted here when its time was over; it is not taken in again."""

    code = "study_deleted"
    status = 410


@dataclass(frozen=True, slots=True)
class Kept:
    """One study and until when it is kept; `obstacle` is why it may not be deleted today."""

    site_id: str
    study_uid: str
    study_date: date | None
    keep_until: date
    obstacle: WhyKept | None


@dataclass(frozen=True, slots=True)
class Request:
    """One open request to delete."""

    request_id: str
    site_id: str
    study_uid: str
    state: str
    reason: str
    requested_by: str
    requested_at: datetime


def list_due(hub: Hub, viewer: Viewer) -> list[Kept]:
    """Return the studies that may be deleted today, those that were taken longest ago first, at most LISTED_MAX."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        old = select_old(hub, visible_sites(session, viewer, now), now).limit(LISTED_MAX)
        found = [judge(session, hub, study, now) for study in session.scalars(old)]
    return [one for one in found if one.obstacle is None]


def list_requests(hub: Hub, viewer: Viewer) -> list[Request]:
    """Return the requests that wait for another person or for their job, oldest first."""
    require(viewer, *WITH_OVERSIGHT)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, hub.clock())
        query = select(DeletionRequest).where(
            DeletionRequest.site_id.in_(sites), DeletionRequest.state.in_(("requested", "approved"))
        )
        return [
            Request(
                row.request_id, row.site_id, row.study_uid, row.state, row.reason, row.requested_by, row.requested_at
            )
            for row in session.scalars(query.order_by(DeletionRequest.requested_at).limit(LISTED_MAX))
        ]


def place_hold(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, reason: str) -> str:
    """Keep a study from being deleted until the hold is released; return the hold's id.

    Raises:
        NotFound: there is no such study of the sites that the viewer oversees.
        Conflict: it is being deleted.
        Invalid: the reason says nothing.
    """
    now = hub.clock()
    hold_id = new_id()
    with hub.transaction() as session:
        get_overseen(session, viewer, site_id, study_uid, now)
        of_study = (DeletionRequest.site_id == site_id) & (DeletionRequest.study_uid == study_uid)
        if session.scalar(select(exists().where(of_study, DeletionRequest.state == "approved"))):
            raise Conflict("two persons have decided to delete this study, and that has begun")
        session.add(
            Hold(
                hold_id=hold_id,
                site_id=site_id,
                study_uid=study_uid,
                reason=checked_reason(reason),
                placed_by=viewer.account_id,
                placed_at=now,
                is_recorded=False,
            )
        )
        audit_keeping(session, now, viewer, "U", site_id, study_uid, hold=hold_id)
    record_holds(hub)
    return hold_id


def release_hold(hub: Hub, viewer: Viewer, hold_id: str) -> None:
    """End a hold; one that has ended stays as it is.

    Raises:
        NotFound: there is no such hold of the sites that the viewer oversees.
        ReauthenticationNeeded: the password was given too long ago.
    """
    now = hub.clock()
    with hub.transaction() as session:
        hold = session.get(Hold, hold_id, with_for_update=True)
        if hold is None:
            raise NotFound("there is no such hold")
        get_overseen(session, viewer, hold.site_id, hold.study_uid, now)
        require_recent(hub, viewer, now)
        if hold.released_at is None:
            hold.released_by, hold.released_at, hold.is_recorded = viewer.account_id, now, False
            audit_keeping(session, now, viewer, "U", hold.site_id, hold.study_uid, released=hold_id)
    record_holds(hub)


def record_holds(hub: Hub) -> int:
    """Tell object storage of holds that were placed or released; return of how many."""
    with hub.transaction() as session:
        holds = session.scalars(select(Hold).where(~Hold.is_recorded).limit(BATCH)).all()
    for hold in holds:
        record = HoldRecord(
            hold_id=hold.hold_id,
            site_id=SiteId(hold.site_id),
            study_uid=Uid(hold.study_uid),
            reason=hold.reason,
            placed_by=hold.placed_by,
            placed_at=hold.placed_at,
            released_by=hold.released_by,
            released_at=hold.released_at,
        )
        data = record.model_dump_json().encode()
        hub.objects.put(record.key, data, len(data))
        with hub.transaction() as session:
            row = session.get_one(Hold, hold.hold_id, with_for_update=True)
            row.is_recorded = row.released_at == hold.released_at
    return len(holds)


def request_deletion(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, reason: str) -> str:
    """Ask for a study to be deleted; return the request's id, also of one that is open already.

    Raises:
        MustBeKept: its time is not over, it is held, or it is being read.
        NotFound, Invalid, ReauthenticationNeeded: as for holds.
    """
    now = hub.clock()
    with hub.transaction() as session:
        study = get_overseen(session, viewer, site_id, study_uid, now)
        require_recent(hub, viewer, now)
        _require_deletable(session, hub, study, now)
        of_study = (DeletionRequest.site_id == site_id) & (DeletionRequest.study_uid == study_uid)
        is_open = DeletionRequest.state.in_(("requested", "approved"))
        known = session.scalars(select(DeletionRequest.request_id).where(of_study, is_open)).one_or_none()
        if known is not None:
            return known
        request_id = new_id()
        session.add(
            DeletionRequest(
                request_id=request_id,
                site_id=site_id,
                study_uid=study_uid,
                reason=checked_reason(reason),
                state="requested",
                requested_by=viewer.account_id,
                requested_at=now,
            )
        )
        audit_keeping(session, now, viewer, "D", site_id, study_uid, request=request_id, step="requested")
        try:
            session.flush()
        except IntegrityError as exc:
            raise Conflict from exc
    return request_id


def decide_deletion(hub: Hub, viewer: Viewer, request_id: str, *, approve: bool) -> None:
    """Approve what another person has asked for, or refuse it; deleting begins with the approval.

    Raises:
        SamePerson: the viewer asked for it; only refusing it is possible then, by somebody else.
        MustBeKept: it has been held, or opened, since it was asked for.
        Conflict: it was decided already.
    """
    now = hub.clock()
    with hub.transaction() as session:
        request = session.get(DeletionRequest, request_id, with_for_update=True)
        if request is None:
            raise NotFound("there is no such request")
        study = get_overseen(session, viewer, request.site_id, request.study_uid, now)
        require_recent(hub, viewer, now)
        if request.requested_by == viewer.account_id:
            raise SamePerson
        if request.state != "requested":
            raise Conflict("this request was decided already")
        if approve:
            _require_deletable(session, hub, study, now)
            launch(session, now, ERASE_JOB, request_id=request_id)
        request.state = "approved" if approve else "refused"
        request.decided_by, request.decided_at = viewer.account_id, now
        audit_keeping(
            session, now, viewer, "D", request.site_id, request.study_uid, request=request_id, step=request.state
        )


def refuse_deleted(session: Session, site_id: str, study_uid: str) -> None:
    """Raise StudyDeleted when the site's study was deleted."""
    if is_deleted(session, site_id, study_uid):
        raise StudyDeleted


def is_deleted(session: Session, site_id: str, study_uid: str) -> bool:
    """Return whether the site's study was deleted when its time was over."""
    return session.get(Deletion, (site_id, study_uid)) is not None


def last_visit_of(patient_id: Any) -> ColumnElement[date]:
    """Return the day of the patient's last study: that of the images, else that of their arrival."""
    other = aliased(Study)
    day = func.max(func.coalesce(other.study_date, cast(func.timezone("UTC", other.first_received_at), Date)))
    return select(day).where(other.patient_id == patient_id).correlate(Study).scalar_subquery()


def select_old(hub: Hub, sites: Collection[str], now: datetime, ahead: timedelta = timedelta(0)) -> Select[Study]:
    """Select the studies whose time may be over, or soon will be, those that were taken longest ago first.

    None is left out that is free to go; a few that are not due yet are among them, which `judge` tells apart.
    """
    accession = (Study.accession_number != "") & (ClinicOrder.accession_number == Study.accession_number)
    is_short = exists().where(
        ClinicOrder.site_id == Study.site_id,
        (ClinicOrder.study_uid == Study.study_uid) | accession,
        ClinicOrder.content["visit_kind"].as_string().in_(SHORT_VISITS),
    )
    is_held = exists().where(
        Hold.site_id == Study.site_id, Hold.study_uid == Study.study_uid, Hold.released_at.is_(None)
    )
    last_visit = last_visit_of(Study.patient_id)

    def is_older(years: int) -> ColumnElement[bool]:
        return last_visit < (now + ahead + timedelta(days=1 - 365 * years)).date()  # a day more than any time zone

    is_old = is_older(hub.policy.keep_inpatient_years) | (is_older(hub.policy.keep_outpatient_years) & is_short)
    return select(Study).where(Study.site_id.in_(sites), ~is_held, is_old).order_by(Study.study_date.nulls_last())


def judge(session: Session, hub: Hub, study: Study, now: datetime) -> Kept:
    """Return until when a study is kept, and why it may not be deleted today."""
    facts = _facts_of(session, study)
    today = now.astimezone(ZoneInfo(session.get_one(Site, study.site_id).time_zone)).date()
    rules = Rules(hub.policy.keep_outpatient_years, hub.policy.keep_inpatient_years)
    obstacle = find_obstacle(facts, today, rules)
    return Kept(study.site_id, study.study_uid, study.study_date, keep_until(facts, rules), obstacle)


def _facts_of(session: Session, study: Study) -> Facts:
    of_study = and_(ClinicOrder.site_id == study.site_id, ClinicOrder.study_uid == study.study_uid)
    by_accession = and_(ClinicOrder.site_id == study.site_id, ClinicOrder.accession_number == study.accession_number)
    which = of_study if not study.accession_number else of_study | by_accession
    kinds = session.scalars(select(ClinicOrder.content["visit_kind"].as_string()).where(which))
    last_visit = session.scalar(select(last_visit_of(study.patient_id)))
    held = exists().where(Hold.site_id == study.site_id, Hold.study_uid == study.study_uid, Hold.released_at.is_(None))
    read = exists().where(
        CaseStudy.site_id == study.site_id,
        CaseStudy.study_uid == study.study_uid,
        CaseStudy.case_id == Case.case_id,
        Case.state.not_in(CLOSED),
    )
    return Facts(
        visit_kinds=frozenset(kind or "" for kind in kinds),
        last_visit=last_visit or study.first_received_at.date(),
        is_held=bool(session.scalar(select(held))),
        is_being_read=bool(session.scalar(select(read))),
    )


def _require_deletable(session: Session, hub: Hub, study: Study, now: datetime) -> None:
    kept = judge(session, hub, study, now)
    match kept.obstacle:
        case WhyKept.HELD:
            raise MustBeKept("this study is held; release the hold first")
        case WhyKept.BEING_READ:
            raise MustBeKept("this study is being read, or its report is not home yet")
        case WhyKept.NOT_DUE:
            raise MustBeKept(f"this study must be kept until {kept.keep_until.isoformat()}")


def get_overseen(session: Session, viewer: Viewer, site_id: str, study_uid: str, now: datetime) -> Study:
    """Return the study, locked. Raises Forbidden without oversight, NotFound when it is none of the viewer's sites."""
    require(viewer, *WITH_OVERSIGHT)
    of_study = select(Study).where(Study.site_id == site_id, Study.study_uid == study_uid).with_for_update()
    study = session.scalars(of_study).one_or_none() if site_id in visible_sites(session, viewer, now) else None
    if study is None:
        raise NotFound("there is no such study, or you may not see it")
    return study


def require_recent(hub: Hub, viewer: Viewer, now: datetime) -> None:
    """Raise ReauthenticationNeeded when the password was given too long ago."""
    if viewer.authenticated_at < now - timedelta(seconds=hub.policy.reauthentication_s):
        raise ReauthenticationNeeded


def checked_reason(reason: str) -> str:
    """Return why something is done, in one line. Raises Invalid when it says nothing, or too much."""
    words = " ".join(reason.split())
    shortest, longest = REASON_CHARACTERS
    if not shortest <= len(words) <= longest:
        raise Invalid(f"say why in {shortest} to {longest} characters")
    return words


def audit_keeping(
    session: Session,
    now: datetime,
    viewer: Viewer,
    action: str,
    site_id: str,
    study_uid: str,
    *,
    code: str = STUDY_DELETED,
    **detail: str,
) -> None:
    """Write who decided what about keeping a study; `detail` holds ids and codes only."""
    session.add(
        AuditEvent(
            at=now,
            event_code=code,
            action=action,
            account_id=viewer.account_id,
            object_kind="study",
            object_id=study_uid,
            site_id=site_id,
            detail=detail,
        )
    )
