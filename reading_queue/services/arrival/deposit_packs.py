"""How instances that a person stored come home: in packs, by the road that a gateway's packs take.

Durable: nothing before every pack lies in staging; then, in one transaction, the deposit, its transfer and its packs,
committed as if a gateway had. From there they are proved and catalogued at once; what a killed process leaves of that,
the sweep launches again. What was put into staging without that transaction is removed by `sweep_deposits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.services.arrival.deposit_leftovers import remove_staged
from reading_queue.services.arrival.inspection import IMPORTED, Inspected
from reading_queue.services.arrival.staging import part_key, whole_key
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.cases import cases
from reading_queue.services.hub import Hub
from reading_queue.services.reading.case_evidence import Holding, keep_for_case
from storage.catalogue import transfers
from storage.catalogue.tables import Deposit, DepositState, Grant, GrantedPack, Transfer
from storage.contract.hops import Hop
from storage.contract.identifiers import SiteId, Uid, new_id
from storage.contract.manifest import Manifest, Purpose
from storage.ledger.custody import HubEvent, write_hub_event
from storage.ledger.tables import AuditEvent
from storage.packs import PackLayout, PackMember, PackStream, digest_pack, layout_of, plan_packs, plan_parts
from storage.packs.layout import PACK_BYTES_MAX
from storage.packs.parts import PART_BYTES_MAX

SOURCE: Final = "STOW-RS"  # where a gateway's manifest names the AE title that sent the study
COMPLETE_BECAUSE: Final = "deposited"

_log = structlog.get_logger(__name__)


class DepositGone(Exception):
    """The deposit took so long that what it had put was swept away; nothing of it is stored."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Whose study the instances join, what for, the account that stores them, and the claim it does so by."""

    site_id: str
    study_uid: str
    purpose: Purpose
    account_id: str
    holding: Holding | None = None  # of the physician who adds evidence


def bring_home(hub: Hub, destination: Destination, fresh: Mapping[str, Inspected]) -> dict[str, str]:
    """Store these instances by UID and return those that did not prove, with the reason in words.

    Raises:
        NotHolder: the claim of the case has ended meanwhile; nothing is stored.
        StoreUnavailable: either nothing is stored, or all of it will be.
    """
    deposit_id, now = new_id(), hub.clock()
    _begin(hub, destination, deposit_id, now)
    try:
        packs = [_put(hub, destination, deposit_id, members, fresh) for members in _plan(fresh)]
        _commit(hub, destination, deposit_id, packs, fresh)
    except BaseException:
        remove_staged(hub, deposit_id)
        raise
    for pack in packs:
        verify_pack(hub, pack.granted_pack_id)
    return _find_refused(hub, deposit_id)


def _begin(hub: Hub, destination: Destination, deposit_id: str, now: datetime) -> None:
    with hub.transaction() as session:
        session.add(
            Deposit(
                deposit_id=deposit_id,
                site_id=destination.site_id,
                study_uid=destination.study_uid,
                deposited_by=destination.account_id,
                purpose=destination.purpose,
                state=DepositState.PUTTING,
                begun_at=now,
            )
        )


def _plan(fresh: Mapping[str, Inspected]) -> list[list[PackMember]]:
    members = [
        PackMember(one.entry.sop_instance_uid, one.entry.size_bytes, one.entry.stored_sha256) for one in fresh.values()
    ]
    return plan_packs(members, target_bytes=PACK_BYTES_MAX)


