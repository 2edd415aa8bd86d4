"""What a person says of an order and a study: that they belong together, or do not.

Durable: each decision with who and when, in the audit trail and the ledger; a pair that was rejected is not proposed
again. Only an accession number, or the UID that an order was given, joins the two without a person. Who confirms writes
the order's next version, which names the study: every gateway of the site fetches it, and its worklist lets it go.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import UnlinkedOrder
from reading_queue.db.tables import Case
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.casework import audit, find_case_of_locked, record_custody
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_entry import (
    ORDER_RECORD,
    OrderNotOpen,
    StaleOrder,
    StudyDead,
    StudyHasOrder,
    get_order_locked,
    record,
    require_joinable,
)
from reading_queue.services.orders.order_refusals import is_dead
from reading_queue.services.orders.orders import put_version
from reading_queue.services.orders.study_orders import list_orders_of
from reading_queue.services.orders.unmatched import MAY_HAVE_STUDY
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.orders import Order, OrderState

REASON_NEEDED: Final = "say in a few words why they do not belong together"


def confirm_match(
    hub: Hub, viewer: Viewer, order_id: str, study_uid: str, version: int, *, further: bool = False
) -> None:
    """Say that an order is of a study; saying it again changes nothing.

    `version` is that of the order that the viewer looked at. `further`: the study has an order already, and one read
    answers both (chest and abdomen under two accession numbers, in one study).

    Raises:
        NotFound: there is no such order or study at a site of the viewer.
        StaleOrder: the order was changed meanwhile. OrderNotOpen: it was cancelled.
        StudyDead: nobody reads the study any more.
        StudyOfOtherPatient, OrdersContradict: another order of the study says something else.
        StudyHasOrder: it has one, and `further` was not said. ReportSigned: its report is signed.
    """
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        study, case = _get_study_locked(session, row.site_id, study_uid)
        held = Order.model_validate(row.content)
        unlinked = session.get(UnlinkedOrder, (order_id, row.site_id, study_uid))
        if held.study_uid == study_uid and held.state is not OrderState.CANCELLED and unlinked is None:
            return
        _require_open(held, study, case, version)
        require_joinable(session, held, study, further=further)
        if unlinked is not None:
            session.delete(unlinked)
            session.flush()
        changes = {
            "study_uid": study_uid,
            "state": OrderState.DONE,
            "exam_started_at": held.exam_started_at or study.exam_started_at,
            "version": held.version + 1,
            "changed_at": now,
        }
        if held.exam_ended_at is not None and held.exam_started_at is None:
            changes["exam_started_at"] = None  # what the scanner said stays as it is
        row.gateway_id = None
        order = Order.model_validate(held.model_dump() | changes)
        put_version(session, hub, row, order, now, account_id=viewer.account_id)
        about = {"order_id": order_id, "version": row.order_version}
        record_custody(
            session,
            case,
            Hop.ORDER_MATCHED,
            f"order_confirmed:{order_id}:{row.order_version}",
            now,
            actor=viewer.account_id,
            uids=[study_uid],
            detail=dict(about, confirmed=True, further=further),
        )
        record(session, viewer, "U", row, now, event="match_confirmed", study_uid=study_uid)
        audit(session, now, ORDER_RECORD, "U", viewer.account_id, case, event="match_confirmed", **about)


def reject_match(hub: Hub, viewer: Viewer, order_id: str, study_uid: str, reason: str) -> None:
    """Say that an order is not of a study: it is not proposed again. Saying it again changes nothing.

    Raises:
        NotFound: as `confirm_match`. Invalid: no reason is given.
        StudyHasOrder: the two were joined meanwhile.
    """
    require(viewer, *AT_THE_SITE)
    now, words = hub.clock(), parse_words(reason, REASON_NEEDED)
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        study, case = _get_study_locked(session, row.site_id, study_uid)
        if session.get(UnlinkedOrder, (order_id, row.site_id, study_uid)) is not None:
            return
        if any(one.order_id == order_id for one in list_orders_of(session, study)):
            raise StudyHasOrder("order and study were joined meanwhile; look at the study's page")
        session.add(
            UnlinkedOrder(
                order_id=order_id,
                site_id=row.site_id,
                study_uid=study_uid,
                unlinked_at=now,
                unlinked_by=viewer.account_id,
                reason=words,
            )
        )
        record(session, viewer, "U", row, now, event="match_rejected", study_uid=study_uid)
        audit(session, now, ORDER_RECORD, "U", viewer.account_id, case, event="match_rejected", order_id=order_id)


def _get_study_locked(session: Session, site_id: str, study_uid: str) -> tuple[Study, Case]:
    """Return the study and its case, which nobody changes until the transaction ends."""
    case = find_case_of_locked(session, site_id, study_uid)
    of_site = select(Study).where(Study.site_id == site_id, Study.study_uid == study_uid)
    if case is None or session.scalar(of_site) is None:
        raise NotFound("there is no such study to be read at the order's site")
    return session.scalars(of_site.execution_options(populate_existing=True)).one(), case


def _require_open(order: Order, study: Study, case: Case, version: int) -> None:
    if order.version != version:
        raise StaleOrder
    if order.state not in MAY_HAVE_STUDY:
        raise OrderNotOpen
    if is_dead(study, case.state):
        raise StudyDead
