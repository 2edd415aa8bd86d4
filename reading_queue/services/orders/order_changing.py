"""Changing an order (申请单) at the hub, and the note that takes its place once the report is signed.

Durable: the order's next version with its line in the audit trail, in one transaction with all that follows: doubts
about whose it is are looked at again, a case that has become more urgent is routed anew, and whoever reads it is told.
The version that somebody looked at guards against another's change; the site's gateways fetch the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from reading_queue.db.order_tables import OrderNote
from reading_queue.db.tables import Case, ClinicOrder
from reading_queue.domain.order_changes import changed_fields
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.casework import record_custody
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_entry import (
    CHANGEABLE,
    REFUSALS,
    Consent,
    OrderGapsUnconfirmed,
    OrderNotAcceptable,
    OrderNotOpen,
    ReportSigned,
    StaleOrder,
    consent_content,
    consent_faults,
    get_order_locked,
    record,
)
from reading_queue.services.orders.order_refusals import find_refusal
from reading_queue.services.orders.order_versions import cases_of_order, is_reported
from reading_queue.services.orders.orders import put_version
from reading_queue.services.worklists.desk_events import tell
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.order_merge import OF_EXAMINATION
from storage.contract.orders import Order, find_gaps
from storage.screens.order_form import FieldFault, check, gaps_to_ask

# What a change leaves as it is: who made the order, by which numbers it is known, and what the scanner reports.
FIXED: Final = frozenset(
    {"format", "order_id", "version", "site_id", "accession_number", "origin", "entered_by", "entered_at"}
    | {"changed_at", "consent_recorded", *OF_EXAMINATION}
)


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What somebody wants an order to say; a field that is not named stays as it is.

    `consent`: given since. `confirmed`: gaps that are meant. `faults`: found while the form was read.
    """

    fields: Mapping[str, Any]
    consent: Consent | None = None
    confirmed: tuple[str, ...] = ()
    faults: tuple[FieldFault, ...] = field(default=())


def change_order(hub: Hub, viewer: Viewer, order_id: str, version: int, change: OrderChange) -> Order:
    """Write the order's next version and return it; what says the same already is returned as it is.

    `version` is that of the order that the viewer looked at. A less urgent lane does not slow down a case that has
    been hurried.

    Raises:
        NotFound: there is no such order at a site of the viewer.
        StaleOrder: somebody changed it meanwhile. OrderNotOpen: it was cancelled, or its examination broken off.
        ReportSigned: its report is signed.
        OrderNotAcceptable: fields are wrong; each is named. OrderGapsUnconfirmed: something would be missing.
        StudyOfOtherPatient, OrdersContradict: another order of its study says something else.
    """
    with hub.transaction() as session:
        return put_change(session, hub, viewer, order_id, version, change)


def put_change(
    session: Session, hub: Hub, viewer: Viewer, order_id: str, version: int, change: OrderChange, **detail: Any
) -> Order:
    """Do what `change_order` does, within the caller's transaction; `detail`: more for the audit trail."""
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    row = get_order_locked(session, viewer, order_id, now)
    held = Order.model_validate(row.content)
    order = _check(held, change, now)
    if not changed_fields(held, order) and version in (held.version, held.version - 1):
        return held
    if held.version != version:
        raise StaleOrder
    if held.state not in CHANGEABLE:
        raise OrderNotOpen
    if is_reported(session, row):
        raise ReportSigned
    refusal = find_refusal(session, order, row)
    if refusal is not None:
        raise REFUSALS[refusal.code]()
    if change.consent is not None:
        row.consent = consent_content(change.consent, viewer)
    row.gateway_id = None
    changed = put_version(session, hub, row, order, now, account_id=viewer.account_id)
    said = {"event": "order_changed", "version": order.version, "fields": list(changed)}
    record(session, viewer, "U", row, now, **said, **detail)
    return order


def note_order(hub: Hub, viewer: Viewer, order_id: str, words: str) -> str:
    """Add a note for the readers to an order whose report is signed; return its id.

    Raises:
        NotFound: as `change_order`. Invalid: nothing is said.
        OrderNotOpen: no report of it is signed: change the order itself.
    """
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    said = parse_words(words, "say in a few words what is to be known of this order")
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        if not is_reported(session, row):
            raise OrderNotOpen("no report of this order is signed yet: change the order itself")
        note = OrderNote(note_id=new_id(), order_id=order_id, written_at=now, account_id=viewer.account_id, words=said)
        session.add(note)
        for case_id, _ in cases_of_order(session, row):
            _tell_of_note(session, session.get_one(Case, case_id), row, note, now)
        record(session, viewer, "U", row, now, event="order_noted", note_id=note.note_id)
        return note.note_id


def _check(held: Order, change: OrderChange, now: datetime) -> Order:
    """Return what the order would say. Raises OrderNotAcceptable, OrderGapsUnconfirmed."""
    given = {name: value for name, value in change.fields.items() if name not in FIXED}
    own: dict[str, Any] = {"version": held.version + 1, "changed_at": now}
    if change.consent is not None:
        own["consent_recorded"] = True
    order, faults = check(held.model_dump() | given | own)
    faults = (*change.faults, *consent_faults(change.consent, now), *faults)
    if order is None or faults:
        raise OrderNotAcceptable(faults)
    missing_before = find_gaps(held)
    gaps = tuple(gap for gap in gaps_to_ask(order, change.confirmed) if gap not in missing_before)
    if gaps:
        raise OrderGapsUnconfirmed(gaps)
    return order


def _tell_of_note(session: Session, case: Case, row: ClinicOrder, note: OrderNote, now: datetime) -> None:
    detail = {"order_id": row.order_id, "note_id": note.note_id}
    key = f"order_noted:{note.note_id}:{case.case_id}"
    record_custody(session, case, Hop.ORDER_NOTED, key, now, actor=note.account_id, detail=detail)
    tell(session, "order_noted", case.site_id, case.case_id)
