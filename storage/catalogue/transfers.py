"""Transfers, their grants and granted packs in SQL. Every function runs in the caller's transaction."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.catalogue.tables import Grant, GrantedPack, Transfer
from storage.contract.identifiers import new_id
from storage.contract.manifest import Manifest
from storage.contract.wire import TransferState

GRANTED = "granted"
COMMITTED = "committed"
VERIFIED = "verified"
REFUSED = "refused"
EXPIRED = "expired"  # never committed; its staging objects are removed
REMEMBERED_INSTANCES_MAX: Final = 10_000  # 2 kB each

_remembering = threading.Lock()
_remembered: OrderedDict[tuple[str, str], Manifest] = OrderedDict()  # by digest and lane, which say all of it


def lock_declared_transfer(session: Session, manifest: Manifest, gateway_id: str, now: datetime) -> Transfer:
    """Return the transfer of this very manifest, created the first time, locked until the transaction ends.

    The lane is no part of what makes a manifest the same: a transfer that is declared in another one changes lanes.
    """
    digest = manifest.sha256()
    values = {
        "transfer_id": new_id(),
        "site_id": manifest.site_id,
        "gateway_id": gateway_id,
        "study_uid": manifest.study_uid,
        "revision": manifest.revision,
        "lane": manifest.lane,
        "manifest_sha256": digest,
        "manifest": manifest.model_dump(mode="json"),
        "state": TransferState.RECEIVING,
        "declared_at": now,
        "version": 1,
    }
    session.execute(
        insert(Transfer).values(values).on_conflict_do_nothing(index_elements=["site_id", "manifest_sha256"])
    )
    same = select(Transfer).where(Transfer.site_id == manifest.site_id, Transfer.manifest_sha256 == digest)
    transfer = session.scalars(same.with_for_update()).one()
    if transfer.lane != manifest.lane:
        transfer.lane = manifest.lane
        transfer.manifest = manifest.model_dump(mode="json")
    return transfer


def add_deposited_transfer(session: Session, manifest: Manifest, deposit_id: str, now: datetime) -> Transfer:
    """Return the new transfer of what a person deposited at the hub."""
    transfer = Transfer(
        transfer_id=new_id(),
        site_id=manifest.site_id,
        gateway_id=None,
        deposit_id=deposit_id,
        study_uid=manifest.study_uid,
        revision=manifest.revision,
        lane=manifest.lane,
        manifest_sha256=manifest.sha256(),
        manifest=manifest.model_dump(mode="json"),
        state=TransferState.RECEIVING,
        declared_at=now,
    )
    session.add(transfer)
    session.flush()
    return transfer


def find_transfer_locked(session: Session, transfer_id: str) -> Transfer | None:
    """Return the transfer as it now is, locked until the transaction ends."""
    query = select(Transfer).where(Transfer.transfer_id == transfer_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def manifest_of(transfer: Transfer) -> Manifest:
    """Return what a transfer declares: `transfer` is in a session, for the manifest is read when it is asked for.

    It is asked for at every step of every pack, and one of a thousand instances takes 20 ms to read: the last few are
    remembered.
    """
    key = transfer.manifest_sha256, transfer.lane
    with _remembering:
        known = _remembered.get(key)
        if known is not None:
            _remembered.move_to_end(key)
            return known
    manifest = Manifest.model_validate(transfer.manifest)
    with _remembering:
        _remembered[key] = manifest
        while len(_remembered) > 1 and _instances_remembered() > REMEMBERED_INSTANCES_MAX:
            _remembered.popitem(last=False)
    return manifest


def _instances_remembered() -> int:
    return sum(len(manifest.instances) for manifest in _remembered.values())


def find_grant(session: Session, grant_id: str) -> Grant | None:
    """Return the grant, whichever site's it is: the caller compares."""
    return session.get(Grant, grant_id)


def packs_of_grant(session: Session, grant_id: str) -> Sequence[GrantedPack]:
    """Return the packs of one grant."""
    return session.scalars(select(GrantedPack).where(GrantedPack.grant_id == grant_id)).all()


def packs_of_transfer(session: Session, transfer_id: str) -> Sequence[GrantedPack]:
    """Return every pack ever granted for a transfer, oldest grant first."""
    query = (
        select(GrantedPack)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .where(Grant.transfer_id == transfer_id)
        .order_by(Grant.number, GrantedPack.pack_sha256)
    )
    return session.scalars(query).all()


def is_being_verified(session: Session, transfer_id: str) -> bool:
    """Return whether a committed pack of the transfer waits to be proved."""
    query = (
        select(GrantedPack.granted_pack_id)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .where(Grant.transfer_id == transfer_id, GrantedPack.state == COMMITTED)
        .limit(1)
    )
    return session.scalars(query).first() is not None


def grants_of_pack(session: Session, transfer_id: str, pack_sha256: str) -> Sequence[GrantedPack]:
    """Return every grant of one pack of a transfer, newest first."""
    query = (
        select(GrantedPack)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .where(Grant.transfer_id == transfer_id, GrantedPack.pack_sha256 == pack_sha256)
        .order_by(Grant.number.desc())
    )
    return session.scalars(query).all()
