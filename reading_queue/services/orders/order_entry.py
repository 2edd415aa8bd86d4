"""Orders (申请单) made, looked at and cancelled at the hub: by the clinic's people, or by who oversees the site.

Durable: the order with its consent and its line in the audit trail, in one transaction. The site's gateways fetch it as
they fetch every change, and their worklists have it. Its accession number is always one that only the hub gives, so
that it never meets one that a gateway has given with the line down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Sequence, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, ClinicOrder
from reading_queue.errors import Conflict, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.casework import find_case_of
from reading_queue.services.cases.holds import AT_THE_SITE
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.orders.order_refusals import (
    CONTRADICTS,
    OTHER_PATIENT,
    STUDY_DEAD,
    contradictions_at,
    find_refusal,
)
from reading_queue.services.orders.order_versions import (
    REPORTED,
    OrderNoteView,
    OrderVersionView,
    is_reported,
    list_notes,
    list_versions,
)
from reading_queue.services.orders.orders import put_version
from reading_queue.services.orders.study_orders import list_orders_of, lock_orders_of
from reading_queue.services.worklists.desk_events import tell
from storage.catalogue.tables import Study
from storage.contract.accession_numbers import HUB_MARK, accession_number_of
from storage.contract.identifiers import new_id, new_uid
from storage.contract.orders import Order, OrderOrigin, OrderState, explain_faults
from storage.ledger.tables import AuditEvent, Site
from storage.screens.order_form import FieldFault, check, gaps_to_ask, place_faults

NUMBERS: Final = Sequence("hub_accession_numbers")
ORDER_RECORD: Final = "110109"  # DCM audit event
CONSENT_CHARACTERS_MAX: Final = 64
RECENT_MAX: Final = 50
OPEN_STATES: Final = (OrderState.SCHEDULED, OrderState.IN_PROGRESS)
# An examination that is over is still to be read: what its reader is told may be mended until they have signed.
CHANGEABLE: Final = (*OPEN_STATES, OrderState.DONE)


class OrderNotAcceptable(Invalid):
    """The order cannot be taken as it is; each field that is wrong is named."""

    code = "order_not_acceptable"

    def __init__(self, faults: tuple[FieldFault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.field or 'order'}: {fault.code}" for fault in faults))


class OrderGapsUnconfirmed(Invalid):
    """History, question or consent is missing; give it, or say that it is missing on purpose."""

    code = "order_gaps"

    def __init__(self, gaps: tuple[str, ...]) -> None:
        self.gaps = gaps
        super().__init__(f"{', '.join(gaps)} missing: give it, or confirm that it is missing on purpose")


class StaleOrder(Conflict):
    """Somebody changed this order meanwhile. Look at it again, then decide."""

    code = "stale_order"


class OrderNotOpen(Conflict):
    """The examination is over, or the order was cancelled: it cannot be changed any more."""

    code = "order_not_open"


class StudyDead(Conflict):
    """This study was withdrawn, voided or emptied: nobody reads it. Send the images anew, then order."""

    code = "study_dead"


class StudyOfOtherPatient(Conflict):
    """Another order of this study is of another patient. Cancel or correct the one that is wrong."""

    code = "study_of_other_patient"


class StudyHasOrder(Conflict):
    """This study has an order already. Say that one read answers both, or cancel the one that is wrong."""

    code = "study_has_order"


class OrdersContradict(Conflict):
    """Another order of this study says something else of the patient or the examination; one of them is wrong.

    `fields`: of an order, in which they contradict each other.
    """

    code = "orders_contradict"

    def __init__(self, fields: tuple[str, ...] = ()) -> None:
        self.fields = fields
        super().__init__(
            f"another order of this study contradicts it in {', '.join(fields) or 'what it says'}: cancel or correct "
            "the one that is wrong"
        )


class ReportSigned(Conflict):
    """The report of this order is signed: what it was read by stands. Add a note, and ask its reader to amend it."""

    code = "order_reported"


REFUSALS: Final = {
    STUDY_DEAD.code: StudyDead,
    OTHER_PATIENT.code: StudyOfOtherPatient,
    CONTRADICTS.code: OrdersContradict,
}


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agreed to the remote read (the patient, or who answers for them) and when."""

    given_by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody filled in. `study_uid`: the order is for this study, which has come without one.

    `further`: the study has an order already, and one read answers both.
    `order_id` is the sheet: the same content on it again is the same order. `confirmed`: gaps that are meant.
    """

    site_id: str
    fields: Mapping[str, Any]
    consent: Consent | None = None
    study_uid: str | None = None
    order_id: str | None = None
    confirmed: tuple[str, ...] = ()
    faults: tuple[FieldFault, ...] = field(default=())  # that were found while the form was read
    further: bool = False


@dataclass(frozen=True, slots=True)
class SiteOfOrders:
    """A site for which the viewer may make orders."""

    site_id: str
    name: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class OrderSheet:
    """One order as the hub holds it. `study_uid` is of a study that has come, None while it has none."""

    order: Order
    site_name: str
    time_zone: str
    consent: Consent | None
    is_open: bool
    study_uid: str | None
    differs: tuple[str, ...]
    is_changeable: bool = False
    is_reported: bool = False  # the report is signed: a note takes the place of a change
    versions: tuple[OrderVersionView, ...] = ()  # newest first
    notes: tuple[OrderNoteView, ...] = ()


def order_sites(hub: Hub, viewer: Viewer) -> tuple[SiteOfOrders, ...]:
    """Return the sites for which the viewer may make orders, by name."""
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, hub.clock())
        name = site_name(viewer.language).label("name")
        found = select(Site.site_id, name, Site.time_zone).where(Site.site_id.in_(sites)).order_by(name)
        return tuple(SiteOfOrders(*row) for row in session.execute(found))


def enter_order(hub: Hub, viewer: Viewer, wanted: Wanted) -> Order:
    """Make an order and return it, with its accession number.

    Raises:
        NotFound: the site or the study is not among those that the viewer may order for.
        OrderNotAcceptable: fields are wrong; each is named. OrderGapsUnconfirmed: something is missing.
        StudyDead, StudyHasOrder, StudyOfOtherPatient, OrdersContradict: the study takes no such order.
        ReportSigned: the report of the study is signed, so that no further order can be read with it.
    """
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        _require_site(session, viewer, wanted.site_id, now)
        lock_orders_of(session, wanted.site_id)
        study = _find_study(session, wanted)
        typed = check_wanted(viewer, wanted, study, now)
        before = session.get(ClinicOrder, typed.order_id)
        if before is not None:
            if _is_same(before, typed, wanted):
                return Order.model_validate(before.content)
            typed = typed.model_copy(update={"order_id": new_id()})
        if study is not None:
            require_joinable(session, typed, study, further=wanted.further)
        number = accession_number_of(wanted.site_id, HUB_MARK, session.scalar(NUMBERS) or 0)
        order = typed.model_copy(update={"accession_number": number})
        put_new_order(session, hub, viewer, order, wanted.consent, now)
    return order


def put_new_order(
    session: Session, hub: Hub, viewer: Viewer, order: Order, consent: Consent | None, now: datetime, **detail: Any
) -> None:
    """Keep an order's first version; the caller has the site's orders to itself. `detail`: more for the audit trail.

    Raises:
        StudyDead, StudyOfOtherPatient, OrdersContradict: its study takes no such order.
    """
    refusal = find_refusal(session, order, None)
    if refusal is not None:
        raise REFUSALS[refusal.code]
    row = ClinicOrder(order_id=order.order_id, site_id=order.site_id, differs=None, content={})
    if consent is not None:
        row.consent = consent_content(consent, viewer)
    put_version(session, hub, row, order, now, account_id=viewer.account_id)
    record(session, viewer, "C", row, now, version=order.version, **detail)


def cancel_order(hub: Hub, viewer: Viewer, order_id: str, version: int, reason: str) -> Order:
    """Cancel an order whose examination has not been done; it leaves the worklists. Doing it again changes nothing.

    Raises:
        NotFound: there is no such order at a site of the viewer.
        StaleOrder: `version` is not the newest one. OrderNotOpen: the examination is over.
        OrderNotAcceptable: the reason is missing or too long.
    """
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        held = Order.model_validate(row.content)
        if held.state is OrderState.CANCELLED and version in (held.version, held.version - 1):
            return held
        if held.version != version:
            raise StaleOrder
        if held.state not in OPEN_STATES:
            raise OrderNotOpen
        changes = {"state": OrderState.CANCELLED, "state_reason": reason, "version": version + 1, "changed_at": now}
        try:
            order = Order.model_validate(held.model_dump() | changes)
        except ValidationError as exc:
            faults = (FieldFault("reason", fault.code, fault.limit) for fault in place_faults(explain_faults(exc)))
            raise OrderNotAcceptable(tuple(faults)) from None
        row.gateway_id = None
        put_version(session, hub, row, order, now, account_id=viewer.account_id)
        record(session, viewer, "U", row, now, event="order_cancelled", version=order.version)
    return order


def show_order(hub: Hub, viewer: Viewer, order_id: str, *, audited: bool = True) -> OrderSheet:
    """Return one order with what has come of it. Raises NotFound."""
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        row = session.get(ClinicOrder, order_id)
        if row is None or row.site_id not in visible_sites(session, viewer, now):
            raise NotFound("there is no such order, or you may not see it")
        if audited:
            record(session, viewer, "R", row, now)
        name = site_name(viewer.language)
        where, zone = session.execute(select(name, Site.time_zone).where(Site.site_id == row.site_id)).one()
        order, reported = Order.model_validate(row.content), is_reported(session, row)
        return OrderSheet(
            order=order,
            site_name=where,
            time_zone=zone,
            consent=_consent_of(row),
            is_open=order.state in OPEN_STATES,
            study_uid=_study_of(session, row),
            differs=tuple(row.differs or ()),
            is_changeable=order.state in CHANGEABLE and not reported,
            is_reported=reported,
            versions=list_versions(session, order_id),
            notes=list_notes(session, [order_id])[order_id],
        )


def recent_orders(hub: Hub, viewer: Viewer, *, limit: int = RECENT_MAX) -> tuple[Order, ...]:
    """Return the orders of the viewer's sites that changed last, newest first."""
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        newest = select(ClinicOrder.content).where(ClinicOrder.site_id.in_(visible_sites(session, viewer, hub.clock())))
        found = session.scalars(newest.order_by(ClinicOrder.change_number.desc()).limit(limit))
        return tuple(Order.model_validate(content) for content in found)


