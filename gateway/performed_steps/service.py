"""Performed steps as SCP (PS3.4 section F.7.2). Durable before it is answered: the step and what it does to its orders.

One N-CREATE or N-SET is one journal transaction. A step that names another patient than its order is kept and moves no
order; the technician is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.orders import change_order, find_by_accession, find_by_study_uid, find_order
from gateway.journal.performed_steps import (
    add_step,
    change_step,
    find_step,
    instances_here,
    link_order,
    orders_of_step,
    steps_of_order,
    steps_of_study,
)
from gateway.peers import Permission
from gateway.performed_steps.progress import CHANGES, PerformedStep, StepState, advance, count_awaited, plausible
from gateway.performed_steps.reading import Begun, Changed, ReportUnusable, read_begun, read_changed
from gateway.scp.services import Caller, DicomService
from storage.contract.identifiers import InvalidIdentifier, Uid, new_uid, parse_uid
from storage.contract.orders import Order

log = structlog.get_logger(__name__)

PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_INSTANCE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_INSTANCE: Final = 0x0117
MAY_NO_LONGER_CHANGE: Final = 0xA710  # Error ID, PS3.4 table F.7.2-2
ASK_THE_VENDOR: Final = "The device's report is not in DICOM's form (PS3.4 annex F); ask its vendor."
IMPLAUSIBLE_CLOCK: Final = (
    "A device reports an examination at a time that cannot be right",
    "Set the device's clock; the examination counts from its first image until then.",
)

Answer = tuple[int | Dataset, Dataset | None]


class PerformedStepService:
    """Takes the reports; `zone` is the clinic's.

    `expect` hears how many instances of a study are awaited, `look_again` that nobody said how many.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        zone: tzinfo,
        expect: Callable[[Uid, int], None],
        look_again: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._zone = zone
        self._expect = expect
        self._look_again = look_again

    def service(self) -> DicomService:
        """Return what the listener needs to know."""
        return DicomService(
            name="Modality Performed Procedure Step",
            permission=Permission.MPPS,
            sop_classes=frozenset({PERFORMED_STEP}),
            handlers={evt.EVT_N_CREATE: self._on_create, evt.EVT_N_SET: self._on_set},
        )

    def _on_create(self, event: Any, caller: Caller) -> Answer:
        try:
            given = event.request.AffectedSOPInstanceUID
            step_uid = parse_uid(str(given)) if given else new_uid()
            begun = _read(lambda: read_begun(event.attribute_list, self._zone, caller.peer.character_set))
        except InvalidIdentifier:
            return _refuse(caller, INVALID_INSTANCE, "The performed step's UID is no UID")
        except ReportUnusable as exc:
            return _refuse(caller, exc.status, str(exc))
        if not self._begin(step_uid, begun, caller):
            return _refuse(caller, DUPLICATE_INSTANCE, "A performed step of this UID was reported before")
        answer = Dataset()
        if not given:
            answer.AffectedSOPInstanceUID = step_uid
        return SUCCESS, answer if not given else None

    def _on_set(self, event: Any, caller: Caller) -> Answer:
        try:
            step_uid = parse_uid(str(event.request.RequestedSOPInstanceUID or ""))
            changed = _read(lambda: read_changed(event.modification_list, self._zone, caller.peer.character_set))
        except InvalidIdentifier:
            return _refuse(caller, NO_SUCH_INSTANCE, "The performed step's UID is no UID")
        except ReportUnusable as exc:
            return _refuse(caller, exc.status, str(exc))
        with self._journal.transaction() as connection:
            held = find_step(connection, step_uid)
            may_change = held is not None and bool(CHANGES[held.state])
            if held is not None and may_change:
                step = self._change(connection, held, changed, caller)
                awaited = _await(connection, step)
        if held is None:
            return _refuse(caller, NO_SUCH_INSTANCE, "A step is reported that never began here")
        if not may_change:
            words = "Performed Procedure Step Object may no longer be updated"
            return _refuse(caller, PROCESSING_FAILURE, words, error_id=MAY_NO_LONGER_CHANGE)
        if awaited is not None:
            self._expect(Uid(step.study_uid), awaited)
        else:
            self._look_again()
        log.info("performed_step_changed", step_uid=step_uid, study_uid=step.study_uid, state=step.state)
        return SUCCESS, None

    def _begin(self, step_uid: Uid, begun: Begun, caller: Caller) -> bool:
        """Keep a new step and move its orders; return False when there is one of that UID."""
        now = self._clock()
        step = PerformedStep(
            step_uid=step_uid,
            state=StepState.IN_PROGRESS,
            study_uid=begun.study_uid,
            accession_number=next(iter(begun.accession_numbers), ""),
            started_at=plausible(begun.started_at, now),
            ended_at=None,
            instances=begun.references or frozenset(),
        )
        with self._journal.transaction() as connection:
            if not add_step(connection, step, caller.ae_title, now):
                return False
            orders = self._find_orders(begun)
            same_patient = [order for order in orders if _is_same_patient(order, begun)]
            for order in same_patient:
                link_order(connection, step_uid, order.order_id)
            self._move_orders(connection, (order.order_id for order in same_patient), caller, now)
        for order in orders:
            if order not in same_patient:
                caller.refuse(None, *_other_patient(order))
        if begun.started_at is not None and step.started_at is None:
            caller.refuse(None, *IMPLAUSIBLE_CLOCK)
        log.info("performed_step_began", step_uid=step_uid, study_uid=step.study_uid, orders=len(same_patient))
        return True

    def _change(
        self, connection: sqlite3.Connection, held: PerformedStep, changed: Changed, caller: Caller
    ) -> PerformedStep:
        now = self._clock()
        step = replace(
            held,
            state=changed.state or held.state,
            ended_at=plausible(changed.ended_at, now) or held.ended_at,
            instances=changed.references or held.instances,
            reason=changed.reason or held.reason,
        )
        change_step(connection, step)
        self._move_orders(connection, orders_of_step(connection, step.step_uid), caller, now)
        return step

    def _find_orders(self, begun: Begun) -> list[Order]:
        """Return the orders that a step names: by accession number, else by the Study Instance UID that we gave."""
        rows = [find_by_accession(self._journal, number) for number in begun.accession_numbers]
        orders = {row.order.order_id: row.order for row in rows if row is not None}
        if not orders and (by_study := find_by_study_uid(self._journal, begun.study_uid)) is not None:
            orders = {by_study.order.order_id: by_study.order}
        return list(orders.values())

    def _move_orders(
        self, connection: sqlite3.Connection, order_ids: Iterable[str], caller: Caller, now: datetime
    ) -> None:
        for order_id in order_ids:
            row = find_order(self._journal, order_id)
            moved = advance(row.order, steps_of_order(connection, order_id), now) if row is not None else None
            if moved is None:
                continue
            change_order(connection, moved)
            actor = f"device:{caller.ae_title}"
            record_action(connection, now, actor, "exam_reported", order_id, version=moved.version, state=moved.state)


