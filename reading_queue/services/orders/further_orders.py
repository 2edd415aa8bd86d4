"""Studies that have an order already and could answer another one of the same patient. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.order_matching import find_contradictions
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.holds import AT_THE_SITE
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_refusals import DEAD
from reading_queue.services.orders.order_versions import REPORTED
from reading_queue.services.orders.study_orders import list_orders_of
from storage.catalogue.tables import Patient, Study
from storage.contract.orders import Order

FURTHER_MAX: Final = 20  # studies of one patient


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """An order that a study has already."""

    accession_number: str
    procedure_name: str
    question: str


@dataclass(frozen=True, slots=True)
class OrderedStudy:
    """A study with orders, of which a further one of the same patient may be read as well."""

    study_uid: str
    modalities: tuple[str, ...]
    description: str
    study_date: date | None
    orders: tuple[OtherOrder, ...]


def find_ordered_studies(hub: Hub, viewer: Viewer, order_id: str) -> tuple[OrderedStudy, ...]:
    """Return the studies of an order's patient that have orders already and are not signed, the newest first.

    One read may answer this order too; a person says so (`confirm_match` with `further`). Raises NotFound.
    """
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        row = session.get(ClinicOrder, order_id)
        if row is None or row.site_id not in visible_sites(session, viewer, hub.clock()):
            raise NotFound("there is no such order, or you may not see it")
        order = Order.model_validate(row.content)
        found = (
            select(Study)
            .join(Patient, Patient.patient_id == Study.patient_id)
            .join(CaseStudy, and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid))
            .join(Case, Case.case_id == CaseStudy.case_id)
            .where(
                Study.site_id == row.site_id,
                Patient.patient_number == order.patient_number,
                Study.instance_count > 0,
                Case.state.not_in(sorted(REPORTED | DEAD)),
            )
            .order_by(Study.first_received_at.desc())
            .limit(FURTHER_MAX)
        )
        return tuple(
            OrderedStudy(study.study_uid, tuple(study.modalities), study.description, study.study_date, others)
            for study in session.scalars(found).all()
            if (others := _others(session, order, study))
        )


def _others(session: Session, order: Order, study: Study) -> tuple[OtherOrder, ...]:
    """Return the orders of a study with which another could be read; nothing when one of them contradicts it."""
    others = [Order.model_validate(row.content) for row in list_orders_of(session, study)]
    if any(one.order_id == order.order_id or find_contradictions(order, one) for one in others):
        return ()
    return tuple(OtherOrder(one.accession_number, one.procedure_name, one.question) for one in others)
