"""What a person does about a doubt whose a case is: confirms it, takes the order from the study, or corrects the order.

Durable: how each doubt ended, by whom and why. Doing the same again changes nothing. Whoever may follow the case at its
site or oversees it may do it; the case is offered as soon as no doubt is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Final

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import IdentityConflict, UnlinkedOrder
from reading_queue.db.tables import Case, ClinicOrder
from reading_queue.domain.identity import Settlement
from reading_queue.errors import Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.casework import PATIENT_RECORD, audit, get_case_locked
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.orders.orders import put_version
from reading_queue.services.orders.study_orders import lock_orders_of
from reading_queue.services.patients.identity_doubts import SettledBy, check_identity, end_doubt, follow_doubts
from storage.contract.national_id import IdentityKind
from storage.contract.orders import Order, explain_faults

OTHERWISE: Final = "say in a few words how you know"
_Do = Callable[[Session, Case, IdentityConflict, SettledBy, datetime], None]


@dataclass(frozen=True, slots=True)
class PersonOfOrder:
    """Who an order shall say the patient is; `identity_kind` None leaves kind and number as they are."""

    patient_name: str
    birth_date: date | None
    sex: str
    identity_kind: IdentityKind | None = None
    identity_number: str = ""

    def changes(self) -> dict[str, object]:
        """Return the fields of the order that are said."""
        said = asdict(self)
        if self.identity_kind is None:
            del said["identity_kind"], said["identity_number"]
        return said


def confirm_identity(hub: Hub, viewer: Viewer, conflict_id: str, reason: str) -> None:
    """Say that order and images are of the same patient all the same.

    Raises:
        NotFound: there is no such doubt, or the viewer may not see its case.
        WrongState: somebody has settled it in another way. Invalid: no reason is given.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        end_doubt(session, case, doubt, by.settlement, now, by.account_id, by.reason)
        follow_doubts(session, case, now)

    _settle(hub, viewer, conflict_id, Settlement.CONFIRMED, reason, do)


def unlink_order(hub: Hub, viewer: Viewer, conflict_id: str, reason: str) -> None:
    """Take the order from the study: it is of another examination. The study is read without it.

    Raises:
        Invalid: the doubt is about the images alone; and as `confirm_identity`.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        order = _get_order(session, doubt)
        session.add(
            UnlinkedOrder(
                order_id=order.order_id,
                site_id=case.site_id,
                study_uid=doubt.study_uid,
                unlinked_at=now,
                unlinked_by=by.account_id,
                reason=by.reason,
            )
        )
        order.differs = None
        check_identity(session, case, now, by)

    _settle(hub, viewer, conflict_id, Settlement.UNLINKED, reason, do)


def correct_order(hub: Hub, viewer: Viewer, conflict_id: str, person: PersonOfOrder, reason: str) -> None:
    """Write a version of the order that says who the patient is; every gateway of the site is told of it.

    The doubt stays open when the order contradicts the images still.

    Raises:
        Invalid: the order would contradict itself; the words name the field. And as `unlink_order`.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        row = _get_order(session, doubt)
        held = Order.model_validate(row.content)
        changed = person.changes() | {"version": held.version + 1, "changed_at": now}
        try:
            order = Order.model_validate(held.model_dump() | changed)
        except ValidationError as error:
            raise Invalid("; ".join(fault.words for fault in explain_faults(error))) from None
        audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="order_corrected", id=row.order_id)
        put_version(session, hub, row, order, now, by)

    _settle(hub, viewer, conflict_id, Settlement.CORRECTED, reason, do)


def _settle(hub: Hub, viewer: Viewer, conflict_id: str, settlement: Settlement, reason: str, do: _Do) -> None:
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    words = parse_words(reason, OTHERWISE)
    with hub.transaction() as session:
        case_id = session.scalar(select(IdentityConflict.case_id).where(IdentityConflict.conflict_id == conflict_id))
        if case_id is None:
            raise NotFound("there is no such doubt")
        require_case(session, viewer, case_id, now)
        lock_orders_of(session, session.get_one(Case, case_id).site_id)  # before the case, as where orders come
        case = get_case_locked(session, case_id)
        doubt = session.get_one(IdentityConflict, conflict_id, populate_existing=True)
        if doubt.ended_at is None:
            do(session, case, doubt, SettledBy(viewer.account_id, settlement, words), now)
        elif doubt.settlement != settlement:
            raise WrongState("somebody has settled this in another way; look again")


def _get_order(session: Session, doubt: IdentityConflict) -> ClinicOrder:
    row = session.get(ClinicOrder, doubt.order_id, with_for_update=True) if doubt.order_id else None
    if row is None:
        raise Invalid("this is about the images alone; there is no order to unlink or to correct")
    return row
