"""Where the data phase of one association puts its objects: from the request to the store handler's answer.

Nothing here is durable: what an association leaves unfinished is discarded at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import SpoolFull
from gateway.scp.admission import is_storage_class
from gateway.scp.reception import BUFFER_BYTES, ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver
from gateway.scp.upper_layer import StoreRequest
from storage.dicom.part10 import file_meta_bytes

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from gateway.spool.durable import DurableFile


class AssociationObjects:
    """The `data_phase.ObjectSink` of one association."""

    def __init__(
        self,
        association: Association,
        reception: Reception,
        receiver: InstanceReceiver,
        check_may_store: Callable[[Reception], None],
        *,
        limit_bytes: int,
    ) -> None:
        self._association = association
        self._reception = reception
        self._receiver = receiver
        self._check_may_store = check_may_store
        self._limit_bytes = limit_bytes
        self._syntaxes: dict[int, str] = {}
        self._buffer: bytearray | None = None
        self._spare: DurableFile | None = None

    def begin(self, request: StoreRequest) -> ArrivingObject | None:
        """Return where the request's dataset goes, None when its context is none for storage."""
        if not self._syntaxes:
            self._syntaxes = {
                context.context_id: str(context.transfer_syntax[0])
                for context in self._association.accepted_contexts
                if context.context_id is not None
                and context.abstract_syntax is not None
                and is_storage_class(context.abstract_syntax)
            }
        syntax = self._syntaxes.get(request.context_id)
        if syntax is None:
            return None
        meta = file_meta_bytes(
            request.sop_class_uid, request.sop_instance_uid, syntax, self._reception.calling_ae_title
        )
        self._buffer = self._buffer or bytearray(BUFFER_BYTES)
        return ArrivingObject(self._begin_file, meta, limit_bytes=self._limit_bytes, buffer=self._buffer)

    def finish(self, request: StoreRequest, arriving: ArrivingObject) -> tuple[int, str]:
        """Store the object and return its status and Error Comment; what was not published is gone after it."""
        try:
            return self._receiver.receive(self._reception, request, arriving)
        finally:
            arriving.discard()

    def answered(self) -> None:
        """Make the next object's file while the peer gets its answer: modalities seldom send one object alone."""
        try:
            self._spare = self._receiver.begin_file()
        except (SpoolFull, OSError):  # told when an object comes
            self._spare = None

    def close(self) -> None:
        """Remove what was made ready; only after the association's threads have ended."""
        if self._spare is not None:
            self._spare.discard()

    def _begin_file(self) -> DurableFile:
        self._check_may_store(self._reception)
        spare, self._spare = self._spare, None
        return spare or self._receiver.begin_file()