def _await(connection: sqlite3.Connection, step: PerformedStep) -> int | None:
    """Return how many instances shall wait before the study is complete, None where that cannot be said (yet).

    The last step of a study to end says it for all of them: what each has named, also one that was broken off.
    """
    steps = steps_of_study(connection, step.study_uid)
    if any(one.state is StepState.IN_PROGRESS for one in steps):
        return None
    named = frozenset[str]().union(*(one.instances for one in steps))
    return count_awaited(named, instances_here(connection, step.study_uid)) if named else None


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ReportUnusable:
        raise
    except Exception:  # noqa: BLE001 -- pydicom raises anything on bytes from outside; none of it may reach a log
        raise ReportUnusable(PROCESSING_FAILURE, "The report cannot be read as DICOM") from None


def _is_same_patient(order: Order, begun: Begun) -> bool:
    return begun.patient_number in {"", order.patient_number}


def _other_patient(order: Order) -> tuple[str, str]:
    return (
        f"A device reports the examination of order {order.accession_number} for another patient than the order's",
        "Compare the patient on the device with the order; correct the one that is wrong before the images are read.",
    )


def _refuse(caller: Caller, status: int, words: str, *, error_id: int | None = None) -> tuple[Dataset, None]:
    caller.refuse(status, words, ASK_THE_VENDOR)
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, words[:64]
    if error_id is not None:
        answer.ErrorID = error_id
    return answer, None
