"""Orders (申请单) from the clinics: kept in their newest version, joined to the case that reads their study.

Durable: each order in the transaction of what follows from it. Everything may be repeated; an older version never
replaces a newer one, and what people type and what the scanner reports never take each other back. What does not agree
between order and images is written down and shown to the reader; whether it holds the case up is decided by
`identity_doubts`. A site sees its own orders only.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Sequence, Subquery, and_, or_, select, union
from sqlalchemy.orm import Session

from reading_queue.db.order_tables import OrderSearch
from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.order_changes import ADDED, changed_fields, news_of, typed_fields
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.cases.casework import find_case_of_locked, get_case_locked, record_custody
from reading_queue.services.cases.joining import join_by_order
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_refusals import find_refusal
from reading_queue.services.orders.order_versions import cases_of_order, is_reported, keep_version, tell_reader
from reading_queue.services.orders.study_orders import find_order_of, is_not_unlinked, list_orders_of, lock_orders_of
from reading_queue.services.patients.identity_doubts import SettledBy, check_identity, find_doubting
from reading_queue.services.patients.link_asking import ask_for_number
from reading_queue.services.routing.lanes import count_limit, enter_green_channel, raise_lane
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.order_keys import keys_of_order
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import Hop
from storage.contract.order_merge import merge
from storage.contract.order_patient import find_person_differences
from storage.contract.orders import Order, OrderState
from storage.contract.wire import ORDERS_PER_BATCH_MAX, OrderBatch, OrderPage, OrderRefusal, OrdersAnswer

CHANGES: Final = Sequence("order_changes")
OTHER_SITE: Final = ("other_site", "the order is of another site")
ACCESSION_TAKEN: Final = ("accession_taken", "another order of this site has this accession number")
REPORT_SIGNED: Final = (
    "report_signed",
    "the report of this order is signed: what it says cannot be changed any more; add a note at the hub",
)
CHANGED_ELSEWHERE: Final = ("changed_elsewhere", "the order was changed elsewhere meanwhile; look at it again")


def accept_orders(hub: Hub, gateway: GatewayIdentity, batch: OrderBatch) -> OrdersAnswer:
    """Keep the orders and return which are held now; one that is refused holds up no other."""
    now = hub.clock()
    accepted: list[str] = []
    refused: list[OrderRefusal] = []
    with hub.transaction() as session:
        lock_orders_of(session, gateway.site_id)
        for order in batch.orders:
            refusal = _accept(session, hub, gateway, order, now)
            if refusal is None:
                accepted.append(order.order_id)
                continue
            code, reason = refusal
            refused.append(OrderRefusal(order_id=order.order_id, version=order.version, code=code, reason=reason))
    return OrdersAnswer(accepted=tuple(accepted), refused=tuple(refused))


def orders_for_site(hub: Hub, site_id: str, after: int) -> OrderPage:
    """Return the orders of the site that changed after the number `after`, oldest change first."""
    query = select(ClinicOrder).where(ClinicOrder.site_id == site_id, ClinicOrder.change_number > after)
    with hub.transaction() as session:
        rows = session.scalars(query.order_by(ClinicOrder.change_number).limit(ORDERS_PER_BATCH_MAX)).all()
    through = rows[-1].change_number if rows else after
    return OrderPage(orders=tuple(Order.model_validate(row.content) for row in rows), through=through)


def match_study(session: Session, hub: Hub, case: Case, study: Study, now: datetime) -> None:
    """Join the order of a study that the catalogue has just taken in."""
    row = find_order_of(session, study)
    if row is not None:
        _join(session, hub, row, case, study, now)


def orders_of_case(session: Session, case_id: str) -> list[ClinicOrder]:
    """Return the orders of the case's studies, the newest first; cancelled ones are left out."""
    return orders_of_cases(session, [case_id])[case_id]


