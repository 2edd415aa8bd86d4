"""Receiving an instance: Success is the gateway's promise, so everything durable happens before it.

Order: bytes sealed in tmp, header and structure checked, file published in incoming, journal row committed, then
0x0000. What is refused goes to quarantine with its reason, except when the disk is full. A modality always gets a
status in words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO, NamedTuple, cast

import structlog

from gateway.errors import CommandMismatch, DuplicateDiffers
from gateway.journal.associations import Refusal, record_refusal
from gateway.journal.database import Journal, to_text
from gateway.journal.instances import NOT_TAKEN, InstanceRow, add_quarantine
from gateway.journal.priors import read_after_all
from gateway.scp.c_store_status import SUCCESS, UNEXPECTED, StoreFailure, find_failure
from gateway.scp.publishing import Arrival, Publisher
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.resend import shows_what_is_held
from gateway.scp.upper_layer import StoreRequest
from gateway.spool.durable import DurableFile
from gateway.spool.inspection import HeadedFile, Inspected, inspect_file
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from gateway.spool.spool import Spool
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid

PARALLEL_BELOW = 3  # objects at work at the same moment

log = structlog.get_logger()


class Outcome(NamedTuple):
    """What the modality is told: the DICOM status, and the Error Comment of a refusal."""

    status: int
    comment: str = ""


class InstanceReceiver:
    """Takes arriving objects of all associations; its methods run in the associations' threads."""

    def __init__(
        self, spool: Spool, journal: Journal, clock: Callable[[], datetime], on_instance: Callable[[Uid], None]
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._on_instance = on_instance
        self._publisher = Publisher(spool, journal)
        self._helpers = ThreadPoolExecutor(PARALLEL_BELOW, "hash")
        self._busy = 0
        self._busy_lock = threading.Lock()

    def begin_file(self) -> DurableFile:
        """Return a new file in tmp.

        Raises:
            SpoolFull: the disk has no room.
        """
        return self._spool.begin()

    def receive(self, reception: Reception, request: StoreRequest, arriving: ArrivingObject) -> Outcome:
        """Store the object and return what the modality is told; never raises."""
        found: Inspected | None = None
        try:
            with self._counted() as helpers:
                found = arriving.seal(_inspect, helpers)
            self._store(reception, request, arriving, found)
        except Exception as exc:  # noqa: BLE001 -- the request's border: the modality must get a status
            return self._refuse(reception, request, arriving, found, exc)
        return Outcome(SUCCESS)

    @contextmanager
    def _counted(self) -> Iterator[Executor | None]:
        """Yield threads that hash and inspect while the association's own waits for the disk, as long as it pays.

        With more objects at work than processors, they keep each other busy, and handing over costs more than it saves.
        """
        with self._busy_lock:
            self._busy += 1
            helpers = self._helpers if self._busy < PARALLEL_BELOW else None
        try:
            yield helpers
        finally:
            with self._busy_lock:
                self._busy -= 1

    def _store(self, reception: Reception, request: StoreRequest, arriving: ArrivingObject, found: Inspected) -> None:
        _compare_with_command(found, request)
        row = self._make_row(reception, arriving, found)
        if not self._publish(Arrival(arriving.durable, row, found.header)):
            log.info("instance_held_already", sop_instance_uid=found.sop_instance_uid, study_uid=found.study_uid)
            if read_after_all(self._journal, found.study_uid, reception.calling_ae_title, self._clock()):
                log.info("prior_to_be_read", study_uid=found.study_uid)
                self._on_instance(found.study_uid)
            return
        reception.stored += 1
        self._on_instance(found.study_uid)

    def _publish(self, arrival: Arrival) -> bool:
        """Make the instance durable and return True; False when it is held, in the same bytes or in another syntax."""
        try:
            return self._publisher.publish(arrival)
        except DuplicateDiffers:
            if not shows_what_is_held(self._spool, self._journal, arrival.file.path, arrival.row.sop_instance_uid):
                raise
        return False

    def _make_row(self, reception: Reception, arriving: ArrivingObject, found: Inspected) -> InstanceRow:
        return InstanceRow(
            sop_instance_uid=found.sop_instance_uid,
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            sop_class_uid=found.sop_class_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            received_sha256=arriving.received_sha256,
            stored_sha256=NOT_TAKEN,
            pixel_sha256=None,
            size_bytes=arriving.size_bytes,
            received_at=self._clock(),
            calling_ae_title=reception.calling_ae_title,
            association_id=reception.association_id,
            state=SpoolState.INCOMING,
            revision=None,
            instance_number=found.header.instance_number,
        )

    def _refuse(
        self,
        reception: Reception,
        request: StoreRequest,
        arriving: ArrivingObject,
        found: Inspected | None,
        problem: Exception,
    ) -> Outcome:
        """Quarantine, write down and answer a refusal; whatever fails on the way is logged, the answer is given."""
        failure = find_failure(problem)
        log.warning(
            "instance_refused",
            code=failure.code,
            association_id=reception.association_id,
            calling_ae_title=reception.calling_ae_title,
            sop_instance_uid=_legal_or_none(request.sop_instance_uid),
            exc_info=problem if failure is UNEXPECTED else None,
        )
        reception.refused += 1
        try:
            if failure.keep_in_quarantine:
                self._quarantine(self._explain(reception, request, found, failure), arriving)
            self._record(reception, failure)
        except Exception:
            log.exception("refusal_not_recorded", code=failure.code, association_id=reception.association_id)
        return Outcome(failure.status, failure.comment)

    def _explain(
        self, reception: Reception, request: StoreRequest, found: Inspected | None, failure: StoreFailure
    ) -> QuarantineReason:
        return QuarantineReason(
            code=failure.code,
            words=failure.comment,
            remedy=failure.remedy,
            at=to_text(self._clock()),
            study_uid=found.study_uid if found else None,
            sop_instance_uid=found.sop_instance_uid if found else _legal_or_none(request.sop_instance_uid),
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


def _inspect(file: HeadedFile) -> Inspected:
    return inspect_file(cast("BinaryIO", file))


def _compare_with_command(found: Inspected, request: StoreRequest) -> None:
    if found.sop_instance_uid != request.sop_instance_uid or found.sop_class_uid != request.sop_class_uid:
        raise CommandMismatch(f"the dataset is instance {found.sop_instance_uid} of class {found.sop_class_uid}")


def _legal_or_none(uid: str) -> str | None:
    try:
        return parse_uid(uid)
    except InvalidIdentifier:
        return None
