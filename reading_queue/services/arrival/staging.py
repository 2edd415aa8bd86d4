"""Where uploads wait in object storage until they are proved, and how what nobody committed is swept away.

Durable: staging objects under `incoming/<grant>/`, until their pack is verified or refused, or nobody can commit them
any more. A part of a large pack may be uploaded under one grant and committed under a later one: it stays for as long
as its transfer goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Select, exists, or_, select
from sqlalchemy.orm import aliased

from reading_queue.services.hub import Hub
from storage.catalogue import transfers
from storage.catalogue.tables import Grant, GrantedPack, Transfer
from storage.contract.wire import TransferState

log = structlog.get_logger(__name__)

BATCH: Final = 50
LATE_UPLOAD_MARGIN: Final = timedelta(hours=6)  # an upload that began within its grant may still be on a slow line
PARTS_KEEP: Final = timedelta(days=14)  # a gateway whose line is away for days goes on with the parts it has sent


def whole_key(grant_id: str, pack_sha256: str) -> str:
    """Return where a pack that is uploaded whole is put."""
    return f"incoming/{grant_id}/{pack_sha256}.tar"


def part_key(grant_id: str, pack_sha256: str, number: int) -> str:
    """Return where one part of a large pack is put."""
    return f"incoming/{grant_id}/{pack_sha256}.part-{number:05}"


def keys_of(pack: GrantedPack) -> Iterator[str]:
    """Yield every key at which this grant lets something of the pack be put."""
    if pack.parts is None:
        yield pack.staging_key
        return
    for number in pack.parts_granted or ():
        yield part_key(pack.grant_id, pack.pack_sha256, number)


def keys_by_part(grants: Iterable[GrantedPack]) -> dict[int, list[str]]:
    """Return for each part where it may lie; `grants` of one pack, newest first, and so are the keys."""
    keys: dict[int, list[str]] = {}
    for pack in grants:
        for number in pack.parts_granted or ():
            keys.setdefault(number, []).append(part_key(pack.grant_id, pack.pack_sha256, number))
    return keys


def sweep_abandoned(hub: Hub) -> int:
    """Remove what was granted, perhaps uploaded, and can no longer be committed. Return how many packs."""
    with hub.transaction() as session:
        abandoned: Sequence[GrantedPack] = session.scalars(_abandoned(hub).limit(BATCH)).all()
    for pack in abandoned:
        for key in keys_of(pack):
            hub.objects.erase(key)
        with hub.transaction() as session:
            row = session.get_one(GrantedPack, pack.granted_pack_id, with_for_update=True)
            if row.state == transfers.GRANTED:
                row.state = transfers.EXPIRED
        log.info("abandoned_upload_removed", granted_pack_id=pack.granted_pack_id, grant_id=pack.grant_id)
    return len(abandoned)


def _abandoned(hub: Hub) -> Select[GrantedPack]:
    """Return the packs whose grant is over, of large ones those that no later grant can use the parts of."""
    now = hub.clock()
    later_pack, later_grant = aliased(GrantedPack), aliased(Grant)
    still_wanted = (
        exists()
        .where(
            later_grant.grant_id == later_pack.grant_id,
            later_grant.transfer_id == Grant.transfer_id,
            later_pack.pack_sha256 == GrantedPack.pack_sha256,
            later_grant.expires_at > now - PARTS_KEEP,
        )
        .correlate(Grant, GrantedPack)
    )
    return (
        select(GrantedPack)
        .join(Grant, Grant.grant_id == GrantedPack.grant_id)
        .join(Transfer, Transfer.transfer_id == Grant.transfer_id)
        .where(
            GrantedPack.state == transfers.GRANTED,
            Grant.expires_at < now - LATE_UPLOAD_MARGIN,
            or_(GrantedPack.parts.is_(None), Transfer.state == TransferState.VERIFIED, ~still_wanted),
        )
        .order_by(Grant.number)
    )
