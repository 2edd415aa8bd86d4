"""How an uploaded pack is proved and catalogued: the body of the job `transfers.verify_pack`.

Durable: the pack at its final key, its headers and its record beside it, and one transaction that catalogues it. Every
step may be repeated: keys follow from contents, and only a pack that is still `committed` is worked on. A process
killed anywhere leaves at most a copy that the next run makes again. Nothing that arrived is thrown away: a pack that
does not prove lies in `quarantine/` with its reason in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import BinaryIO, Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.services.arrival import custody
from reading_queue.services.arrival.cataloguing import catalogue
from reading_queue.services.arrival.large_packs import (
    claims_of_parts,
    compose_parts,
    find_wrong_parts,
    remove_parts,
    set_aside,
)
from reading_queue.services.arrival.pack_proof import PackClaim, PackRefused, ProvedPack, prove_pack
from reading_queue.services.arrival.settling import VERIFY_LARGE_JOB, settle
from reading_queue.services.cases import cases, casework
from reading_queue.services.holdings.scrubbing import note_healed
from reading_queue.services.hub import Hub, launch
from reading_queue.services.motion.turns import Turn, alone_if_free, alone_with
from storage.catalogue import transfers
from storage.catalogue.holdings import compare_with_catalogue
from storage.catalogue.indexing import find_pack
from storage.catalogue.tables import SOUND, Grant, GrantedPack, Transfer
from storage.catalogue.transfers import grants_of_pack
from storage.contract.hops import Hop
from storage.ledger.tables import Site
from storage.objects.protocol import ObjectMissing
from storage.objects.ranged import open_range

_log = structlog.get_logger(__name__)

LARGE_PACKS: Final = "large packs"  # the name of the lock that lets one of them be verified at a time
LARGE_RETRY_AFTER: Final = timedelta(seconds=5)


def verify_pack(hub: Hub, granted_pack_id: str) -> None:
    """Prove what object storage holds of a committed pack, catalogue it or refuse it; anything else is left alone.

    Raises:
        StoreUnavailable: run it again later.
    """
    claim = _load_claim(hub, granted_pack_id)
    if claim is None:
        return
    with alone_with(hub, claim.object_key) as turn:
        _bring_home(hub, claim, turn)


def verify_large_pack(hub: Hub, granted_pack_id: str) -> None:
    """Do for a pack that came in parts what `verify_pack` does, one of them at a time in the whole hub.

    It takes minutes, and brokers deliver again what takes long: who finds another process at the same pack leaves it to
    that one, who finds one at another pack asks to be launched again. What a killed process leaves, the sweep launches.

    Raises:
        StoreUnavailable: run it again later.
    """
    claim = _load_claim(hub, granted_pack_id)
    if claim is None:
        return
    with alone_if_free(hub, claim.object_key) as turn:
        if turn is None:
            return
        with alone_if_free(hub, LARGE_PACKS) as first:
            if first is not None:
                _bring_home(hub, claim, turn)
            else:
                _launch_later(hub, granted_pack_id)


def _bring_home(hub: Hub, claim: PackClaim, turn: Turn) -> None:
    is_committed, condition = _look(hub, claim)
    in_catalogue = condition is not None
    if is_committed:
        in_catalogue = _prove_and_catalogue(hub, claim, turn, condition)
    _clean_up(hub, claim, in_catalogue=in_catalogue)


def _launch_later(hub: Hub, granted_pack_id: str) -> None:
    now = hub.clock()
    with hub.transaction() as session:
        launch(session, now, VERIFY_LARGE_JOB, due_at=now + LARGE_RETRY_AFTER, granted_pack_id=granted_pack_id)


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
        grants = () if found is None or found[0].parts is None else _grants_up_to(session, found[0], found[1])
        manifest = None if found is None else transfers.manifest_of(found[1])
    if found is None or manifest is None or found[0].state in (transfers.GRANTED, transfers.EXPIRED):
        _log.warning("pack_not_committed", granted_pack_id=granted_pack_id)
        return None
    pack, transfer, time_zone = found
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
        parts=claims_of_parts(pack, grants),
        purpose=manifest.purpose,
    )


def _grants_up_to(session: Session, pack: GrantedPack, transfer: Transfer) -> Sequence[GrantedPack]:
    """Return the grants of the pack that were given no later than this one, newest first."""
    grants = grants_of_pack(session, transfer.transfer_id, pack.pack_sha256)
    own = next(number for number, one in enumerate(grants) if one.granted_pack_id == pack.granted_pack_id)
    return grants[own:]


def _look(hub: Hub, claim: PackClaim) -> tuple[bool, str | None]:
    """Return whether the pack is to be proved, and how it was last found; None when it is not in the catalogue."""
    with hub.transaction() as session:
        is_committed = session.get_one(GrantedPack, claim.granted_pack_id).state == transfers.COMMITTED
        pack = find_pack(session, claim.site_id, claim.study_uid, claim.pack_sha256)
        return is_committed, None if pack is None else pack.condition


def _prove_and_catalogue(hub: Hub, claim: PackClaim, turn: Turn, condition: str | None) -> bool:
    """Return whether the pack is in the catalogue."""
    try:
        if condition is None:
            _bring_in(hub, claim)
        elif condition != SOUND:
            _bring_in_again(hub, claim)
        proved = _prove(hub, claim)  # what was proved once and is sound is never overwritten
        hub.objects.put(claim.headers_key, proved.headers_json, len(proved.headers_json))
        catalogue(hub, turn, claim, proved, lambda session, now: _settle(session, hub, claim, now))
    except PackRefused as refusal:
        _set_aside(hub, claim, refusal, in_catalogue=condition is not None)
        _refuse(hub, claim, refusal)
        _log.warning("pack_refused", granted_pack_id=claim.granted_pack_id, code=refusal.code)
        return condition is not None
    _log.info("pack_verified", granted_pack_id=claim.granted_pack_id, transfer_id=claim.transfer_id)
    return True


def _bring_in(hub: Hub, claim: PackClaim) -> None:
    if claim.parts:
        compose_parts(hub, claim)
        return
    try:
        hub.objects.copy(claim.staging_key, claim.object_key)
    except ObjectMissing as exc:
        raise PackRefused("missing", "the pack was committed but never arrived in object storage") from exc


def _bring_in_again(hub: Hub, claim: PackClaim) -> None:
    """Let what came take the place of a pack whose bytes were damaged, once it has proved where it lies now."""
    if claim.parts:
        hub.objects.erase(claim.object_key)  # its one instance is damaged, and a copy lies in quarantine
    else:
        try:
            _prove_at(hub, claim, claim.staging_key)
        except ObjectMissing as exc:
            raise PackRefused("missing", "the pack was committed but never arrived in object storage") from exc
    _bring_in(hub, claim)


def _prove(hub: Hub, claim: PackClaim) -> ProvedPack:
    try:
        return _prove_at(hub, claim, claim.object_key)
    except PackRefused as refusal:
        wrong = find_wrong_parts(hub, claim)
        if not wrong:
            raise
        words = f"{len(wrong)} of {len(claim.parts)} parts have another SHA-256 than declared"
        raise PackRefused(refusal.code, words, wrong) from refusal


def _prove_at(hub: Hub, claim: PackClaim, key: str) -> ProvedPack:
    size_bytes = hub.objects.stat(key).size_bytes
    if size_bytes != claim.size_bytes:
        raise PackRefused("size_differs", f"declared with {claim.size_bytes} bytes, arrived with {size_bytes}")

    def reopen(offset: int, length: int) -> BinaryIO:
        return open_range(hub.objects, key, offset, length)

    with hub.objects.open(key) as chunks:
        return prove_pack(chunks, claim, reopen)


def _settle(session: Session, hub: Hub, claim: PackClaim, now: datetime) -> None:
    """The pack is catalogued in this transaction: so say its grant and, when it was the last, its transfer."""
    transfer, pack = _lock(session, claim)
    note_healed(session, hub, claim.site_id, claim.study_uid, claim.pack_sha256)
    pack.state = transfers.VERIFIED
    pack.verified_at = now
    session.flush()
    manifest = transfers.manifest_of(transfer)
    is_last = not transfers.is_being_verified(session, claim.transfer_id)  # which looks at the whole
    holdings = compare_with_catalogue(session, manifest) if is_last else None
    if manifest.purpose == "read" and (holdings is None or holdings.needed):
        cases.first_series_catalogued(session, hub, now, manifest=manifest)
    if holdings is not None:
        settle(session, hub, transfer, manifest, holdings)


def _lock(session: Session, claim: PackClaim) -> tuple[Transfer, GrantedPack]:
    transfer = transfers.find_transfer_locked(session, claim.transfer_id)
    if transfer is None:
        raise LookupError(f"transfer {claim.transfer_id} vanished")
    return transfer, session.get_one(GrantedPack, claim.granted_pack_id)


def _set_aside(hub: Hub, claim: PackClaim, refusal: PackRefused, *, in_catalogue: bool) -> None:
    if claim.parts:
        if not in_catalogue:
            set_aside(hub, claim, refusal)
        return
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
        pack.refused_parts = list(refusal.parts) or None
        custody.record(
            session,
            hub.clock(),
            Hop.REFUSED,
            event_key=f"hub:{Hop.REFUSED}:{claim.granted_pack_id}",
            site_id=claim.site_id,
            study_uid=claim.study_uid,
            case_id=casework.find_case_of(session, claim.site_id, claim.study_uid),
            detail={"pack_sha256": claim.pack_sha256, "code": refusal.code, "reason": refusal.reason},
        )


def _clean_up(hub: Hub, claim: PackClaim, *, in_catalogue: bool) -> None:
    """Remove what is not needed any more: the upload, and a final copy that did not prove."""
    if claim.parts:
        with hub.transaction() as session:
            refused = session.get_one(GrantedPack, claim.granted_pack_id).refused_parts
        remove_parts(hub, claim, refused or ())
    else:
        hub.objects.erase(claim.staging_key)
    if not in_catalogue:
        for key in (claim.object_key, claim.headers_key, claim.record_key):
            hub.objects.erase(key)
