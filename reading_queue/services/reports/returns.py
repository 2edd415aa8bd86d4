"""The way home: which documents wait for a site, and what its gateway says became of them.

Durable: every receipt, in the transaction of what follows from it. Nothing is volatile; a gateway may ask and report
again as often as it likes. A site learns of no document but its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Document, DocumentReceipt, Report
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState
from reading_queue.errors import NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    event_key,
    get_case_locked,
    move_case,
    record_custody,
    study_uids,
)
from reading_queue.services.hub import Hub
from storage.contract.delivery import SAID
from storage.contract.hops import Hop
from storage.contract.wire import DOCUMENTS_PER_PAGE_MAX, DocumentKind, Receipt, ReceiptStep, SignedDescriptor
from storage.ledger.tables import CustodyEvent

# What a gateway needs to deliver that does not say yet what its targets take: those knew PACS only.
NEEDED_UNSAID: Final = frozenset({DocumentKind.SR, DocumentKind.PDF})


def documents_for_site(hub: Hub, site_id: str, after: int, limit: int) -> tuple[SignedDescriptor, ...]:
    """Return up to `limit` documents of the site behind the cursor `after`, oldest first."""
    waiting = select(Document).where(Document.site_id == site_id, Document.cursor > after).order_by(Document.cursor)
    with hub.transaction() as session:
        documents = session.scalars(waiting.limit(min(limit, DOCUMENTS_PER_PAGE_MAX))).all()
    return tuple(
        SignedDescriptor(
            cursor=document.cursor,
            canonical=document.canonical,
            hub_key_id=document.hub_key_id,
            signature=document.signature,
        )
        for document in documents
    )


def open_document(hub: Hub, site_id: str, document_id: str) -> Document:
    """Return the document, whose bytes lie under its `object_key`.

    Raises:
        NotFound: there is none, or it is another site's.
    """
    with hub.transaction() as session:
        return _get_document(session, site_id, document_id)


def record_receipt(hub: Hub, site_id: str, document_id: str, receipt: Receipt) -> None:
    """Write what the gateway says; the case is acknowledged once its newest report is at home.

    Raises:
        NotFound: there is no such document, or it is another site's.
    """
    with hub.transaction() as session:
        document = _get_document(session, site_id, document_id)
        case = get_case_locked(session, document.case_id)
        now = hub.clock()
        _write_receipt(session, document_id, receipt, now)
        if receipt.step is ReceiptStep.FAILED:
            _record_failure(session, case, document, receipt, now)
        elif receipt.step is ReceiptStep.DELIVERED:
            _acknowledge_if_home(session, case, document, receipt, now)


def receive_by_hand(hub: Hub, viewer: Viewer, case_id: str, report_id: str) -> None:
    """Acknowledge the case for a technician who has the signed report, though no system of the clinic has said so.

    The deliveries go on, and what they still say is kept beside it. Twice is once.

    Raises:
        NotFound: there is no such case, or it is another site's. Forbidden: the viewer is no technician.
        WrongState: `report_id` is not the case's newest report, or it does not count for the moment.
    """
    now = hub.clock()
    require(viewer, Role.TECHNICIAN)
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        if report_id != _find_newest(session, case_id):
            raise WrongState("this is not the newest report of the case; look at what was signed since")
        if case.state == CaseState.ACKNOWLEDGED:
            return
        if case.state != CaseState.FINAL:  # no case rests as delivered
            raise WrongState("this report is being amended or does not count any more; look at the case again")
        record_custody(session, case, Hop.ACKNOWLEDGED, _acknowledged(report_id), now, actor=viewer.account_id)
        about = {"event": "report_received_by_hand", "report_id": report_id}
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, **about)
        _end(case, now, Actor.TECHNICIAN, now)


def _get_document(session: Session, site_id: str, document_id: str) -> Document:
    document = session.get(Document, document_id)
    if document is None or document.site_id != site_id:
        raise NotFound("there is no such document for this site")
    return document


def _write_receipt(session: Session, document_id: str, receipt: Receipt, now: datetime) -> None:
    """Write the receipt once per step and target; of failures the last one stays."""
    row = insert(DocumentReceipt).values(
        document_id=document_id,
        step=receipt.step,
        target=receipt.target,
        at=receipt.at,
        received_at=now,
        reason=receipt.reason,
        code=receipt.code,
        params=receipt.params,
        takes=list(receipt.takes),
    )
    key = [DocumentReceipt.document_id, DocumentReceipt.step, DocumentReceipt.target]
    if receipt.step is ReceiptStep.FAILED:
        latest = {column: row.excluded[column] for column in ("at", "received_at", "reason", "code", "params")}
        session.execute(row.on_conflict_do_update(index_elements=key, set_=latest))
    else:
        session.execute(row.on_conflict_do_nothing(index_elements=key))


def _record_failure(session: Session, case: Case, document: Document, receipt: Receipt, now: datetime) -> None:
    """Write one line of the ledger per failure; the failure's own time tells a repeated word from a new failure."""
    key = f"delivery_failed:{document.document_id}:{receipt.target}:{receipt.at.isoformat()}"
    detail: dict[str, Any] = {"kind": document.kind, "target": receipt.target}
    # A gateway's own code and its parameters, but for the other system's words: the ledger quotes nobody.
    told = {name: value for name, value in receipt.params.items() if name != SAID}
    detail |= {"fault": receipt.code, "params": told} if receipt.code else {"reason": receipt.reason}
    record_custody(session, case, Hop.DELIVERY_FAILED, key, now, detail=detail)


