"""What the JSON API takes and gives about orders (申请单)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from reading_queue.services.orders.further_orders import OrderedStudy
from reading_queue.services.orders.order_changing import OrderChange
from reading_queue.services.orders.order_entry import Consent, OrderSheet, SiteOfOrders, Wanted
from reading_queue.services.orders.order_list import PAGE, ListedOrders, OrderFilter
from reading_queue.services.orders.order_versions import OrderNoteView, OrderVersionView
from reading_queue.services.orders.unmatched import MatchProposal, Unmatched, WaitingOrder, WaitingStudy
from reading_queue.web.api.models import Answer, Body
from storage.contract.lanes import Lane
from storage.contract.orders import OrderGap, OrderState

WORDS_MAX = 4_000
_OF_ENVELOPE = frozenset({"site_id", "order_id", "study_uid", "consent", "confirmed_gaps", "further"})


class ConsentGiven(Body):
    """Who agreed to the remote read, and when."""

    given_by: str = Field(max_length=256)
    at: AwareDatetime


class NewOrder(Body):
    """An order to make. What a field may hold is told field by field when it does not (`faults` of the refusal).

    `order_id`: chosen by the caller, so that a repeated request makes no second order. `study_uid`: the study, already
    here, that the order is for. `confirmed_gaps`: what a routine order lacks on purpose. `further`: the study has an
    order already, and one read answers both.
    """

    site_id: str = Field(max_length=64)
    order_id: str | None = Field(default=None, max_length=32)
    study_uid: str | None = Field(default=None, max_length=64)
    consent: ConsentGiven | None = None
    confirmed_gaps: tuple[OrderGap, ...] = ()
    further: bool = False
    patient_number: str = Field(max_length=WORDS_MAX)
    patient_name: str = Field(default="", max_length=WORDS_MAX)
    patient_name_latin: str = Field(default="", max_length=WORDS_MAX)
    birth_date: str | None = Field(default=None, max_length=32)
    sex: str = Field(default="", max_length=16)
    identity_kind: str = Field(default="none", max_length=32)
    identity_number: str = Field(default="", max_length=WORDS_MAX)
    birth_order: int | None = None
    lane: str = Field(default="routine", max_length=16)
    green_channel: str | None = Field(default=None, max_length=32)
    visit_kind: str = Field(default="O", max_length=16)
    visit_number: str = Field(default="", max_length=WORDS_MAX)
    modality: str = Field(max_length=WORDS_MAX)
    body_part: str = Field(default="", max_length=WORDS_MAX)
    procedure_code: str = Field(default="", max_length=WORDS_MAX)
    procedure_name: str = Field(max_length=WORDS_MAX)
    history: str = Field(default="", max_length=WORDS_MAX)
    question: str = Field(default="", max_length=WORDS_MAX)
    allergies: str = Field(default="", max_length=WORDS_MAX)
    pregnancy: str = Field(default="", max_length=16)
    requesting_physician: str = Field(default="", max_length=WORDS_MAX)
    requesting_department: str = Field(default="", max_length=WORDS_MAX)
    contact_phone: str = Field(default="", max_length=WORDS_MAX)
    scheduled_at: AwareDatetime | None = None

    def wanted(self) -> Wanted:
        """Return it as the services take it."""
        return Wanted(
            site_id=self.site_id,
            fields=self.model_dump(exclude=set(_OF_ENVELOPE)),
            consent=Consent(self.consent.given_by, self.consent.at) if self.consent is not None else None,
            study_uid=self.study_uid,
            order_id=self.order_id,
            confirmed=tuple(self.confirmed_gaps),
            further=self.further,
        )


class OrderFields(Body):
    """What an order shall say; what is left out stays as it is. Null empties a field that may be empty.

    What a field may hold is told field by field when it does not, as of a new order.
    """

    consent: ConsentGiven | None = None
    confirmed_gaps: tuple[OrderGap, ...] = ()
    patient_number: str | None = Field(default=None, max_length=WORDS_MAX)
    patient_name: str | None = Field(default=None, max_length=WORDS_MAX)
    patient_name_latin: str | None = Field(default=None, max_length=WORDS_MAX)
    birth_date: str | None = Field(default=None, max_length=32)
    sex: str | None = Field(default=None, max_length=16)
    identity_kind: str | None = Field(default=None, max_length=32)
    identity_number: str | None = Field(default=None, max_length=WORDS_MAX)
    birth_order: int | None = None
    lane: str | None = Field(default=None, max_length=16)
    green_channel: str | None = Field(default=None, max_length=32)
    visit_kind: str | None = Field(default=None, max_length=16)
    visit_number: str | None = Field(default=None, max_length=WORDS_MAX)
    modality: str | None = Field(default=None, max_length=WORDS_MAX)
    body_part: str | None = Field(default=None, max_length=WORDS_MAX)
    procedure_code: str | None = Field(default=None, max_length=WORDS_MAX)
    procedure_name: str | None = Field(default=None, max_length=WORDS_MAX)
    history: str | None = Field(default=None, max_length=WORDS_MAX)
    question: str | None = Field(default=None, max_length=WORDS_MAX)
    allergies: str | None = Field(default=None, max_length=WORDS_MAX)
    pregnancy: str | None = Field(default=None, max_length=16)
    requesting_physician: str | None = Field(default=None, max_length=WORDS_MAX)
    requesting_department: str | None = Field(default=None, max_length=WORDS_MAX)
    contact_phone: str | None = Field(default=None, max_length=WORDS_MAX)
    scheduled_at: AwareDatetime | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields of the order that were given."""
        own = set(type(self).model_fields) - set(OrderFields.model_fields)
        return self.model_dump(exclude_unset=True, exclude={"consent", "confirmed_gaps", *own})

    def agreed(self) -> Consent | None:
        """Return the consent that was given."""
        return Consent(self.consent.given_by, self.consent.at) if self.consent is not None else None


