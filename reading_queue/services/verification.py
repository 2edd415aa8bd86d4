"""How an uploaded pack is proved and catalogued: the body of the job `transfers.verify_pack`.

Durable: the pack at its final key, its headers beside it, and one transaction that catalogues it. Every step may be
repeated: keys follow from contents, and only a pack that is still `committed` is worked on. A process killed anywhere
leaves at most a copy that the next run makes again. Nothing that arrived is thrown away: a pack that does not prove
lies in `quarantine/` with its reason in the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.services import cases, custody
from reading_queue.services.hub import Hub
from reading_queue.services.pack_proof import PackClaim, PackRefused, ProvedPack, prove_pack
from reading_queue.services.settling import settle
from storage.catalogue import transfers
from storage.catalogue.holdings import compare_with_catalogue
from storage.catalogue.indexing import (
    InstanceConflict,
    PackFacts,
    find_pack,
    index_pack,
)
from storage.catalogue.tables import Grant, GrantedPack, Transfer
from storage.contract.hops import Hop
from storage.contract.manifest import Manifest
from storage.ledger.tables import Site
from storage.objects.protocol import ObjectMissing

_log = structlog.get_logger(__name__)


def verify_pack(hub: Hub, granted_pack_id: str) -> None:
    """Prove what object storage holds of a committed pack, catalogue it or refuse it; anything else is left alone.

    Raises:
        StoreUnavailable: run it again later.
    """
    claim = _load_claim(hub, granted_pack_id)
    if claim is None:
        return
    with _alone_with(hub, claim.object_key):
        if _is_committed(hub, claim):
            _prove_and_catalogue(hub, claim)
        _clean_up(hub, claim)


def _load_claim(hub: Hub, granted_pack_id: str) -> PackClaim | None:
    """Return what is claimed of a committed pack or one that is done; None before its commit."""
    query = (
        select(GrantedPack, Transfer, Site.time_zone)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
        .join(Site, Site.site_id == Transfer.site_id)
        .where(GrantedPack.granted_pack_id == granted_pack_id)
    )
    with hub.transaction() as session:
        found = session.execute(query).one_or_none()
    if found is None or found[0].state == transfers.GRANTED:
        _log.warning("pack_not_committed", granted_pack_id=granted_pack_id)
        return None
    pack, transfer, time_zone = found
    manifest = Manifest.model_validate(transfer.manifest)
    named = set(pack.sop_instance_uids)
    return PackClaim(
        granted_pack_id=granted_pack_id,
        grant_id=pack.grant_id,
        transfer_id=transfer.transfer_id,
        site_id=transfer.site_id,
        study_uid=transfer.study_uid,
        time_zone=time_zone,
        pack_sha256=pack.pack_sha256,
        size_bytes=pack.size_bytes,
        staging_key=pack.staging_key,
        entries={entry.sop_instance_uid: entry for entry in manifest.instances if entry.sop_instance_uid in named},
        first_received_at=min(entry.received_at for entry in manifest.instances),
    )


@contextmanager
def _alone_with(hub: Hub, object_key: str) -> Iterator[None]:
    """Let one process at a time work on an object; the lock goes with the connection if the process is killed.

    No transaction is open meanwhile: the store may be slow.
    """
    lock = func.hashtextextended(object_key, 0)
    with hub.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(select(func.pg_advisory_lock(lock)))
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(lock)))


def _is_committed(hub: Hub, claim: PackClaim) -> bool:
    with hub.transaction() as session:
        return session.get_one(GrantedPack, claim.granted_pack_id).state == transfers.COMMITTED


def _prove_and_catalogue(hub: Hub, claim: PackClaim) -> None:
    try:
        if not _in_catalogue(hub, claim):  # what was proved once is never overwritten
            _bring_in(hub, claim)
        proved = _prove(hub, claim)
        hub.objects.put(claim.headers_key, proved.headers_json, len(proved.headers_json))
        _catalogue(hub, claim, proved)
        _log.info("pack_verified", granted_pack_id=claim.granted_pack_id, transfer_id=claim.transfer_id)
    except PackRefused as refusal:
        _quarantine(hub, claim)
        _refuse(hub, claim, refusal)
        _log.warning("pack_refused", granted_pack_id=claim.granted_pack_id, code=refusal.code)


def _in_catalogue(hub: Hub, claim: PackClaim) -> bool:
    with hub.transaction() as session:
        return find_pack(session, claim.site_id, claim.study_uid, claim.pack_sha256) is not None


def _bring_in(hub: Hub, claim: PackClaim) -> None:
    try:
        hub.objects.copy(claim.staging_key, claim.object_key)
    except ObjectMissing as exc:
        raise PackRefused("missing", "the pack was committed but never arrived in object storage") from exc


def _prove(hub: Hub, claim: PackClaim) -> ProvedPack:
    size_bytes = hub.objects.stat(claim.object_key).size_bytes
    if size_bytes != claim.size_bytes:
        raise PackRefused("size_differs", f"declared with {claim.size_bytes} bytes, arrived with {size_bytes}")
    with hub.objects.open(claim.object_key) as chunks:
        return prove_pack(chunks, claim)


def _catalogue(hub: Hub, claim: PackClaim, proved: ProvedPack) -> None:
    now = hub.clock()
    facts = PackFacts(
        pack_sha256=claim.pack_sha256,
        object_key=claim.object_key,
        headers_key=claim.headers_key,
        size_bytes=claim.size_bytes,
        members=proved.members,
    )
    with hub.transaction() as session:
        transfer, pack = _lock(session, claim)
        try:
            index_pack(session, site_id=claim.site_id, patient=proved.patient, study=proved.study, pack=facts, now=now)
        except InstanceConflict as exc:
            raise PackRefused("conflicting_instance", str(exc)) from exc
        pack.state = transfers.VERIFIED
        pack.verified_at = now
        session.flush()
        manifest = Manifest.model_validate(transfer.manifest)
        settle(session, hub, transfer, manifest, compare_with_catalogue(session, manifest))


def _lock(session: Session, claim: PackClaim) -> tuple[Transfer, GrantedPack]:
    transfer = transfers.find_transfer_locked(session, claim.transfer_id)
    if transfer is None:
        raise LookupError(f"transfer {claim.transfer_id} vanished")
    return transfer, session.get_one(GrantedPack, claim.granted_pack_id)


def _quarantine(hub: Hub, claim: PackClaim) -> None:
    try:
        hub.objects.copy(claim.staging_key, claim.quarantine_key)
    except ObjectMissing:
        _log.warning("nothing_to_quarantine", granted_pack_id=claim.granted_pack_id)


def _refuse(hub: Hub, claim: PackClaim, refusal: PackRefused) -> None:
    with hub.transaction() as session:
        _, pack = _lock(session, claim)
        pack.state = transfers.REFUSED
        pack.refusal_code = refusal.code
        pack.refusal_reason = refusal.reason
        custody.record(
            session,
            hub.clock(),
            Hop.REFUSED,
            event_key=f"hub:{Hop.REFUSED}:{claim.granted_pack_id}",
            site_id=claim.site_id,
            study_uid=claim.study_uid,
            case_id=cases.find_case_of(session, claim.site_id, claim.study_uid),
            detail={"pack_sha256": claim.pack_sha256, "code": refusal.code, "reason": refusal.reason},
        )


def _clean_up(hub: Hub, claim: PackClaim) -> None:
    """Remove what is not needed any more: the upload, and a final copy that did not prove."""
    hub.objects.delete(claim.staging_key)
    if not _in_catalogue(hub, claim):
        hub.objects.delete(claim.object_key)
        hub.objects.delete(claim.headers_key)