def orders_by_study(session: Session, case_id: str) -> list[tuple[str, ClinicOrder]]:
    """Return the orders of a case, each with the UID of a study that it is of; cancelled ones are left out."""
    named = _select_named(CaseStudy.case_id == case_id)
    found = (
        select(named.c.study_uid, ClinicOrder)
        .join(ClinicOrder, ClinicOrder.order_id == named.c.order_id)
        .where(ClinicOrder.state != OrderState.CANCELLED)
        .order_by(named.c.study_uid, ClinicOrder.accession_number)
    )
    return [(study_uid, row) for study_uid, row in session.execute(found)]


def orders_of_cases(session: Session, case_ids: Collection[str]) -> dict[str, list[ClinicOrder]]:
    """Return for each case the orders of its studies, in one statement; as `orders_of_case`."""
    named = _select_named(CaseStudy.case_id.in_(case_ids))
    of_case = select(named.c.case_id, named.c.order_id).distinct().subquery()
    found = (
        select(of_case.c.case_id, ClinicOrder)
        .join(ClinicOrder, ClinicOrder.order_id == of_case.c.order_id)
        .where(ClinicOrder.state != OrderState.CANCELLED)
        .order_by(ClinicOrder.change_number.desc())
    )
    orders: dict[str, list[ClinicOrder]] = {case_id: [] for case_id in case_ids}
    for case_id, row in session.execute(found):
        orders[case_id].append(row)
    return orders


def cases_of_orders(order_ids: Collection[str]) -> Select[str]:
    """Select the ids of the cases whose studies these orders name."""
    return select(_select_named(ClinicOrder.order_id.in_(order_ids)).c.case_id)


def _select_named(among: ColumnElement[bool]) -> Subquery:
    """Select case, study and order of all that the studies of cases are named by: by UID, or by accession number."""
    its_own = ClinicOrder.site_id == CaseStudy.site_id, is_not_unlinked(CaseStudy.site_id, CaseStudy.study_uid)
    of_cases = select(CaseStudy.case_id, CaseStudy.study_uid, ClinicOrder.order_id)
    of_cases = of_cases.where(among)
    by_uid = of_cases.join(ClinicOrder, and_(ClinicOrder.study_uid == CaseStudy.study_uid, *its_own))
    by_number = of_cases.join(
        Study, and_(Study.site_id == CaseStudy.site_id, Study.study_uid == CaseStudy.study_uid)
    ).join(ClinicOrder, and_(ClinicOrder.accession_number == Study.accession_number, *its_own))
    return union(by_uid, by_number.where(Study.accession_number != "")).subquery()


def find_differences(order: Order, patient: PatientFacts) -> list[str]:
    """Return which facts of the patient the order and the images do not agree on; what one side lacks is no difference.

    Pure.
    """
    differs = {
        "birth_date": None not in (order.birth_date, patient.birth_date) and order.birth_date != patient.birth_date,
        "sex": {order.sex, patient.sex} == {"M", "F"},
    }
    of_person = find_person_differences(order, patient.number, patient.name)
    return [*of_person, *(name for name, is_different in differs.items() if is_different)]


def _accept(
    session: Session, hub: Hub, gateway: GatewayIdentity, order: Order, now: datetime
) -> tuple[str, str] | None:
    if order.site_id != gateway.site_id:
        return OTHER_SITE
    row, held = session.get(ClinicOrder, order.order_id, with_for_update=True), order
    if row is not None and row.site_id != gateway.site_id:
        return OTHER_SITE
    if row is not None:
        held, given = Order.model_validate(row.content), order
        order = merge(held, given)
        if order is held:
            is_same = held.version > given.version or held == given
            return None if is_same else CHANGED_ELSEWHERE
    if _is_taken(session, order):
        return ACCESSION_TAKEN
    if row is not None and typed_fields(changed_fields(held, order)) and is_reported(session, row):
        return REPORT_SIGNED
    refusal = find_refusal(session, order, row)
    if refusal is not None:
        return refusal.code, refusal.words
    if row is None:
        row = ClinicOrder(order_id=order.order_id, site_id=order.site_id, differs=None, content={})
    row.gateway_id = gateway.gateway_id
    put_version(session, hub, row, order, now)
    return None


