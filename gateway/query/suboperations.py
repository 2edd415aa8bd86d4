"""The answers to a C-MOVE or C-GET: sub-operations counted, and what their counts mean (PS3.4 section C.4.2.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, cast

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode

from gateway.scu import StoreOutcome

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
SOME_FAILED: Final = 0xB000
NONE_DONE: Final = 0xA702
PENDING_EVERY_S: Final = 0.2
FAILED_LIST_BYTES_MAX: Final = 65_000  # a UI element's length has two bytes
COMMENT_CHARACTERS_MAX: Final = 64


@dataclass
class Tally:
    """How far a retrieval is; `problem` is the first failure in words."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: list[str] = field(default_factory=list)
    problem: str = ""

    def note(self, sop_instance_uid: str, outcome: StoreOutcome) -> None:
        """Count one sub-operation."""
        self.remaining -= 1
        if outcome.problem:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)
            self.problem = self.problem or outcome.problem
        elif outcome.is_warning:
            self.warnings += 1
        else:
            self.completed += 1

    def final_status(self) -> int:
        """Return the status of the last answer when nobody has cancelled."""
        if not self.failed and not self.warnings:
            return SUCCESS
        return SOME_FAILED if self.completed or self.warnings else NONE_DONE


class Responder:
    """Answers one request on its association."""

    def __init__(self, association: Association, request: C_MOVE | C_GET, context: Any) -> None:
        self._association = association
        self._request = request
        self._context = context
        self._pending_at = 0.0

    @property
    def is_cancelled(self) -> bool:
        """Return whether the asker has sent a C-CANCEL."""
        return self._request.MessageID in self._association.dimse.cancel_req

    @property
    def is_gone(self) -> bool:
        """Return whether the asker's association has ended."""
        association = self._association
        return not association.is_established or not association.dul.is_alive() or association.acse.is_aborted()

    def tell_pending(self, tally: Tally, every_s: float = PENDING_EVERY_S) -> None:
        """Tell how far it is, not more often than this."""
        now = time.monotonic()
        if tally.remaining and now - self._pending_at >= every_s:
            self._pending_at = now
            self._send(PENDING, tally)

    def finish(self, status: int, tally: Tally, comment: str = "") -> None:
        """Send the last answer."""
        if not self.is_gone:
            self._send(status, tally, comment)

    def _send(self, status: int, tally: Tally, comment: str = "") -> None:
        answer: Any = type(self._request)()
        answer.MessageID = self._request.MessageID
        answer.MessageIDBeingRespondedTo = self._request.MessageID
        answer.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        answer.Status = status
        if status in (PENDING, CANCELLED):
            answer.NumberOfRemainingSuboperations = tally.remaining
        answer.NumberOfCompletedSuboperations = tally.completed
        answer.NumberOfFailedSuboperations = tally.failed
        answer.NumberOfWarningSuboperations = tally.warnings
        if comment:
            answer.ErrorComment = comment[:COMMENT_CHARACTERS_MAX]
        if status not in (PENDING, SUCCESS) and tally.failed_uids:
            answer.Identifier = self._failed_list(tally.failed_uids)
        self._association.dimse.send_msg(answer, cast("int", self._context.context_id))

    def _failed_list(self, uids: list[str]) -> BytesIO:
        listed, size_bytes = [], 0
        for uid in uids:
            size_bytes += len(uid) + 1
            if size_bytes > FAILED_LIST_BYTES_MAX:
                break
            listed.append(uid)
        identifier = Dataset()
        identifier.FailedSOPInstanceUIDList = listed
        syntax = self._context.transfer_syntax[0]
        encoded = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        return BytesIO(encoded or b"")
