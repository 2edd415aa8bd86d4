"""What a coordinator sees of retention: the rules, what is due and what soon will be, holds, requests, deletions.

Reads only, but for the audit line that a look at one study writes; `retention` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Account
from reading_queue.domain.retention import LEGAL_MINIMUM_YEARS, RetentionClass, Rules, WhyKept
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.holdings.retention import LISTED_MAX, Kept, audit_keeping, judge, select_old
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from storage.catalogue.keeping_tables import Deletion, DeletionRequest, Hold
from storage.catalogue.tables import SOUND, Pack, Patient, Study
from storage.ledger.tables import Site

SOON: Final = timedelta(days=365)
OPEN: Final = ("requested", "approved")


@dataclass(frozen=True, slots=True)
class Rule:
    """For how many years images of one class are kept, and what the law demands."""

    kind: RetentionClass
    years: int
    legal_years: int


@dataclass(frozen=True, slots=True)
class HoldView:
    """One open hold."""

    hold_id: str
    site_id: str
    study_uid: str
    reason: str
    placed_by: str
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request to delete; `is_own`: the viewer asked for it, and cannot decide about it."""

    request_id: str
    site_id: str
    study_uid: str
    state: str
    reason: str
    requested_by: str
    requested_at: datetime
    is_own: bool


@dataclass(frozen=True, slots=True)
class DeletionView:
    """One study that was deleted."""

    site_id: str
    study_uid: str
    reason: str
    requested_by: str
    approved_by: str
    deleted_at: datetime
    instance_count: int


@dataclass(frozen=True, slots=True)
class RetentionView:
    """All of it, of the viewer's sites."""

    rules: tuple[Rule, ...]
    due: tuple[Kept, ...]
    soon: tuple[Kept, ...]
    holds: tuple[HoldView, ...]
    requests: tuple[RequestView, ...]
    deletions: tuple[DeletionView, ...]
    site_names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StudyKeeping:
    """How one study is kept."""

    kept: Kept
    site_name: str
    patient_number: str
    patient_name: str
    modalities: tuple[str, ...]
    description: str
    instance_count: int
    size_bytes: int
    packs: int
    oldest_check_at: datetime | None
    unsound: int
    instances_lost: int
    holds: tuple[HoldView, ...]
    requests: tuple[RequestView, ...]


def rules_of(hub: Hub) -> tuple[Rule, ...]:
    """Return the rules that hold."""
    rules = Rules(hub.policy.keep_outpatient_years, hub.policy.keep_inpatient_years)
    return tuple(Rule(kind, rules.years_of(kind), LEGAL_MINIMUM_YEARS[kind]) for kind in RetentionClass)


def retention_view(hub: Hub, viewer: Viewer) -> RetentionView:
    """Return the whole picture, each list at most LISTED_MAX long. Raises Forbidden without oversight."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        old = select_old(hub, sites, now, SOON).limit(LISTED_MAX)
        aged = [judge(session, hub, study, now) for study in session.scalars(old)]
        soon_until = (now + SOON).date()
        return RetentionView(
            rules=rules_of(hub),
            due=tuple(one for one in aged if one.obstacle is None),
            soon=tuple(one for one in aged if one.obstacle is WhyKept.NOT_DUE and one.keep_until <= soon_until),
            holds=_holds(session, sites),
            requests=_requests(session, viewer, sites),
            deletions=_deletions(session, sites),
            site_names=_site_names(session, viewer.language, sites),
        )


def study_keeping(hub: Hub, viewer: Viewer, site_id: str, study_uid: str) -> StudyKeeping:
    """Return how a study is kept; it names the patient, so that the look is audited.

    Raises:
        Forbidden, NotFound: it is no study of the viewer's sites.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        found = select(Study, Patient, site_name(viewer.language)).join(Patient, Patient.patient_id == Study.patient_id)
        found = found.join(Site, Site.site_id == Study.site_id)
        row = session.execute(found.where(Study.site_id == site_id, Study.study_uid == study_uid)).one_or_none()
        if row is None or site_id not in visible_sites(session, viewer, now):
            raise NotFound("there is no such study, or you may not see it")
        study, patient, name = row
        audit_keeping(session, now, viewer, "R", site_id, study_uid, code=PATIENT_RECORD)
        lost = func.coalesce(func.sum(func.jsonb_array_length(Pack.damaged_uids)), 0)
        packs, checked_at, unsound, instances_lost = session.execute(
            select(func.count(), func.min(Pack.checked_at), func.count().filter(Pack.condition != SOUND), lost).where(
                Pack.study_id == study.study_id
            )
        ).one()
        return StudyKeeping(
            kept=judge(session, hub, study, now),
            site_name=name,
            patient_number=patient.patient_number,
            patient_name=study.patient_name,
            modalities=tuple(study.modalities),
            description=study.description,
            instance_count=study.instance_count,
            size_bytes=study.size_bytes,
            packs=packs,
            oldest_check_at=checked_at,
            unsound=unsound,
            instances_lost=int(instances_lost),
            holds=_holds(session, {site_id}, study_uid),
            requests=_requests(session, viewer, {site_id}, study_uid),
        )