def require_joinable(session: Session, order: Order, study: Study, *, further: bool) -> None:
    """Let an order be read with a study that has others only where a person said so and they agree.

    Raises:
        StudyOfOtherPatient, OrdersContradict: the others say something else. StudyHasOrder: nobody said so.
        ReportSigned: they are read already.
    """
    if all(other.order_id == order.order_id for other in list_orders_of(session, study)):
        return
    contradictions = contradictions_at(session, order, study)
    if "patient_number" in contradictions:
        raise StudyOfOtherPatient
    if contradictions:
        raise OrdersContradict(contradictions)
    if not further:
        raise StudyHasOrder
    case_id = find_case_of(session, study.site_id, study.study_uid)
    if case_id is not None and session.get_one(Case, case_id).state in REPORTED:
        raise ReportSigned


def get_order_locked(session: Session, viewer: Viewer, order_id: str, now: datetime) -> ClinicOrder:
    """Return an order of a site of the viewer; nobody changes orders of this site until the transaction ends."""
    site_id = session.scalar(select(ClinicOrder.site_id).where(ClinicOrder.order_id == order_id))
    if site_id is None or site_id not in visible_sites(session, viewer, now):
        raise NotFound("there is no such order, or you may not see it")
    lock_orders_of(session, site_id)
    return session.get_one(ClinicOrder, order_id, populate_existing=True)


