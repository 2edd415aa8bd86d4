"""What everybody hears of a correction: new metadata, the ledger, the audit trail, and the case that is being read.

Durable with the caller's transaction, in which the correction itself is written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from reading_queue.domain.transitions import BEING_READ, SIGNED
from reading_queue.services.arrival import custody
from reading_queue.services.cases import cases, casework
from reading_queue.services.cases.cases import UNREAD
from reading_queue.services.cases.images_seen import note_news
from reading_queue.services.holdings import prepared_metadata
from reading_queue.services.hub import Hub
from reading_queue.services.orders.orders import match_study
from reading_queue.services.orders.study_orders import lock_orders_of
from reading_queue.services.patients import link_asking
from reading_queue.services.patients.identity_doubts import check_identity
from storage.catalogue.amending import write_amendment
from storage.catalogue.amendment_records import AmendmentRecord
from storage.catalogue.amendment_tables import Amendment, Refiling
from storage.catalogue.filing import note_changed
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.ledger.tables import AuditEvent

BATCH: Final = 20  # objects that one run of the sweep writes
PATIENT_RECORD: Final = "110110"  # DCM audit events (PS3.15 A.5)
INSTANCES_ACCESSED: Final = "110103"

_log = structlog.get_logger(__name__)


def amend(session: Session, hub: Hub, record: AmendmentRecord, *, is_recorded: bool) -> list[Study]:
    """Write a correction with all that follows; return the studies that are shown otherwise now.

    Raises:
        NothingToAmend: what it is about is not in the catalogue.
    """
    studies = write_amendment(session, record, is_recorded=is_recorded)
    session.flush()
    for study in studies:
        note_changed(study, record.made_at)
        if study.revision > 0:
            prepared_metadata.ask(session, study, record.made_at)
        _tell(session, hub, record, study)
    _look_for_links(session, studies, record.made_at)
    _audit(session, record)
    _log.info("amended", amendment_id=record.amendment_id, kind=record.about.kind, studies=len(studies))
    return studies


def record_amendments(hub: Hub) -> int:
    """Tell object storage of corrections that it does not know; return of how many."""
    with hub.transaction() as session:
        unknown = select(Amendment).where(~Amendment.is_recorded).order_by(Amendment.step).limit(BATCH)
        records = [record_of(row) for row in session.scalars(unknown)]
    for record in records:
        put_record(hub, record)
        with hub.transaction() as session:
            known = update(Amendment).where(Amendment.amendment_id == record.amendment_id)
            session.execute(known.values(is_recorded=True))
    return len(records)


def put_record(hub: Hub, record: AmendmentRecord) -> None:
    """Write the correction into object storage."""
    data = record.to_bytes()
    hub.objects.put(record.key, data, len(data))


def record_of(row: Amendment) -> AmendmentRecord:
    """Return the correction as object storage tells of it."""
    return AmendmentRecord.model_validate(
        {
            "amendment_id": row.amendment_id,
            "site_id": row.site_id,
            "study_uid": row.study_uid or None,
            "number": row.number,
            "step": row.step,
            "made_by": row.made_by,
            "made_at": row.made_at,
            "reason": row.reason,
            "about": row.content,
        }
    )


def _look_for_links(session: Session, studies: list[Study], now: datetime) -> None:
    """Have links with other sites looked for anew, of every record that has or had one of the studies."""
    refiled = select(Refiling.own_patient_id).where(Refiling.study_id.in_([study.study_id for study in studies]))
    for patient_id in sorted({study.patient_id for study in studies} | set(session.scalars(refiled))):
        link_asking.ask(session, now, patient_id)


def _tell(session: Session, hub: Hub, record: AmendmentRecord, study: Study) -> None:
    """Write the ledger's line, and let a reader who has the case look again before signing."""
    key = f"amended:{record.amendment_id}"
    detail = {"amendment_id": record.amendment_id, "kind": record.about.kind, "revision": study.revision}
    lock_orders_of(session, study.site_id)  # before the case, as where orders come
    case = casework.find_case_of_locked(session, study.site_id, study.study_uid)
    if case is None:
        key = casework.event_key(key, study.study_uid)
        ids = {"site_id": study.site_id, "study_uid": study.study_uid}
        custody.record(session, record.made_at, Hop.AMENDED, event_key=key, detail=detail, **ids)
        return
    uids = [study.study_uid]
    casework.record_custody(
        session, case, Hop.AMENDED, key, record.made_at, actor=record.made_by, uids=uids, detail=detail
    )
    if case.state not in SIGNED:
        note_news(case)
    if case.state in BEING_READ | UNREAD:
        match_study(session, hub, case, study, record.made_at)
    check_identity(session, case, record.made_at)
    cases.follow_what_is_shown(session, case, record.made_at)


def _audit(session: Session, record: AmendmentRecord) -> None:
    is_of_images = record.about.kind == "rejection"
    detail: dict[str, Any] = {"amendment_id": record.amendment_id, "kind": record.about.kind, "reason": record.reason}
    session.add(
        AuditEvent(
            at=record.made_at,
            event_code=INSTANCES_ACCESSED if is_of_images else PATIENT_RECORD,
            action="U",
            account_id=record.made_by,
            object_kind="study" if record.study_uid else "site",
            object_id=record.study_uid or record.site_id,
            site_id=record.site_id,
            detail=detail,
        )
    )