def _acknowledge_if_home(session: Session, case: Case, document: Document, receipt: Receipt, now: datetime) -> None:
    """Acknowledge the case when one of the clinic's systems has all that it takes of the newest report."""
    if document.report_id != _find_newest(session, case.case_id):
        return
    if not _report_is_home(session, document.report_id):
        return
    if record_custody(session, case, Hop.ACKNOWLEDGED, _acknowledged(document.report_id), now):
        _end(case, _plausible(receipt.at, case, now), Actor.SYSTEM, now)


def _end(case: Case, delivered_at: datetime, actor: Actor, now: datetime) -> None:
    case.delivered_at = case.delivered_at or delivered_at
    case.acknowledged_at = case.acknowledged_at or now
    if case.state == CaseState.FINAL:  # else the next version is being written already
        move_case(case, CaseEvent.DELIVER, Actor.SYSTEM)
        move_case(case, CaseEvent.ACKNOWLEDGE, actor)


def _acknowledged(report_id: str) -> str:
    """Return the key of the ledger line that a report is at home: one for each report, whoever says so first."""
    return f"acknowledged:{report_id}"


def is_acknowledged(session: Session, case: Case, report_id: str) -> bool:
    """Return whether this report of the case is at home, as a system of the clinic or a technician has said."""
    keys = [event_key(_acknowledged(report_id), uid) for uid in study_uids(session, case.case_id)]
    return session.scalar(select(CustodyEvent.event_id).where(CustodyEvent.event_key.in_(keys)).limit(1)) is not None


def _find_newest(session: Session, case_id: str) -> str | None:
    """Return the id of the case's newest report."""
    versions = select(Report.report_id).where(Report.case_id == case_id).order_by(Report.report_version.desc())
    return session.scalar(versions.limit(1))


def _report_is_home(session: Session, report_id: str) -> bool:
    """Return whether some target has everything that it takes, by the newest word of its gateway."""
    delivered = session.execute(
        select(DocumentReceipt.target, Document.kind, DocumentReceipt.takes)
        .join(Document, Document.document_id == DocumentReceipt.document_id)
        .where(Document.report_id == report_id, DocumentReceipt.step == ReceiptStep.DELIVERED)
        .order_by(DocumentReceipt.receipt_id)
    ).all()
    return is_home([(target, kind, frozenset(takes)) for target, kind, takes in delivered])


def is_home(delivered: Sequence[tuple[str, str, frozenset[str]]]) -> bool:
    """Return whether these deliveries (target, kind, kinds that the target takes), oldest first, bring a report home.

    Pure. Targets of gateways that do not say what they take count together, as they did.
    """
    takes = {target: wanted for target, _, wanted in delivered}
    held: dict[str, set[str]] = {}
    for target, kind, _ in delivered:
        held.setdefault(target if takes[target] else "", set()).add(kind)
    return any(kinds >= (takes[target] if target else NEEDED_UNSAID) for target, kinds in held.items())


def _plausible(at: datetime, case: Case, now: datetime) -> datetime:
    """Return the clinic's time of delivery, which is neither before the signature nor after its own receipt."""
    return min(max(at, case.signed_at or at), now)
