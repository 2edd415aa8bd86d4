"""Which order is of which study: by accession number, else by UID, unless a person has said that it is not.

Runs inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, exists, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from reading_queue.db.identity_tables import UnlinkedOrder
from reading_queue.db.tables import ClinicOrder
from storage.catalogue.tables import Study
from storage.contract.orders import OrderState


def find_order_of(session: Session, study: Study) -> ClinicOrder | None:
    """Return the order of a study: by its accession number, else by the UID that it was given.

    A cancelled one only where there is no other.
    """
    rows = session.scalars(_select_orders_of(study).order_by(ClinicOrder.change_number)).all()
    by_number = study.accession_number or None

    def last(row: ClinicOrder) -> tuple[bool, bool]:
        return row.state == OrderState.CANCELLED, row.accession_number != by_number

    return min(rows, key=last, default=None)


def list_orders_of(session: Session, study: Study) -> Sequence[ClinicOrder]:
    """Return every order that names the study's accession number or UID, but for cancelled ones."""
    found = _select_orders_of(study).where(ClinicOrder.state != OrderState.CANCELLED)
    return session.scalars(found.order_by(ClinicOrder.order_id)).all()


def is_not_unlinked(
    site_id: InstrumentedAttribute[str] | str, study_uid: InstrumentedAttribute[str] | str
) -> ColumnElement[bool]:
    """Return the condition that nobody has taken a row's ClinicOrder from this study."""
    parted = exists().where(
        UnlinkedOrder.order_id == ClinicOrder.order_id,
        UnlinkedOrder.site_id == site_id,
        UnlinkedOrder.study_uid == study_uid,
    )
    return ~parted.correlate_except(UnlinkedOrder)  # of this very row, however deep the condition stands


def lock_orders_of(session: Session, site_id: str) -> None:
    """Let changes of one site's orders take turns, so that their numbers are visible in their order.

    Whoever looks for a study's order takes it first, so that an order and its images that come at the same moment find
    each other. Of the locks it stands after the study's row and before the case.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"orders:{site_id}", 0))))


def _select_orders_of(study: Study) -> Select[ClinicOrder]:
    by_number = ClinicOrder.accession_number == study.accession_number if study.accession_number else false()
    return select(ClinicOrder).where(
        ClinicOrder.site_id == study.site_id,
        or_(by_number, ClinicOrder.study_uid == study.study_uid),
        is_not_unlinked(study.site_id, study.study_uid),
    )
