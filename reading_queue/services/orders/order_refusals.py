"""Why an order cannot be taken although each of its fields is right: its study is dead, or another patient's.

Reads only, inside the caller's transaction. An emergency is never refused for whose study it is: that doubt is shown to
its reader (`identity_doubts`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import UnlinkedOrder
from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.identity import NEVER_HELD
from reading_queue.domain.order_matching import are_two_patients, find_contradictions, is_same_person
from reading_queue.domain.transitions import CaseState
from reading_queue.services.orders.study_orders import list_orders_of
from storage.catalogue.tables import Study
from storage.contract.orders import Order, OrderState

NAMES_STUDY: Final = ("accession_number", "study_uid")
DEAD: Final = frozenset({CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR})


class OrderRefused(NamedTuple):
    """A constant code and a sentence that says what to do."""

    code: str
    words: str


STUDY_DEAD: Final = OrderRefused(
    "study_dead",
    "the study of this order was withdrawn, voided or emptied, nobody reads it: send the images anew, then order",
)
OTHER_PATIENT: Final = OrderRefused(
    "study_of_other_patient",
    "another order of this study is of another patient: cancel or correct the one that is wrong",
)


CONTRADICTS: Final = OrderRefused(
    "orders_contradict",
    "another order of this study says another birth date, sex, identity number or modality: cancel or correct the "
    "one that is wrong",
)


def find_refusal(session: Session, order: Order, held: ClinicOrder | None) -> OrderRefused | None:
    """Return why the order cannot be taken, None when it can. `held` is its version so far."""
    before = Order.model_validate(held.content) if held is not None else None
    same_study = before is not None and all(getattr(before, name) == getattr(order, name) for name in NAMES_STUDY)
    if order.state is OrderState.CANCELLED or (same_study and before is not None and is_same_person(before, order)):
        return None
    studies = _studies_of(session, order)
    if studies and not same_study and all(is_dead(study, state) for study, state in studies):
        return STUDY_DEAD
    if order.lane not in NEVER_HELD and any(_is_of_another(session, order, study) for study, _ in studies):
        return OTHER_PATIENT
    if order.lane not in NEVER_HELD and any(contradictions_at(session, order, study) for study, _ in studies):
        return CONTRADICTS
    return None


def contradictions_at(session: Session, order: Order, study: Study) -> tuple[str, ...]:
    """Return in which fields an order contradicts the others of a study."""
    others = (other for other in list_orders_of(session, study) if other.order_id != order.order_id)
    found = {name for other in others for name in find_contradictions(order, Order.model_validate(other.content))}
    return tuple(sorted(found))


def is_dead(study: Study, state: str | None) -> bool:
    """Return whether nobody will ever read this study as it is; `state` is its case's."""
    return study.instance_count == 0 or state in DEAD


def _studies_of(session: Session, order: Order) -> list[tuple[Study, str | None]]:
    unlinked = exists().where(
        UnlinkedOrder.order_id == order.order_id,
        UnlinkedOrder.site_id == Study.site_id,
        UnlinkedOrder.study_uid == Study.study_uid,
    )
    found = (
        select(Study, Case.state)
        .outerjoin(CaseStudy, and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid))
        .outerjoin(Case, Case.case_id == CaseStudy.case_id)
        .where(
            Study.site_id == order.site_id,
            or_(Study.accession_number == order.accession_number, Study.study_uid == order.study_uid),
            ~unlinked,
        )
    )
    return [(study, state) for study, state in session.execute(found)]


def _is_of_another(session: Session, order: Order, study: Study) -> bool:
    others = (other for other in list_orders_of(session, study) if other.order_id != order.order_id)
    return any(are_two_patients(order, Order.model_validate(other.content)) for other in others)