def record(session: Session, viewer: Viewer, action: str, row: ClinicOrder, now: datetime, **detail: Any) -> None:
    """Write who did what with an order (PS3.15 A.5), and tell open desks of a change; `detail` holds ids and codes."""
    session.add(
        AuditEvent(
            at=now,
            event_code=ORDER_RECORD,
            action=action,
            account_id=viewer.account_id,
            object_kind="order",
            object_id=row.order_id,
            site_id=row.site_id,
            outcome="success",
            detail=detail,
        )
    )
    if action != "R":
        tell(session, "order", row.site_id)


def _require_site(session: Session, viewer: Viewer, site_id: str, now: datetime) -> None:
    if site_id not in visible_sites(session, viewer, now):
        raise NotFound("there is no such site, or you may not order for it")


def _find_study(session: Session, wanted: Wanted) -> Study | None:
    if wanted.study_uid is None:
        return None
    its = Study.site_id == wanted.site_id, Study.study_uid == wanted.study_uid
    study = session.scalars(select(Study).where(*its)).one_or_none()
    if study is None or find_case_of(session, study.site_id, study.study_uid) is None:
        raise NotFound("there is no such study to be read at this site")
    return study


def check_wanted(viewer: Viewer, wanted: Wanted, study: Study | None, now: datetime) -> Order:
    """Return the order that was typed, or raise OrderNotAcceptable, OrderGapsUnconfirmed."""
    own: dict[str, Any] = {
        "order_id": wanted.order_id or new_id(),
        "version": 1,
        "site_id": wanted.site_id,
        "study_uid": new_uid(),
        "origin": OrderOrigin.HUB,
        "entered_by": viewer.account_id,
        "entered_at": now,
        "changed_at": now,
        "consent_recorded": wanted.consent is not None,
    }
    given = {"scheduled_at": now, "accession_number": "0"} | {
        name: value for name, value in wanted.fields.items() if value is not None
    }
    if study is not None:
        own |= {"study_uid": study.study_uid, "state": OrderState.DONE, "exam_started_at": study.exam_started_at}
        given["scheduled_at"] = study.exam_started_at or study.first_received_at
    order, faults = check(given | own)
    faults = (*wanted.faults, *consent_faults(wanted.consent, now), *faults)
    if order is None or faults:
        raise OrderNotAcceptable(faults)
    gaps = gaps_to_ask(order, wanted.confirmed)
    if gaps:
        raise OrderGapsUnconfirmed(gaps)
    return order


