"""Deletes for good what two persons have let go: the body of the job `studies.erase`.

Durable: first the tombstone under `deletions/`, then nothing of the study's objects, then its rows gone in one
transaction. What was begun is finished, however often it is cut off. Reports are no images and stay.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from sqlalchemy import ColumnElement, Select, delete, exists, or_, select
from sqlalchemy.orm import aliased

from reading_queue.services.arrival import custody
from reading_queue.services.arrival.deposit_leftovers import quarantine_prefix
from reading_queue.services.cases import casework
from reading_queue.services.holdings.retention import ERASE_JOB
from reading_queue.services.hub import Hub
from reading_queue.services.motion.sweeps import GRACE, in_hand, launch_all
from reading_queue.services.motion.turns import alone_with, name_of_study
from storage.catalogue.amendment_tables import Amendment, Refiling, RejectedInstance
from storage.catalogue.keeping_records import Tombstone
from storage.catalogue.keeping_tables import Deletion, DeletionRequest
from storage.catalogue.link_records import link_key
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import Grant, Instance, Pack, Patient, PreparedMetadata, Series, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import SiteId, Uid

_log = structlog.get_logger(__name__)


def erase(hub: Hub, request_id: str) -> None:
    """Delete an approved study for good: first the tombstone, then its objects with all versions, then its rows.

    Raises:
        StoreUnavailable: run it again, it goes on.
    """
    with hub.transaction() as session:
        request = session.get(DeletionRequest, request_id)
    if request is None or request.state != "approved":
        return
    with alone_with(hub, name_of_study(request.site_id, request.study_uid)):
        tombstone = _tombstone(hub, request)
        if tombstone is None:
            _log.error("study_to_erase_is_unknown", request_id=request_id)
            return
        data = tombstone.model_dump_json().encode()
        hub.objects.put(tombstone.key, data, len(data))
        for key in _keys_of(hub, request):
            hub.objects.erase(key)
        _erase_rows(hub, request, tombstone)


def relaunch_erasures(hub: Hub) -> int:
    """Launch again the deletions that were approved and whose job was lost; return how many."""
    now = hub.clock()
    lost = (DeletionRequest.state == "approved") & (DeletionRequest.decided_at < now - GRACE)
    ids = select(DeletionRequest.request_id).where(lost, ~in_hand(hub, ERASE_JOB, DeletionRequest.request_id, now))
    return launch_all(hub, now, ids.order_by(DeletionRequest.decided_at), ERASE_JOB, "request_id")


def _tombstone(hub: Hub, request: DeletionRequest) -> Tombstone | None:
    """Return what will be known of the study; None when it is not there."""
    now = hub.clock()
    with hub.transaction() as session:
        known = session.get(Deletion, (request.site_id, request.study_uid))
        of_study = (Study.site_id == request.site_id) & (Study.study_uid == request.study_uid)
        study = session.scalars(select(Study).where(of_study)).one_or_none()
        if known is not None or study is None:
            return None
        rows = session.execute(
            select(Instance.sop_instance_uid, Instance.stored_sha256)
            .join(Series, Series.series_id == Instance.series_id)
            .where(Series.study_id == study.study_id)
            .order_by(Instance.sop_instance_uid)
        ).all()
    return Tombstone(
        site_id=SiteId(request.site_id),
        study_uid=Uid(request.study_uid),
        deleted_at=now,
        reason=request.reason,
        requested_by=request.requested_by,
        approved_by=request.decided_by or "",
        stored_sha256s={row.sop_instance_uid: row.stored_sha256 for row in rows},
    )


def _keys_of(hub: Hub, request: DeletionRequest) -> Iterator[str]:
    yield from hub.objects.list_keys(f"studies/{request.site_id}/{request.study_uid}/")
    yield from hub.objects.list_keys(quarantine_prefix(request.site_id, request.study_uid))
    with hub.transaction() as session:
        packs = session.scalars(
            select(Pack.pack_id)
            .join(Study, Study.study_id == Pack.study_id)
            .where(Study.site_id == request.site_id, Study.study_uid == request.study_uid)
        ).all()
        links = session.scalars(_links_of_last_study(request)).all()
        grants = session.scalars(
            select(Grant.grant_id)
            .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
            .where(Transfer.site_id == request.site_id, Transfer.study_uid == request.study_uid)
        ).all()
    for grant_id in grants:  # packs that were refused
        yield from hub.objects.list_keys(f"quarantine/{grant_id}/")
    for pack_id in packs:
        yield from hub.objects.list_keys(f"quarantine/damaged/{pack_id}/")
    yield from map(link_key, links)


def _links_of_last_study(request: DeletionRequest) -> Select[str]:
    """Select the links of the study's patient when the record goes with the study: they name its number."""
    other = aliased(Study)
    has_other = exists().where(other.patient_id == Study.patient_id, other.study_id != Study.study_id)
    its_links = (PatientLink.patient_a == Study.patient_id) | (PatientLink.patient_b == Study.patient_id)
    of_study = (Study.site_id == request.site_id) & (Study.study_uid == request.study_uid)
    return select(PatientLink.link_id).join(Study, its_links).where(of_study, ~has_other, PatientLink.is_by_person)


def _is_needed() -> ColumnElement[bool]:
    """Return the condition that a Patient has studies, or stands in a merge."""
    other = aliased(Patient)
    return or_(
        exists().where(Study.patient_id == Patient.patient_id),
        exists().where(Refiling.own_patient_id == Patient.patient_id),
        exists().where(Refiling.filed_under_id == Patient.patient_id),
        exists().where(other.merged_into_id == Patient.patient_id),
        Patient.merged_into_id.is_not(None),
    )


def _erase_rows(hub: Hub, request: DeletionRequest, tombstone: Tombstone) -> None:
    now = hub.clock()
    with hub.transaction() as session:
        of_study = (Study.site_id == request.site_id) & (Study.study_uid == request.study_uid)
        study = session.scalars(select(Study).where(of_study).with_for_update()).one()
        series = select(Series.series_id).where(Series.study_id == study.study_id)
        session.execute(delete(Instance).where(Instance.series_id.in_(series)))
        refiling = session.get(Refiling, study.study_id)
        patients = {study.patient_id} | ({refiling.own_patient_id} if refiling is not None else set())
        for table in (PreparedMetadata, Refiling, Pack, Series):
            session.execute(delete(table).where(table.study_id == study.study_id))
        for amended in (RejectedInstance, Amendment):
            of_uid = (amended.site_id == request.site_id) & (amended.study_uid == request.study_uid)
            session.execute(delete(amended).where(of_uid))
        session.execute(delete(Study).where(Study.study_id == study.study_id))
        session.execute(delete(Patient).where(Patient.patient_id.in_(patients), ~_is_needed()))
        session.add(
            Deletion(
                site_id=request.site_id,
                study_uid=request.study_uid,
                deleted_at=tombstone.deleted_at,
                content=tombstone.model_dump(mode="json"),
            )
        )
        row = session.get_one(DeletionRequest, request.request_id, with_for_update=True)
        row.state = "done"
        custody.record(
            session,
            now,
            Hop.DELETED,
            event_key=f"hub:{Hop.DELETED}:{request.request_id}",
            site_id=request.site_id,
            study_uid=request.study_uid,
            case_id=casework.find_case_of(session, request.site_id, request.study_uid),
            detail={"instances": len(tombstone.stored_sha256s)},
        )
    _log.info("study_erased", request_id=request.request_id)