class ChangedOrder(OrderFields):
    """A change of an order. `version` is the one that the caller looked at.

    `message_id`: the refused HL7 message that asks for the change, which it settles where it is about no other order.
    """

    version: int = Field(ge=1)
    message_id: int | None = Field(default=None, ge=1)

    def wanted(self) -> OrderChange:
        """Return it as the services take it."""
        return OrderChange(fields=self.given(), consent=self.agreed(), confirmed=tuple(self.confirmed_gaps))


class CorrectedOrder(OrderFields):
    """An order of a refused HL7 message, `number` of them, to be made; what is left out is what the message says of it.

    What was wrong with it must be said. Without `number` it is the first that is still to be made. `order_id`: chosen
    by the caller, so that a repeated request makes no second order.
    """

    number: int | None = Field(default=None, ge=1)
    order_id: str | None = Field(default=None, max_length=32)
    accession_number: str | None = Field(default=None, max_length=WORDS_MAX)

    def given(self) -> dict[str, Any]:
        """Return the fields of the order that were given."""
        number = {"accession_number": self.accession_number} if "accession_number" in self.model_fields_set else {}
        return super().given() | number


class OrderNoteWords(Body):
    """What the site has to say about an order whose report is signed."""

    words: str = Field(max_length=WORDS_MAX)


class OrderCancellation(Body):
    """Why an order is cancelled; `version` is the one that the caller looked at."""

    version: int = Field(ge=1)
    reason: str = Field(max_length=WORDS_MAX)


class MatchDecision(Body):
    """Whether an order is of a study. Confirming needs the order's `version`, rejecting a `reason`.

    `further`: the study has an order already, and one read answers both.
    """

    study_uid: str = Field(max_length=64)
    decision: Literal["confirm", "reject"]
    version: int = Field(default=0, ge=0)
    reason: str = Field(default="", max_length=WORDS_MAX)
    further: bool = False


class OrderAnswer(Answer):
    """One order: its newest version, its consent, the study that has come for it, every version, notes since.

    `is_changeable`: not cancelled, and its report is not signed; `is_reported`: it is, so that a note can be added.
    """

    order: dict[str, Any]
    consent: Consent | None
    is_open: bool
    study_uid: str | None
    differs: tuple[str, ...]
    is_changeable: bool
    is_reported: bool
    versions: tuple[OrderVersionView, ...]
    notes: tuple[OrderNoteView, ...]

    @classmethod
    def of(cls, sheet: OrderSheet) -> OrderAnswer:
        """Return what the API says of an order."""
        return cls(
            order=sheet.order.model_dump(mode="json"),
            consent=sheet.consent,
            is_open=sheet.is_open,
            study_uid=sheet.study_uid,
            differs=sheet.differs,
            is_changeable=sheet.is_changeable,
            is_reported=sheet.is_reported,
            versions=sheet.versions,
            notes=sheet.notes,
        )


class OrderSearchWords(Body):
    """Which orders are wanted: whose name, patient or accession number begins so. `before`: that of the next page."""

    text: str = Field(default="", max_length=WORDS_MAX)
    site_id: str = Field(default="", max_length=64)
    state: OrderState | None = None
    lane: Lane | None = None
    before: int | None = Field(default=None, ge=0)
    limit: int = Field(default=PAGE, ge=1)

    def wanted(self) -> OrderFilter:
        """Return it as the services take it."""
        return OrderFilter(self.site_id, self.state, self.lane, self.text)


class OrdersAnswer(Answer):
    """A page of orders, what changed last first, and the sites for which the caller may order.

    `next_before` is the `before` of the next page, null after the last.
    """

    orders: tuple[dict[str, Any], ...]
    next_before: int | None
    sites: tuple[SiteOfOrders, ...]

    @classmethod
    def of(cls, found: ListedOrders, sites: tuple[SiteOfOrders, ...]) -> OrdersAnswer:
        """Return what the API says of the orders."""
        orders = tuple(order.model_dump(mode="json") for order in found.orders)
        return cls(orders=orders, next_before=found.next_before, sites=sites)


class FurtherStudies(Answer):
    """The studies of an order's patient that have orders already and are not signed, the newest first.

    One read may answer this order too: confirm the match with `further`.
    """

    studies: tuple[OrderedStudy, ...]


class UnmatchedPage(Answer):
    """A page of each list, what has waited longest first; `…_after` asks for the next one, null after the last."""

    proposals: tuple[MatchProposal, ...]
    orders: tuple[WaitingOrder, ...]
    studies: tuple[WaitingStudy, ...]
    proposals_after: str | None
    orders_after: str | None
    studies_after: str | None

    @classmethod
    def of(cls, found: Unmatched) -> UnmatchedPage:
        """Return what the API says of what waits."""
        after = found.following
        return cls(
            proposals=found.proposals,
            orders=found.orders,
            studies=found.studies,
            proposals_after=after.proposals.text() if after.proposals is not None else None,
            orders_after=after.orders.text() if after.orders is not None else None,
            studies_after=after.studies.text() if after.studies is not None else None,
        )


class UnmatchedAnswer(Answer):
    """Orders without a study, studies without an order, and which may belong together."""

    unmatched: UnmatchedPage