def _holds(session: Session, sites: Iterable[str], study_uid: str | None = None) -> tuple[HoldView, ...]:
    query = select(Hold).where(Hold.site_id.in_(sites), Hold.released_at.is_(None))
    if study_uid is not None:
        query = query.where(Hold.study_uid == study_uid)
    rows = session.scalars(query.order_by(Hold.placed_at.desc()).limit(LISTED_MAX)).all()
    names = _names(session, (row.placed_by for row in rows))
    return tuple(
        HoldView(
            row.hold_id, row.site_id, row.study_uid, row.reason, names.get(row.placed_by, row.placed_by), row.placed_at
        )
        for row in rows
    )


def _requests(
    session: Session, viewer: Viewer, sites: Iterable[str], study_uid: str | None = None
) -> tuple[RequestView, ...]:
    query = select(DeletionRequest).where(DeletionRequest.site_id.in_(sites), DeletionRequest.state.in_(OPEN))
    if study_uid is not None:
        query = query.where(DeletionRequest.study_uid == study_uid)
    rows = session.scalars(query.order_by(DeletionRequest.requested_at).limit(LISTED_MAX)).all()
    names = _names(session, (row.requested_by for row in rows))
    return tuple(
        RequestView(
            row.request_id,
            row.site_id,
            row.study_uid,
            row.state,
            row.reason,
            names.get(row.requested_by, row.requested_by),
            row.requested_at,
            row.requested_by == viewer.account_id,
        )
        for row in rows
    )


def _deletions(session: Session, sites: Iterable[str]) -> tuple[DeletionView, ...]:
    query = select(Deletion).where(Deletion.site_id.in_(sites)).order_by(Deletion.deleted_at.desc()).limit(LISTED_MAX)
    rows = session.scalars(query).all()
    names = _names(session, (row.content[key] for row in rows for key in ("requested_by", "approved_by")))
    return tuple(
        DeletionView(
            row.site_id,
            row.study_uid,
            row.content["reason"],
            names.get(row.content["requested_by"], row.content["requested_by"]),
            names.get(row.content["approved_by"], row.content["approved_by"]),
            row.deleted_at,
            len(row.content["stored_sha256s"]),
        )
        for row in rows
    )


def _names(session: Session, account_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of accounts by id."""
    query = select(Account.account_id, Account.display_name).where(Account.account_id.in_(set(account_ids)))
    return {row.account_id: row.display_name for row in session.execute(query)}


def _site_names(session: Session, language: str, sites: Iterable[str]) -> dict[str, str]:
    query = select(Site.site_id, site_name(language).label("name")).where(Site.site_id.in_(sites))
    return {row.site_id: row.name for row in session.execute(query)}
