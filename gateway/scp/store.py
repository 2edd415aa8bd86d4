"""The C-STORE handler: Success is the gateway's promise, so everything durable happens before it.

Order: bytes sealed in tmp, header and structure checked, file published in incoming, journal row committed, then
0x0000. What is refused goes to quarantine with its reason, except when the disk is full. A modality always gets a
status in words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydicom.dataset import Dataset

from gateway.errors import CommandMismatch, DuplicateDiffers
from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.database import Journal, to_text
from gateway.journal.instances import InstanceRow, add_instance, add_quarantine, find_instance
from gateway.scp.c_store_status import SUCCESS, UNEXPECTED, StoreFailure, find_failure
from gateway.scp.reception import ArrivingObject, Reception
from gateway.spool.inspection import Inspected, inspect
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from gateway.spool.spool import Spool
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What the C-STORE command said about its dataset; not trusted."""

    sop_instance_uid: str
    sop_class_uid: str


class InstanceReceiver:
    """Takes arriving objects of all associations; its methods run in the associations' threads."""

    def __init__(
        self, spool: Spool, journal: Journal, clock: Callable[[], datetime], on_instance: Callable[[Uid], None]
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._on_instance = on_instance

    def receive(self, reception: Reception, command: StoreCommand, arriving: ArrivingObject) -> int | Dataset:
        """Store the object and return the status for the modality; never raises."""
        found: Inspected | None = None
        try:
            arriving.seal()
            found = inspect(arriving.path)
            self._store(reception, command, arriving, found)
        except Exception as exc:  # noqa: BLE001 -- the request's border: the modality must get a status
            return self._refuse(reception, command, arriving, found, exc)
        return SUCCESS

    def _store(self, reception: Reception, command: StoreCommand, arriving: ArrivingObject, found: Inspected) -> None:
        _compare_with_command(found, command)
        row = self._make_row(reception, arriving, found)
        with self._spool.locked(found.study_uid):
            held = find_instance(self._journal, found.sop_instance_uid)
            if held is None:
                self._keep(arriving, row)
            elif held.received_sha256 != row.received_sha256:
                raise DuplicateDiffers(f"instance {found.sop_instance_uid} is held with other bytes")
        if held is not None:
            log.info("instance_held_already", sop_instance_uid=found.sop_instance_uid, study_uid=found.study_uid)
            return
        reception.stored += 1
        self._on_instance(found.study_uid)

    def _keep(self, arriving: ArrivingObject, row: InstanceRow) -> None:
        self._spool.store_incoming(arriving.durable, row.study_uid, row.sop_instance_uid)
        try:
            with self._journal.transaction() as connection:
                add_instance(connection, row)
        except sqlite3.Error:
            self._spool.withdraw_incoming(row.study_uid, row.sop_instance_uid)
            raise

    def _make_row(self, reception: Reception, arriving: ArrivingObject, found: Inspected) -> InstanceRow:
        return InstanceRow(
            sop_instance_uid=found.sop_instance_uid,
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            sop_class_uid=found.sop_class_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            received_sha256=arriving.received_sha256,
            stored_sha256=arriving.stored_sha256,
            pixel_sha256=None,
            size_bytes=arriving.size_bytes,
            received_at=self._clock(),
            calling_ae_title=reception.calling_ae_title,
            association_id=reception.association_id,
            state=SpoolState.INCOMING,
            revision=None,
        )

    def _refuse(
        self,
        reception: Reception,
        command: StoreCommand,
        arriving: ArrivingObject,
        found: Inspected | None,
        problem: Exception,
    ) -> Dataset:
        """Quarantine, write down and answer a refusal; whatever fails on the way is logged, the answer is given."""
        failure = find_failure(problem)
        log.warning(
            "instance_refused",
            code=failure.code,
            association_id=reception.association_id,
            calling_ae_title=reception.calling_ae_title,
            sop_instance_uid=_legal_or_none(command.sop_instance_uid),
            exc_info=problem if failure is UNEXPECTED else None,
        )
        reception.refused += 1
        try:
            if failure.keep_in_quarantine:
                self._quarantine(self._explain(reception, command, found, failure), arriving)
            self._record(reception, failure)
        except Exception:
            log.exception("refusal_not_recorded", code=failure.code, association_id=reception.association_id)
        answer = Dataset()
        answer.Status = failure.status
        answer.ErrorComment = failure.comment
        return answer

    def _explain(
        self, reception: Reception, command: StoreCommand, found: Inspected | None, failure: StoreFailure
    ) -> QuarantineReason:
        return QuarantineReason(
            code=failure.code,
            words=failure.comment,
            remedy=failure.remedy,
            at=to_text(self._clock()),
            study_uid=found.study_uid if found else None,
            sop_instance_uid=found.sop_instance_uid if found else _legal_or_none(command.sop_instance_uid),
            calling_ae_title=reception.calling_ae_title,
        )

    def _quarantine(self, reason: QuarantineReason, arriving: ArrivingObject) -> None:
        quarantine_id = self._spool.quarantine(arriving.path, reason)
        with self._journal.transaction() as connection:
            add_quarantine(connection, quarantine_id, reason, self._clock())

    def _record(self, reception: Reception, failure: StoreFailure) -> None:
        refusal = Refusal(
            at=self._clock(),
            calling_ae_title=reception.calling_ae_title,
            peer_address=reception.peer_address,
            status=failure.status,
            reason=failure.comment,
            remedy=failure.remedy,
        )
        with self._journal.transaction() as connection:
            record_refusal(connection, refusal)


def _compare_with_command(found: Inspected, command: StoreCommand) -> None:
    if found.sop_instance_uid != command.sop_instance_uid or found.sop_class_uid != command.sop_class_uid:
        raise CommandMismatch(f"the dataset is instance {found.sop_instance_uid} of class {found.sop_class_uid}")


def _legal_or_none(uid: str) -> str | None:
    try:
        return parse_uid(uid)
    except InvalidIdentifier:
        return None