def put_version(
    session: Session,
    hub: Hub,
    row: ClinicOrder,
    order: Order,
    now: datetime,
    *,
    by: SettledBy | None = None,
    account_id: str | None = None,
) -> tuple[str, ...]:
    """Let the row be this version of its order, with all that follows; return the names of the fields that changed.

    `by`: who corrected it to settle a doubt. `account_id`: who wrote it at the hub, None when a gateway brought it.
    """
    held = Order.model_validate(row.content) if row.content else None
    cases_before = {case_id for case_id, _ in cases_of_order(session, row)} if held is not None else set()
    patient_numbers = {order.patient_number, row.content.get("patient_number", order.patient_number)}
    facts: dict[str, Any] = {
        "accession_number": order.accession_number,
        "study_uid": order.study_uid,
        "order_version": order.version,
        "state": order.state,
        "lane": order.lane,
        "content": order.model_dump(mode="json"),
        "received_at": now,
        "change_number": session.scalar(CHANGES),
    }
    for name, value in facts.items():
        setattr(row, name, value)
    session.add(row)
    session.flush()
    session.merge(OrderSearch(order_id=row.order_id, keys=keys_of_order(order, readings)))
    account_id = account_id or (by.account_id if by is not None else None)
    changed = keep_version(session, row, held, order, now, account_id)
    for case in _join_arrived(session, hub, row, now, by):
        was_there = held is not None and case.case_id in cases_before
        news = news_of(held, order) if held is not None and was_there else (ADDED,)
        tell_reader(session, case, row, news, now, account_id)
    for patient_number in sorted(patient_numbers):
        ask_for_number(session, now, order.site_id, patient_number)
    return changed


def _is_taken(session: Session, order: Order) -> bool:
    other = select(ClinicOrder.order_id).where(
        ClinicOrder.site_id == order.site_id,
        ClinicOrder.accession_number == order.accession_number,
        ClinicOrder.order_id != order.order_id,
    )
    return session.scalar(other) is not None


def _join_arrived(session: Session, hub: Hub, row: ClinicOrder, now: datetime, by: SettledBy | None) -> list[Case]:
    """Join an order whose images are here already, and look again at cases that it contradicted before.

    Returns the cases that read a study of it, locked.
    """
    its_studies = select(Study).where(
        Study.site_id == row.site_id,
        or_(Study.accession_number == row.accession_number, Study.study_uid == row.study_uid),
    )
    doubting, read_by = set(find_doubting(session, row.order_id)), set()
    for study in session.scalars(its_studies).all():
        case = find_case_of_locked(session, study.site_id, study.study_uid)
        if case is None:
            continue
        found = find_order_of(session, study)
        of_study = [found, *list_orders_of(session, study)]  # several may be read together
        doubting.add(case.case_id)
        if any(one is not None and one.order_id == row.order_id for one in of_study):
            read_by.add(case.case_id)
            _join(session, hub, row, case, study, now)
    for case_id in sorted(doubting):
        case = get_case_locked(session, case_id)
        check_identity(session, case, now, by)
        join_by_order(session, hub, case, now)
    return [get_case_locked(session, case_id) for case_id in sorted(read_by)]


def _join(session: Session, hub: Hub, row: ClinicOrder, case: Case, study: Study, now: datetime) -> None:
    """Let the case have the order's urgency, and write down what the patient's facts do not agree on."""
    order = Order.model_validate(row.content)
    row.differs = find_differences(order, facts_of(study, session.get_one(Patient, study.patient_id)))
    if order.state is OrderState.CANCELLED:
        return
    if case.exam_started_at is None and order.exam_started_at is not None:
        case.exam_started_at = order.exam_started_at
        count_limit(session, hub, case)
    raise_lane(session, hub, case, order.lane, now, uids=[study.study_uid])
    if order.green_channel is not None:
        enter_green_channel(session, hub, case, order.green_channel, now)
    record_custody(
        session,
        case,
        Hop.ORDER_MATCHED,
        f"order:{row.order_id}:{row.order_version}",
        now,
        uids=[study.study_uid],
        detail={"order_id": row.order_id, "version": row.order_version, "differs": row.differs},
    )
