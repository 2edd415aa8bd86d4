"""An import that was started for an order: its study becomes the order's, or a person is told why not.

The images stay as they are. The order's next version has the study's UID, by which gateway and hub find the order of
a study that has no accession number of theirs; its examination is done. Durable: the order first, then the outcome;
harmless to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.journal.database import Journal
from gateway.journal.imports import ImportRow, note_joined
from gateway.journal.orders import StaleOrder, find_for_study, find_order
from gateway.orders import OrderNotOpen, amend_order
from storage.contract.identifiers import Uid
from storage.contract.order_patient import find_person_differences
from storage.contract.orders import Order, OrderState


class Joined(StrEnum):
    """What became of an import for an order."""

    JOINED = "joined"
    NOTHING = "nothing"
    SEVERAL = "several"
    ORDER_BEGUN = "order_begun"
    ORDER_HAS_IMAGES = "order_has_images"
    OTHER_ORDER = "other_order"
    PATIENT_DIFFERS = "patient_differs"


WORDS: Final = {
    Joined.NOTHING: "The import brought no new study for its order",
    Joined.SEVERAL: "The import brought several studies, and an order has one",
    Joined.ORDER_BEGUN: "The order's examination has begun or was cancelled, or somebody changed the order",
    Joined.ORDER_HAS_IMAGES: "The order has images already",
    Joined.OTHER_ORDER: "The imported study belongs to another order",
    Joined.PATIENT_DIFFERS: "Patient number or name of the images are not the order's",
}


@dataclass(frozen=True, slots=True)
class ImportedStudy:
    """A study that an import brought, with the order that it has already."""

    study_uid: str
    patient_number: str
    patient_name: str
    order_id: str | None


def decide(order: Order, studies: Sequence[ImportedStudy], *, has_images: bool, confirmed: bool) -> Joined:
    """Return JOINED where the order may have the study. `confirmed`: a person says it is the same patient. Pure."""
    if len(studies) != 1:
        return Joined.SEVERAL if studies else Joined.NOTHING
    (study,) = studies
    if study.order_id == order.order_id:
        return Joined.JOINED
    if order.state is not OrderState.SCHEDULED:
        return Joined.ORDER_BEGUN
    if study.order_id is not None:
        return Joined.OTHER_ORDER
    if has_images:
        return Joined.ORDER_HAS_IMAGES
    if not confirmed and find_person_differences(order, study.patient_number, study.patient_name):
        return Joined.PATIENT_DIFFERS
    return Joined.JOINED


def join(journal: Journal, row: ImportRow, *, actor: str, now: datetime, confirmed: bool = False) -> Joined | None:
    """Give the import's study to its order where that is right; write down and return what became of it.

    Returns None for an import that is for no order, or has brought nothing yet.
    """
    if row.order_id is None or row.association_id is None:
        return None
    outcome = _try(journal, row.order_id, studies_of(journal, row.association_id), actor, now, confirmed=confirmed)
    note_joined(journal, row.import_id, outcome)
    return outcome


def studies_of(journal: Journal, association_id: str) -> list[ImportedStudy]:
    """Return the studies of which the import brought instances."""
    rows = journal.read(
        "SELECT study_uid, patient_number, patient_name FROM studies WHERE study_uid IN"
        " (SELECT study_uid FROM instances WHERE association_id = ?) ORDER BY study_uid",
        (association_id,),
    )
    found = []
    for row in rows:
        order = find_for_study(journal, Uid(row["study_uid"]))
        order_id = order.order.order_id if order is not None else None
        found.append(ImportedStudy(row["study_uid"], row["patient_number"] or "", row["patient_name"] or "", order_id))
    return found


def _try(
    journal: Journal, order_id: str, studies: Sequence[ImportedStudy], actor: str, now: datetime, *, confirmed: bool
) -> Joined:
    row = find_order(journal, order_id)
    if row is None:
        return Joined.ORDER_BEGUN
    order = row.order
    outcome = decide(order, studies, has_images=_has_images(journal, order), confirmed=confirmed)
    if outcome is Joined.JOINED and studies[0].order_id is None:
        changes = {"study_uid": studies[0].study_uid, "state": OrderState.DONE}  # it leaves the worklist
        try:
            amend_order(journal, order_id, order.version, changes, changed_by=actor, now=now)
        except (StaleOrder, OrderNotOpen):  # at this very moment: a person looks again
            return Joined.ORDER_BEGUN
    return outcome


def _has_images(journal: Journal, order: Order) -> bool:
    rows = journal.read(
        "SELECT 1 FROM studies WHERE accession_number = ? OR study_uid = ? LIMIT 1",
        (order.accession_number, order.study_uid),
    )
    return bool(rows)
