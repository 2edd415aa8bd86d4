"""What a person does about a doubt whose a case is: confirms it, takes the order from the study, or corrects the order.

Durable: how each doubt ended, by whom and why. Doing the same again changes nothing. Whoever may follow the case at its
site or oversees it may do it; the case is offered as soon as no doubt is open. What is told by a gateway's console was
seen there some time ago: it is not done where order or images have changed since.
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
from storage.dicom.person_name import parse_written_name

_OF_VERSION: Final = {"version", "changed_at"}
OTHERWISE: Final = "say in a few words how you know"
_Do = Callable[[Session, Case, IdentityConflict, SettledBy, datetime], None]


class IdentityChanged(WrongState):
    """Order or images have changed since this was decided; look at both sides again."""

    code = "identity_changed"


@dataclass(frozen=True, slots=True)
class AtConsole:
    """An act of a gateway's console: which it is, and the digest of what was seen there (IdentityConflict)."""

    act_id: str
    facts_sha256: str


@dataclass(frozen=True, slots=True)
class PersonOfOrder:
    """Who an order shall say the patient is; `identity_kind` None leaves kind and number as they are."""

    patient_name: str
    birth_date: date | None
    sex: str
    identity_kind: IdentityKind | None = None
    identity_number: str = ""

    def changes(self, held: Order) -> dict[str, object]:
        """Return the fields of the order that are said; a name as it is shown is the name that it has."""
        said = asdict(self) | {"patient_name": parse_written_name(self.patient_name, held.patient_name)}
        if self.identity_kind is None:
            del said["identity_kind"], said["identity_number"]
        return said


def confirm_identity(
    hub: Hub, viewer: Viewer, conflict_id: str, reason: str, *, console: AtConsole | None = None
) -> None:
    """Say that order and images are of the same patient all the same.

    Raises:
        NotFound: there is no such doubt, or the viewer may not see its case.
        WrongState: somebody has settled it in another way. Invalid: no reason is given.
        IdentityChanged: what the console had seen is not so any more.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        _require_seen(doubt, console)
        end_doubt(session, case, doubt, by.settlement, now, by.account_id, by.reason)
        follow_doubts(session, case, now)

    _settle(hub, viewer, conflict_id, Settlement.CONFIRMED, reason, do, console)


def unlink_order(hub: Hub, viewer: Viewer, conflict_id: str, reason: str, *, console: AtConsole | None = None) -> None:
    """Take the order from the study: it is of another examination. The study is read without it.

    Raises:
        Invalid: the doubt is about the images alone; and as `confirm_identity`.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        _require_seen(doubt, console)
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

    _settle(hub, viewer, conflict_id, Settlement.UNLINKED, reason, do, console)


def correct_order(
    hub: Hub,
    viewer: Viewer,
    conflict_id: str,
    person: PersonOfOrder,
    reason: str,
    *,
    console: AtConsole | None = None,
) -> None:
    """Write a version of the order that says who the patient is; every gateway of the site is told of it.

    The doubt stays open when the order contradicts the images still.

    Raises:
        Invalid: the order would contradict itself; the words name the field. And as `unlink_order`.
    """

    def do(session: Session, case: Case, doubt: IdentityConflict, by: SettledBy, now: datetime) -> None:
        row = _get_order(session, doubt)
        held = Order.model_validate(row.content)
        changed = person.changes(held) | {"version": held.version + 1, "changed_at": now}
        try:
            order = Order.model_validate(held.model_dump() | changed)
        except ValidationError as error:
            raise Invalid("; ".join(fault.words for fault in explain_faults(error))) from None
        if not _is_seen(doubt, console):
            if order.model_dump(exclude=_OF_VERSION) == held.model_dump(exclude=_OF_VERSION):
                return  # told again after a lost answer, and the images contradict it still
            raise IdentityChanged
        audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="order_corrected", id=row.order_id)
        put_version(session, hub, row, order, now, by=by)

    _settle(hub, viewer, conflict_id, Settlement.CORRECTED, reason, do, console)


def _is_seen(doubt: IdentityConflict, console: AtConsole | None) -> bool:
    return console is None or console.facts_sha256 == doubt.facts_sha256


def _require_seen(doubt: IdentityConflict, console: AtConsole | None) -> None:
    if not _is_seen(doubt, console):
        raise IdentityChanged


def _settle(
    hub: Hub,
    viewer: Viewer,
    conflict_id: str,
    settlement: Settlement,
    reason: str,
    do: _Do,
    console: AtConsole | None,
) -> None:
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
            if console is not None:
                act = {"act_id": console.act_id, "conflict_id": conflict_id, "settlement": settlement.value}
                audit(session, now, PATIENT_RECORD, "U", viewer.account_id, case, event="settled_at_console", **act)
        elif doubt.settlement != settlement:
            raise WrongState("somebody has settled this in another way; look again")


def _get_order(session: Session, doubt: IdentityConflict) -> ClinicOrder:
    row = session.get(ClinicOrder, doubt.order_id, with_for_update=True) if doubt.order_id else None
    if row is None:
        raise Invalid("this is about the images alone; there is no order to unlink or to correct")
    return row
