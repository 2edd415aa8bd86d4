"""How a study is asked for: declared by manifest, granted upload addresses, committed.

Durable: transfers, grants and their packs, each with the ledger line and the job that follow from it. Everything may be
repeated: the same manifest is the same transfer, a second commit of a pack changes nothing, and asking again for
addresses gives a new grant beside the old one. A site sees its own transfers only; another's answers as if it were not
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.errors import Forbidden, HubError, Invalid, NotFound
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.arrival import custody, staging
from reading_queue.services.arrival.settling import VERIFY_JOB, VERIFY_LARGE_JOB, settle
from reading_queue.services.cases import cases, casework
from reading_queue.services.holdings.retention import refuse_deleted
from reading_queue.services.hub import Hub, launch
from storage.catalogue import transfers
from storage.catalogue.holdings import compare_entries, compare_with_catalogue
from storage.catalogue.tables import Grant, GrantedPack, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, new_id
from storage.contract.manifest import InstanceEntry, Manifest
from storage.contract.wire import (
    UPLOADS_PER_GRANT_MAX,
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    ManifestAnswer,
    PackDeclaration,
    PackRefusal,
    TransferAnswer,
    TransferState,
    Upload,
)
from storage.packs.layout import PACK_BYTES_MAX, PackMember, layout_of
from storage.packs.parts import find_fault_of_parts

FIRST_LOOK: Final = 50  # instances


class OtherSite(Forbidden):
    """The manifest names another site than the one this gateway belongs to."""

    code = "other_site"


class NotForGateways(Invalid):
    """A gateway declares studies to be read and earlier studies, nothing else."""

    code = "not_for_gateways"


class GrantExpired(HubError):
    """This permission to upload has expired. Ask for a new one and upload again."""

    code = "grant_expired"
    status = 410


class NotInManifest(Invalid):
    """A pack names an instance that the transfer's manifest does not declare."""

    code = "not_in_manifest"


class PackSizeWrong(Invalid):
    """A pack's declared size is not that of a pack of the instances it names."""

    code = "pack_size_wrong"


class PackTooLarge(Invalid):
    """A pack of several instances is larger than a pack may be."""

    code = "pack_too_large"


class PartsWrong(Invalid):
    """A large pack is not cut into parts as packs are."""

    code = "parts_wrong"


class TooManyUploads(Invalid):
    """One request asks for more addresses than a grant has."""

    code = "too_many_uploads"


class PackNotGranted(Invalid):
    """The commit names a pack that this grant does not cover."""

    code = "pack_not_granted"


class PackNamedTwice(Invalid):
    """One request names a pack twice."""

    code = "pack_named_twice"


def declare(hub: Hub, gateway: GatewayIdentity, manifest: Manifest) -> ManifestAnswer:
    """Accept a manifest and return what the hub holds of it and what it needs.

    Raises:
        OtherSite: the manifest is not of the gateway's own site.
        NotForGateways: it declares evidence, which nobody would be asked to read.
        StudyDeleted: two persons let the study go when its time was over.
    """
    if manifest.site_id != gateway.site_id:
        raise OtherSite
    if manifest.purpose == "evidence":
        raise NotForGateways
    now = hub.clock()
    with hub.transaction() as session:
        refuse_deleted(session, manifest.site_id, manifest.study_uid)
        transfer = transfers.lock_declared_transfer(session, manifest, gateway.gateway_id, now)
        holdings = compare_with_catalogue(session, manifest)
        if holdings.needed:
            transfer.state = TransferState.RECEIVING  # again, when what was verified has been damaged since
        if holdings.held or holdings.needed:
            case_id = _declare_case(session, hub, now, manifest)
            _record(session, now, Hop.DECLARED, transfer, case_id)
        settle(session, hub, transfer, manifest, holdings)
    return ManifestAnswer(
        transfer_id=transfer.transfer_id,
        held=holdings.held,
        needed=holdings.needed,
        conflicting=holdings.conflicting,
    )


def grant(hub: Hub, gateway: GatewayIdentity, transfer_id: str, request: GrantRequest) -> GrantAnswer:
    """Return addresses to which the packs may be uploaded for a while.

    Raises:
        NotFound: the site has no such transfer.
        NotInManifest, PackSizeWrong, PackTooLarge, PackNamedTwice: a pack does not fit the manifest.
        PartsWrong, TooManyUploads: a pack is not cut as it should be, or too much is asked for at once.
    """
    grant_id = new_id()
    now = hub.clock()
    expires_at = now + timedelta(seconds=hub.policy.grant_ttl_s)
    with hub.transaction() as session:
        transfer = _get_transfer(session, gateway, transfer_id)
        _check_packs(request, transfers.manifest_of(transfer))
        session.add(Grant(grant_id=grant_id, transfer_id=transfer_id, created_at=now, expires_at=expires_at))
        session.flush()
        session.add_all(_granted_pack(grant_id, pack) for pack in request.packs)
    uploads = tuple(upload for pack in request.packs for upload in _presign(hub, grant_id, pack))
    return GrantAnswer(grant_id=grant_id, expires_at=expires_at, uploads=uploads)


