"""A site's orders at the hub, for what order messages do to them: by the same checks as the desk's and the API's.

Every method works within its caller's transaction, which has the site's orders to itself (`lock_orders_of`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.db.message_tables import PlacerOrder
from reading_queue.db.tables import ClinicOrder
from reading_queue.domain.order_changes import news_of
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_entry import CONSENT_CHARACTERS_MAX, NUMBERS, ORDER_RECORD
from reading_queue.services.orders.order_refusals import STUDY_DEAD, find_refusal
from reading_queue.services.orders.order_versions import is_reported
from reading_queue.services.orders.orders import put_version
from reading_queue.services.worklists.desk_events import tell
from storage.catalogue.tables import Study
from storage.contract.accession_numbers import HUB_MARK, accession_number_of
from storage.contract.identifiers import Uid
from storage.contract.orders import UNNAMED_PATIENT, Order
from storage.dicom.person_name import display_name
from storage.hl7.faults import ErrorCode, Fault, OrderFaulty
from storage.hl7.order_consent import SaidConsent
from storage.hl7.order_decisions import ACTOR
from storage.hl7.order_message import Control, OrderRequest
from storage.ledger.tables import AuditEvent

REPORT_SIGNED: Final = "the report of this order is signed: what it was read by cannot be changed any more"
_ACTIONS: Final = {"order_entered": "C"}


@dataclass(frozen=True, slots=True)
class HubBook:
    """Where orders are entered, and when: an `OrderBook`. `message_id`: which message asks for it."""

    hub: Hub
    session: Session
    site_id: str
    message_id: int
    sender_name: str
    now: datetime

    def find_by_placer(self, namespace: str, placer_number: str) -> Order | None:
        """Return the order that a placer calls so."""
        return find_by_placer(self.session, self.site_id, namespace, placer_number)

    def find_by_accession(self, accession_number: str) -> Order | None:
        """Return the order with this accession number."""
        return find_by_accession(self.session, self.site_id, accession_number)

    def find_by_study_uid(self, study_uid: Uid) -> Order | None:
        """Return the order for which this Study Instance UID was given out."""
        return _find(self.session, self.site_id, ClinicOrder.study_uid == study_uid)

    def has_study(self, order: Order) -> bool:
        """Return whether images of the order have come: under its accession number or its Study Instance UID."""
        its = or_(Study.accession_number == order.accession_number, Study.study_uid == order.study_uid)
        return bool(self.session.scalar(select(exists().where(Study.site_id == self.site_id, its))))

    def next_accession_number(self) -> str:
        """Return an accession number that nobody at this site has or will get."""
        return accession_number_of(self.site_id, HUB_MARK, self.session.scalar(NUMBERS) or 0)

    def add(self, order: Order, request: OrderRequest) -> None:
        """Add the first version of an order. Raises OrderFaulty: its study takes no such order."""
        row = ClinicOrder(order_id=order.order_id, site_id=self.site_id, differs=None, content={})
        self._put(row, order, request, "order_entered", held=None)
        if request.placer_number:
            name = {"site_id": self.site_id, "namespace": request.placer_namespace, "order_id": order.order_id}
            named = insert(PlacerOrder).values(placer_number=request.placer_number, **name)
            self.session.execute(named.on_conflict_do_nothing())

    def replace(self, order: Order, request: OrderRequest, verb: str) -> None:
        """Put the next version of an order in the place of the one before. Raises OrderFaulty, as `add`."""
        row = self.session.get_one(ClinicOrder, order.order_id)
        row.gateway_id = None
        self._put(row, order, request, verb, held=row)

    def _put(self, row: ClinicOrder, order: Order, request: OrderRequest, verb: str, held: ClinicOrder | None) -> None:
        refusal = find_refusal(self.session, order, held)
        if refusal is not None:
            code = ErrorCode.RECORD_LOCKED if refusal is STUDY_DEAD else ErrorCode.DUPLICATE_KEY_IDENTIFIER
            place = request.sources.get("study_uid") or request.sources.get("accession_number") or "ORC-2"
            raise OrderFaulty(Fault(place, code, refusal.words, order=request.number))
        if held is not None and self._is_signed_otherwise(held, order):
            raise OrderFaulty(Fault("ORC-1", ErrorCode.RECORD_LOCKED, REPORT_SIGNED, order=request.number))
        if request.consent is not None and request.control is not Control.CANCEL:
            row.consent = self._consent_of(order, request.consent)
        put_version(self.session, self.hub, row, order, self.now)
        self._record(order, verb)

    def _consent_of(self, order: Order, said: SaidConsent) -> dict[str, str] | None:
        """Return a consent as it is kept with the order; who agreed is the patient where nobody else is named."""
        if not said.given:
            return None
        given_by = display_name(said.by or order.patient_name or UNNAMED_PATIENT)[:CONSENT_CHARACTERS_MAX]
        return {"given_by": given_by, "at": (said.moment or self.now).isoformat(), "recorded_by": ACTOR}

    def _is_signed_otherwise(self, held: ClinicOrder, order: Order) -> bool:
        """Return whether the report is signed, and what people typed into its order would change."""
        typed = news_of(Order.model_validate(held.content), order)
        return bool(typed) and is_reported(self.session, held)

    def _record(self, order: Order, verb: str) -> None:
        self.session.add(
            AuditEvent(
                at=self.now,
                event_code=ORDER_RECORD,
                action=_ACTIONS.get(verb, "U"),
                account_id=None,
                object_kind="order",
                object_id=order.order_id,
                site_id=self.site_id,
                outcome="success",
                detail={
                    "event": verb,
                    "version": order.version,
                    "sender": self.sender_name,
                    "message_id": self.message_id,
                },
            )
        )
        tell(self.session, "order", self.site_id)


def find_by_placer(session: Session, site_id: str, namespace: str, placer_number: str) -> Order | None:
    """Return the order of a site that a placer calls so."""
    known = session.get(PlacerOrder, (site_id, namespace, placer_number))
    return _order_of(session.get(ClinicOrder, known.order_id)) if known is not None else None


def find_by_accession(session: Session, site_id: str, accession_number: str) -> Order | None:
    """Return the order of a site with this accession number."""
    return _find(session, site_id, ClinicOrder.accession_number == accession_number)


def _find(session: Session, site_id: str, condition: ColumnElement[bool]) -> Order | None:
    newest = select(ClinicOrder).where(ClinicOrder.site_id == site_id, condition)
    return _order_of(session.scalars(newest.order_by(ClinicOrder.change_number.desc()).limit(1)).first())


def _order_of(row: ClinicOrder | None) -> Order | None:
    return Order.model_validate(row.content) if row is not None else None