def consent_content(consent: Consent, viewer: Viewer) -> dict[str, str]:
    """Return a consent as it is kept with the order."""
    return {"given_by": consent.given_by, "at": consent.at.isoformat(), "recorded_by": viewer.account_id}


def consent_faults(consent: Consent | None, now: datetime) -> tuple[FieldFault, ...]:
    """Return what is wrong with a consent, each beside its field of the form."""
    if consent is None:
        return ()
    name = consent.given_by
    rules = (
        (not name.strip(), FieldFault("consent_given_by", "too_short")),
        (len(name) > CONSENT_CHARACTERS_MAX, FieldFault("consent_given_by", "too_long", CONSENT_CHARACTERS_MAX)),
        (not name.isprintable(), FieldFault("consent_given_by", "text_characters")),
        (consent.at > now, FieldFault("consent_at", "consent_future")),
    )
    return tuple(fault for is_broken, fault in rules if is_broken)


def _is_same(before: ClinicOrder, typed: Order, wanted: Wanted) -> bool:
    """Return whether an order is what was typed now, by the same person, and nobody has touched it since."""
    held = Order.model_validate(before.content)
    is_untouched = held.version == 1 and held.entered_by == typed.entered_by and held.site_id == typed.site_id
    names = wanted.fields.keys() & Order.model_fields.keys() - {"scheduled_at"}
    return is_untouched and all(getattr(held, name) == getattr(typed, name) for name in names)


def _consent_of(row: ClinicOrder) -> Consent | None:
    if row.consent is None:
        return None
    return Consent(row.consent["given_by"], datetime.fromisoformat(row.consent["at"]))


def _study_of(session: Session, row: ClinicOrder) -> str | None:
    """Return a study that has come for the order."""
    for column, value in ((Study.accession_number, row.accession_number), (Study.study_uid, row.study_uid)):
        for study in session.scalars(select(Study).where(Study.site_id == row.site_id, column == value)):
            if any(one.order_id == row.order_id for one in list_orders_of(session, study)):
                return study.study_uid
    return None