def commit(hub: Hub, gateway: GatewayIdentity, grant_id: str, request: CommitRequest) -> TransferAnswer:
    """Take note that packs are uploaded, launch their verification, and return where the transfer stands.

    Raises:
        NotFound: the site has no such grant.
        PackNotGranted: the grant does not cover one of the packs.
        GrantExpired: it is too late for a pack that was not committed before.
    """
    now = hub.clock()
    with hub.transaction() as session:
        granted = transfers.find_grant(session, grant_id)
        if granted is None:
            raise NotFound
        transfer = _get_transfer(session, gateway, granted.transfer_id)
        packs = {pack.pack_sha256: pack for pack in transfers.packs_of_grant(session, grant_id)}
        if not packs.keys() >= set(request.pack_sha256s):
            raise PackNotGranted
        fresh = [packs[name] for name in set(request.pack_sha256s) if packs[name].state == transfers.GRANTED]
        swept = any(packs[name].state == transfers.EXPIRED for name in request.pack_sha256s)
        if swept or (fresh and granted.expires_at <= now):
            raise GrantExpired
        _commit_packs(session, now, fresh)
        if _is_on_the_way(session, transfer):
            case_id = casework.find_case_of(session, transfer.site_id, transfer.study_uid)
            _record(session, now, Hop.COMMITTED, transfer, case_id)
        return _settle_and_answer(session, hub, transfer)


def transfer_answer(hub: Hub, gateway: GatewayIdentity, transfer_id: str) -> TransferAnswer:
    """Return where a transfer stands; settles one whose last instances came by another transfer.

    Raises:
        NotFound: the site has no such transfer.
    """
    with hub.transaction() as session:
        transfer = _get_transfer(session, gateway, transfer_id)
        return _settle_and_answer(session, hub, transfer)


def _declare_case(session: Session, hub: Hub, now: datetime, manifest: Manifest) -> str | None:
    """Return the case that reads the study. An earlier study of a patient makes none, and hurries none."""
    if manifest.purpose == "prior":
        return casework.find_case_of(session, manifest.site_id, manifest.study_uid)
    return cases.declare_case(session, hub, now, manifest=manifest)


def _get_transfer(session: Session, gateway: GatewayIdentity, transfer_id: str) -> Transfer:
    transfer = transfers.find_transfer_locked(session, transfer_id)
    if transfer is None or transfer.site_id != gateway.site_id:
        raise NotFound("there is no such transfer of this site")
    return transfer


def _check_packs(request: GrantRequest, manifest: Manifest) -> None:
    entries = {entry.sop_instance_uid: entry for entry in manifest.instances}
    if len({pack.pack_sha256 for pack in request.packs}) != len(request.packs):
        raise PackNamedTwice
    if sum(len(pack.parts_wanted) if pack.parts else 1 for pack in request.packs) > UPLOADS_PER_GRANT_MAX:
        raise TooManyUploads
    for pack in request.packs:
        uids = set(pack.sop_instance_uids)
        if len(uids) != len(pack.sop_instance_uids) or not uids <= entries.keys():
            raise NotInManifest
        _check_size(pack, manifest, [entries[uid] for uid in pack.sop_instance_uids])


def _check_size(pack: PackDeclaration, manifest: Manifest, entries: list[InstanceEntry]) -> None:
    """A pack is a pure function of its members, so that its size is known before it is there."""
    members = [PackMember(entry.sop_instance_uid, entry.size_bytes, entry.stored_sha256) for entry in entries]
    try:
        size_bytes = layout_of(manifest.site_id, manifest.study_uid, members).size_bytes
    except ValueError as exc:
        raise PackTooLarge from exc
    if pack.size_bytes != size_bytes:
        raise PackSizeWrong
    if len(members) > 1 and size_bytes > PACK_BYTES_MAX:
        raise PackTooLarge
    _check_parts(pack)


def _check_parts(pack: PackDeclaration) -> None:
    numbers = [part.number for part in pack.parts]
    fault = find_fault_of_parts(pack.size_bytes, numbers, [part.size_bytes for part in pack.parts])
    if fault is None and not set(pack.parts_wanted) <= set(numbers):
        fault = "a part is asked for that the pack does not have"
    if fault is None and len(set(pack.parts_wanted)) != len(pack.parts_wanted):
        fault = "a part is asked for twice"
    if fault is not None:
        raise PartsWrong(f"This pack is not cut into parts as packs are: {fault}.")


