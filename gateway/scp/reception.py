"""The data phase of a C-STORE: bytes go from the socket to the spool's tmp as they come, never into memory as a whole.

Nothing here is durable: an `ArrivingObject` counts only when the store handler has sealed it and the spool has
published it. What an association leaves unfinished is discarded at its end; nobody was told that it arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from gateway.errors import ObjectTooLarge, SpoolFull
from storage.contract.identifiers import Sha256Hex

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from gateway.spool.durable import DurableFile

log = structlog.get_logger()


class ArrivingObject:
    """One object on its way into tmp, hashed as it comes; stands where pynetdicom would keep a temporary file.

    A full disk or an object over the limit does not interrupt the peer: the rest is read and dropped, and `seal`
    raises.
    """

    def __init__(self, begin: Callable[[], DurableFile], file_meta: bytes, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._received = hashlib.sha256()
        self._stored = hashlib.sha256(file_meta)
        self._file: DurableFile | None = None
        self._failure: Exception | None = None
        self.size_bytes = len(file_meta)
        try:
            self._file = begin()
            self._file.write(file_meta)
        except (SpoolFull, OSError) as exc:
            self._fail(exc)

    @property
    def path(self) -> Path:
        """Return where the bytes lie; only after `seal`."""
        return self.durable.path

    @property
    def durable(self) -> DurableFile:
        """Return the file in tmp; only after `seal`."""
        if self._file is None:
            raise ValueError("nothing was written")
        return self._file

    @property
    def received_sha256(self) -> Sha256Hex:
        """Return the digest of the dataset as received, without file meta."""
        return Sha256Hex(self._received.hexdigest())

    @property
    def stored_sha256(self) -> Sha256Hex:
        """Return the digest of the Part 10 file."""
        return Sha256Hex(self._stored.hexdigest())

    def write(self, data: bytes) -> None:
        """Take the next fragment of the dataset."""
        self.size_bytes += len(data)
        if self._file is None or self._failure is not None:
            return
        if self.size_bytes > self._limit_bytes:
            self._fail(ObjectTooLarge(f"more than {self._limit_bytes} bytes"))
            return
        self._received.update(data)
        self._stored.update(data)
        try:
            self._file.write(data)
        except (SpoolFull, OSError) as exc:
            self._fail(exc)

    def seal(self) -> None:
        """Bring the bytes onto the medium.

        Raises:
            SpoolFull, ObjectTooLarge, OSError: what went wrong as it came, or goes wrong now.
        """
        if self._failure is not None:
            raise self._failure
        self.durable.seal()

    def discard(self) -> None:
        """Remove what lies in tmp; harmless when it was published."""
        if self._file is not None:
            self._file.discard()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        try:
            self.discard()
        except OSError:  # the start-up scan removes fragments; the first failure is the one to tell
            log.exception("fragment_not_removed")

    # What pynetdicom calls on its own temporary file: flush each fragment, close after the handler, remove by name.

    @property
    def file(self) -> ArrivingObject:
        """Return the object whose `flush` pynetdicom calls."""
        return self

    @property
    def name(self) -> str:
        """Return a name that never exists, for pynetdicom to remove."""
        return ""

    def flush(self) -> None:
        """Do nothing: `seal` is what counts."""

    def close(self) -> None:
        """Discard what the handler has not published."""
        self.discard()


@dataclass
class Reception:
    """What the gateway knows about one association while it lasts."""

    association_id: str
    peer_address: str
    opened_at: datetime
    calling_ae_title: str = ""
    accepted: bool = False
    rejected: bool = False
    stored: int = 0
    refused: int = 0


class SpoolingDimse(DIMSEServiceProvider):
    """pynetdicom's DIMSE provider, with an `ArrivingObject` as the place for a C-STORE's dataset."""

    def __init__(
        self, association: Association, begin_object: Callable[[Association, int | None, Any], ArrivingObject]
    ) -> None:
        super().__init__(association)
        self._begin_object = begin_object
        self._arriving: ArrivingObject | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Feed the values of one P-DATA one by one, so that the place is ready before the first dataset fragment."""
        values = primitive.presentation_data_value_list
        if len(values) == 1:
            self._receive_one(primitive)
            return
        for value in values:
            single = P_DATA()
            single.presentation_data_value_list = [value]
            self._receive_one(single)

    def abandon(self) -> bool:
        """Discard the object that the association left unfinished and return whether there was one.

        Only after the association's threads have ended.
        """
        if self._arriving is not None:
            self._arriving.discard()
        return isinstance(self.message, C_STORE_RQ)

    def _receive_one(self, primitive: P_DATA) -> None:
        super().receive_primitive(primitive)
        message = self.message
        if isinstance(message, C_STORE_RQ) and message._data_set_file is None:
            self._arriving = self._begin_object(self.assoc, message.context_id, message.command_set)
            message._data_set_file = cast("Any", self._arriving)
