"""When a transfer is done: nothing of it is needed any more, and its case learns that the images are there.

Durable with the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.services.arrival import custody
from reading_queue.services.cases import cases, casework
from reading_queue.services.holdings import prepared_metadata
from reading_queue.services.hub import Hub
from reading_queue.services.patients import link_asking
from storage.catalogue.holdings import Holdings
from storage.catalogue.indexing import find_study_locked, raise_revision
from storage.catalogue.tables import Study, Transfer
from storage.contract.hops import Hop
from storage.contract.manifest import Manifest
from storage.contract.wire import TransferState

VERIFY_JOB: Final = "transfers.verify_pack"
VERIFY_LARGE_JOB: Final = "transfers.verify_large_pack"  # of packs that came in parts


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
    if manifest.purpose == "evidence":
        _add_evidence(session, study, transfer, manifest, now)
        return
    if raise_revision(study, now):
        prepared_metadata.ask(session, study, now)
    link_asking.ask(session, now, study.patient_id)
    session.flush()
    case_id = casework.find_case_of(session, transfer.site_id, transfer.study_uid)
    custody.record(
        session,
        now,
        Hop.VERIFIED,
        event_key=f"hub:{Hop.VERIFIED}:{transfer.transfer_id}",
        site_id=transfer.site_id,
        study_uid=transfer.study_uid,
        case_id=case_id,
        detail={"transfer_id": transfer.transfer_id, "revision": transfer.revision},
    )
    if case_id is None and manifest.purpose == "prior":
        return  # nobody was asked to read it
    cases.study_catalogued(session, hub, now, study=study, transfer=transfer)


def _add_evidence(session: Session, study: Study, transfer: Transfer, manifest: Manifest, now: datetime) -> None:
    """Raise the study's revision for evidence alone, and note it with the case, which then does not take it for images.

    While images of another transfer are in the catalogue that no revision counts yet, theirs counts the evidence too.
    """
    uncounted = study.instance_count - study.revision_instance_count
    if uncounted != len(manifest.instances):
        return
    if raise_revision(study, now):
        prepared_metadata.ask(session, study, now)
    session.flush()
    case = casework.find_case_of_locked(session, transfer.site_id, transfer.study_uid)
    detail = {"transfer_id": transfer.transfer_id, "revision": study.revision, "instance_count": study.instance_count}
    if case is None:
        key = f"hub:{Hop.EVIDENCE_ADDED}:{transfer.transfer_id}"
        ids = {"site_id": transfer.site_id, "study_uid": transfer.study_uid}
        custody.record(session, now, Hop.EVIDENCE_ADDED, event_key=key, detail=detail, **ids)
        return
    key = cases.revision_key(case.case_id, study.revision)
    uids = [study.study_uid]
    casework.record_custody(session, case, Hop.EVIDENCE_ADDED, key, now, uids=uids, detail=detail)