def _granted_pack(grant_id: str, pack: PackDeclaration) -> GrantedPack:
    return GrantedPack(
        granted_pack_id=new_id(),
        grant_id=grant_id,
        pack_sha256=pack.pack_sha256,
        size_bytes=pack.size_bytes,
        staging_key=staging.whole_key(grant_id, pack.pack_sha256),
        sop_instance_uids=list(pack.sop_instance_uids),
        parts=[{"size_bytes": part.size_bytes, "sha256": part.sha256} for part in pack.parts] or None,
        parts_granted=list(pack.parts_wanted) if pack.parts else None,
        state=transfers.GRANTED,
    )


def _presign(hub: Hub, grant_id: str, pack: PackDeclaration) -> Iterator[Upload]:
    """Yield the address of a whole pack, or of each part of it that is wanted."""
    if not pack.parts:
        key = staging.whole_key(grant_id, pack.pack_sha256)
        yield _presign_one(hub, key, pack.pack_sha256, None, pack.size_bytes, pack.pack_sha256)
        return
    for part in pack.parts:
        if part.number in pack.parts_wanted:
            key = staging.part_key(grant_id, pack.pack_sha256, part.number)
            yield _presign_one(hub, key, pack.pack_sha256, part.number, part.size_bytes, part.sha256)


def _presign_one(
    hub: Hub, key: str, pack_sha256: Sha256Hex, part: int | None, size_bytes: int, sha256: Sha256Hex
) -> Upload:
    request = hub.objects.presign_put(key, size_bytes=size_bytes, sha256=sha256, expires_s=hub.policy.grant_ttl_s)
    return Upload(pack_sha256=pack_sha256, part=part, url=request.url, headers=request.headers)


def _commit_packs(session: Session, now: datetime, fresh: list[GrantedPack]) -> None:
    for pack in fresh:
        pack.state = transfers.COMMITTED
        pack.committed_at = now
        job = VERIFY_LARGE_JOB if pack.parts else VERIFY_JOB
        launch(session, now, job, granted_pack_id=pack.granted_pack_id)
    session.flush()


def _is_on_the_way(session: Session, transfer: Transfer) -> bool:
    """Return whether every instance that is still needed lies in a committed pack."""
    on_the_way = {
        uid
        for pack in transfers.packs_of_transfer(session, transfer.transfer_id)
        if pack.state in (transfers.COMMITTED, transfers.VERIFIED)
        for uid in pack.sop_instance_uids
    }
    manifest = transfers.manifest_of(transfer)
    others = [entry for entry in manifest.instances if entry.sop_instance_uid not in on_the_way]
    looked_at_first = others[:FIRST_LOOK]  # as a rule one of these is needed, which spares asking for thousands
    return not any(compare_entries(session, manifest, some).needed for some in (looked_at_first, others[FIRST_LOOK:]))


def _record(session: Session, now: datetime, hop: Hop, transfer: Transfer, case_id: str | None) -> None:
    custody.record(
        session,
        now,
        hop,
        event_key=f"hub:{hop}:{transfer.transfer_id}",
        site_id=transfer.site_id,
        study_uid=transfer.study_uid,
        case_id=case_id,
        detail={"transfer_id": transfer.transfer_id, "revision": transfer.revision},
    )


def _settle_and_answer(session: Session, hub: Hub, transfer: Transfer) -> TransferAnswer:
    """Settle the transfer where nothing of it is needed any more, and return where it stands.

    While packs of it are being proved and none was refused, nothing is compared: the last of them settles it.
    """
    packs = transfers.packs_of_transfer(session, transfer.transfer_id)
    states = {pack.state for pack in packs}
    is_open = transfer.state == TransferState.RECEIVING and transfers.COMMITTED in states
    if is_open and transfers.REFUSED not in states:
        return TransferAnswer(transfer_id=transfer.transfer_id, state=TransferState.RECEIVING, confirmed=())
    manifest = transfers.manifest_of(transfer)
    holdings = compare_with_catalogue(session, manifest)
    settle(session, hub, transfer, manifest, holdings)
    return TransferAnswer(
        transfer_id=transfer.transfer_id,
        state=TransferState(transfer.state),
        confirmed=holdings.held,
        refused=_open_refusals(packs, holdings.held),
    )


def _open_refusals(packs: Sequence[GrantedPack], held: Iterable[str]) -> tuple[PackRefusal, ...]:
    """Return the refused packs whose instances are neither confirmed nor in a pack granted after them."""
    settled: set[str] = set(held)
    refusals: list[PackRefusal] = []
    for pack in reversed(packs):
        if pack.state == transfers.REFUSED and not settled.issuperset(pack.sop_instance_uids):
            digest = Sha256Hex(pack.pack_sha256)
            code, reason = pack.refusal_code or "", pack.refusal_reason or ""
            parts = tuple(pack.refused_parts or ())
            refusals.append(PackRefusal(pack_sha256=digest, code=code, reason=reason, parts=parts))
        settled.update(pack.sop_instance_uids)
    return tuple(reversed(refusals))