def _put(
    hub: Hub, destination: Destination, deposit_id: str, members: Sequence[PackMember], fresh: Mapping[str, Inspected]
) -> GrantedPack:
    """Put one pack into staging, whole or in parts as a gateway would, and return it as committed."""

    def open_member(member: PackMember) -> BinaryIO:
        return fresh[member.sop_instance_uid].path.open("rb")

    layout = layout_of(destination.site_id, destination.study_uid, members)
    parts = plan_parts(layout.size_bytes, target_bytes=PART_BYTES_MAX)
    digests = digest_pack(layout, open_member, parts)
    with PackStream(layout, open_member) as stream:
        for number, size_bytes in [(part.number, part.size_bytes) for part in parts] or [(0, layout.size_bytes)]:
            key = part_key(deposit_id, digests.whole, number) if number else whole_key(deposit_id, digests.whole)
            hub.objects.put(key, stream.read(size_bytes), size_bytes)
    return GrantedPack(
        granted_pack_id=new_id(),
        grant_id=deposit_id,
        pack_sha256=digests.whole,
        size_bytes=layout.size_bytes,
        staging_key=whole_key(deposit_id, digests.whole),
        sop_instance_uids=_uids(layout),
        parts=[
            {"size_bytes": part.size_bytes, "sha256": sha256} for part, sha256 in zip(parts, digests.parts, strict=True)
        ]
        or None,
        parts_granted=[part.number for part in parts] or None,
        state=transfers.COMMITTED,
    )


def _uids(layout: PackLayout) -> list[str]:
    return [place.member.sop_instance_uid for place in layout.places]


def _commit(
    hub: Hub, destination: Destination, deposit_id: str, packs: Sequence[GrantedPack], fresh: Mapping[str, Inspected]
) -> None:
    now = hub.clock()
    with hub.transaction() as session:
        row = session.get_one(Deposit, deposit_id, with_for_update=True)
        if row.state != DepositState.PUTTING:
            raise DepositGone
        if destination.holding is not None:
            keep_for_case(session, destination.holding, destination.site_id, list(fresh.values()), now)
        row.state = DepositState.COMMITTED
        manifest = _manifest(session, destination, fresh, now)
        transfer = transfers.add_deposited_transfer(session, manifest, deposit_id, now)
        case_id = cases.declare_case(session, hub, now, manifest=manifest) if destination.purpose == "read" else None
        _record(session, destination, transfer, case_id, now)
        session.add(Grant(grant_id=deposit_id, transfer_id=transfer.transfer_id, created_at=now, expires_at=now))
        session.flush()
        for pack in packs:
            pack.committed_at = now
        session.add_all(packs)
    _log.info("deposit_committed", deposit_id=deposit_id, transfer_id=transfer.transfer_id, packs=len(packs))


def _manifest(session: Session, destination: Destination, fresh: Mapping[str, Inspected], now: datetime) -> Manifest:
    before = select(func.count()).where(
        Transfer.site_id == destination.site_id, Transfer.study_uid == destination.study_uid
    )
    return Manifest(
        site_id=SiteId(destination.site_id),
        study_uid=Uid(destination.study_uid),
        revision=(session.scalar(before) or 0) + 1,
        calling_ae_title=SOURCE,
        complete_because=COMPLETE_BECAUSE,
        completed_at=now,
        purpose=destination.purpose,
        instances=tuple(fresh[uid].entry for uid in sorted(fresh)),
    )


def _record(session: Session, destination: Destination, transfer: Transfer, case_id: str | None, now: datetime) -> None:
    """Write who stored what: a line of the audit trail, and for what is to be read the hops of a gateway's transfer."""
    detail = {"transfer_id": transfer.transfer_id, "revision": transfer.revision}
    for hop in (Hop.DECLARED, Hop.COMMITTED) if destination.purpose == "read" else ():
        event = HubEvent(
            event_key=f"hub:{hop}:{transfer.transfer_id}",
            hop=hop,
            site_id=destination.site_id,
            study_uid=destination.study_uid,
            at=now,
            case_id=case_id,
            actor=destination.account_id,
            detail=detail,
        )
        write_hub_event(session, event)
    session.add(
        AuditEvent(
            at=now,
            event_code=IMPORTED,
            action="C",
            account_id=destination.account_id,
            object_kind="study",
            object_id=destination.study_uid,
            site_id=destination.site_id,
            detail={"transfer_id": transfer.transfer_id, "purpose": destination.purpose},
        )
    )


def _find_refused(hub: Hub, deposit_id: str) -> dict[str, str]:
    with hub.transaction() as session:
        packs = transfers.packs_of_grant(session, deposit_id)
    return {
        uid: f"was not stored: {pack.refusal_reason}"
        for pack in packs
        if pack.state != transfers.VERIFIED
        for uid in pack.sop_instance_uids
    }
