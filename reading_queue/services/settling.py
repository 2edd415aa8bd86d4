"""When a transfer is done: nothing of it is needed any more, and its case learns that the images are there.

Durable with the caller's transaction.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from reading_queue.services import cases, custody
from reading_queue.services.hub import Hub
from storage.catalogue.holdings import Holdings
from storage.catalogue.indexing import find_study_locked, raise_revision
from storage.catalogue.tables import Transfer
from storage.contract.hops import Hop
from storage.contract.manifest import Manifest
from storage.contract.wire import TransferState

VERIFY_JOB: Final = "transfers.verify_pack"


def settle(session: Session, hub: Hub, transfer: Transfer, manifest: Manifest, holdings: Holdings) -> None:
    """Close a transfer of which nothing is needed any more, and let its case know; the transfer's row is locked.

    Exactly once per transfer: whoever holds the lock first does it, the others find it done.
    """
    if transfer.state != TransferState.RECEIVING or holdings.needed:
        return
    now = hub.clock()
    transfer.state = TransferState.VERIFIED
    transfer.verified_at = now
    study = find_study_locked(session, manifest.site_id, manifest.study_uid)
    if study is None or not holdings.held:
        return  # every instance conflicts with what the hub holds: there is nothing new to read
    raise_revision(study, now)
    session.flush()
    custody.record(
        session,
        now,
        Hop.VERIFIED,
        event_key=f"hub:{Hop.VERIFIED}:{transfer.transfer_id}",
        site_id=transfer.site_id,
        study_uid=transfer.study_uid,
        case_id=cases.find_case_of(session, transfer.site_id, transfer.study_uid),
        detail={"transfer_id": transfer.transfer_id, "revision": transfer.revision},
    )
    cases.study_catalogued(session, hub, now, study=study, transfer=transfer)
