"""What the scheduler writes into object storage so that an empty catalogue can be made again from it.

Durable: one object for each revision of a study, and the records of packs that were catalogued before there were
records. Each is written first and noted in the database after: what a killed process leaves is written again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from reading_queue.services.hub import Hub
from storage.catalogue import transfers
from storage.catalogue.pack_records import PackRecord, RevisionRecord, digest_of
from storage.catalogue.tables import Grant, GrantedPack, Instance, Pack, Series, Study, Transfer
from storage.contract.identifiers import SiteId, Uid
from storage.contract.manifest import InstanceEntry, Manifest
from storage.ledger.tables import Site

BATCH: Final = 20  # objects that one run of a sweep writes

_log = structlog.get_logger(__name__)


def complete_records(hub: Hub) -> int:
    """Write the records of packs that have none; return how many. In the order of their numbers, a few at a time."""
    with hub.transaction() as session:
        without = select(Pack.pack_id).where(Pack.record_sha256.is_(None)).order_by(Pack.number).limit(BATCH)
        records = {pack_id: _record_of(session, pack_id) for pack_id in session.scalars(without)}
    for pack_id, record in records.items():
        data = record.to_bytes()
        hub.objects.put(record.key, data, len(data))
        with hub.transaction() as session:
            known = update(Pack).where(Pack.pack_id == pack_id, Pack.record_sha256.is_(None))
            session.execute(known.values(record_sha256=digest_of(data)))
        _log.info("pack_record_completed", pack_id=pack_id)
    return len(records)


def record_revisions(hub: Hub) -> int:
    """Tell object storage of studies whose revision rose; return of how many."""
    with hub.transaction() as session:
        risen = select(Study).where(Study.revision > Study.recorded_revision).limit(BATCH)
        studies = session.scalars(risen).all()
    for study in studies:
        record = RevisionRecord(
            site_id=SiteId(study.site_id),
            study_uid=Uid(study.study_uid),
            revision=study.revision,
            instance_count=study.revision_instance_count,
            catalogued_at=study.catalogued_at,
        )
        data = record.model_dump_json().encode()
        hub.objects.put(record.key, data, len(data))
        with hub.transaction() as session:
            told = update(Study).where(Study.study_id == study.study_id, Study.recorded_revision < study.revision)
            session.execute(told.values(recorded_revision=study.revision))
    return len(studies)


def _record_of(session: Session, pack_id: str) -> PackRecord:
    """Return the record of a pack that was catalogued without one, from what the database knows of its arrival."""
    pack, study, site = session.execute(
        select(Pack, Study, Site)
        .join(Study, Study.study_id == Pack.study_id)
        .join(Site, Site.site_id == Study.site_id)
        .where(Pack.pack_id == pack_id)
    ).one()
    arrival = session.execute(
        select(GrantedPack.sop_instance_uids, Transfer.manifest)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
        .where(
            Transfer.site_id == study.site_id,
            Transfer.study_uid == study.study_uid,
            GrantedPack.pack_sha256 == pack.pack_sha256,
            GrantedPack.state == transfers.VERIFIED,
        )
        .order_by(GrantedPack.verified_at, Grant.number)
        .limit(1)
    ).first()
    manifest = None if arrival is None else Manifest.model_validate(arrival[1])
    entries = _proved_entries(session, pack, study.first_received_at)
    if manifest is not None and arrival is not None:
        named = set(arrival[0])
        declared = {one.sop_instance_uid: one for one in manifest.instances if one.sop_instance_uid in named}
        entries = {uid: _with_proof(one, entries.get(uid)) for uid, one in declared.items()}
    return PackRecord(
        number=pack.number,
        verified_at=pack.verified_at,
        site_id=SiteId(study.site_id),
        time_zone=site.time_zone,
        study_uid=Uid(study.study_uid),
        pack_sha256=pack.pack_sha256,
        size_bytes=pack.size_bytes,
        purpose="read" if manifest is None else manifest.purpose,
        first_received_at=study.first_received_at
        if manifest is None
        else min(one.received_at for one in manifest.instances),
        entries=tuple(entries[uid] for uid in sorted(entries)),
    )


def _proved_entries(session: Session, pack: Pack, received_at: datetime) -> dict[str, InstanceEntry]:
    rows = session.execute(
        select(Instance, Series.series_uid)
        .join(Series, Series.series_id == Instance.series_id)
        .where(Instance.pack_id == pack.pack_id)
    )
    names = InstanceEntry.model_fields.keys() - {"series_uid", "received_at"}
    return {
        row.sop_instance_uid: InstanceEntry(
            series_uid=series_uid, received_at=received_at, **{name: getattr(row, name) for name in names}
        )
        for row, series_uid in rows
    }


def _with_proof(declared: InstanceEntry, proved: InstanceEntry | None) -> InstanceEntry:
    return declared if proved is None else proved.model_copy(update={"received_at": declared.received_at})
