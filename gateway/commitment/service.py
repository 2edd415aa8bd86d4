"""The N-ACTION of Storage Commitment: checked, kept durably, and only then answered with Success.

Refusals follow PS3.4 table J.3-2 and PS3.7 annex C. An empty request commits nothing and is refused; it is never taken
to mean everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from gateway.commitment.decision import count_expected
from gateway.journal.commitments import Reference, add_commitment, count_arriving, find_known
from gateway.journal.database import Journal
from gateway.peers import Peer, Permission
from gateway.scp.services import Caller, DicomService, Words
from storage.contract.identifiers import InvalidIdentifier, Uid, new_id, parse_uid

log = structlog.get_logger(__name__)

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT: Final = 1  # Action Type ID, PS3.4 table J.3-1
REFERENCES_MAX: Final = 20_000
SUCCESS: Final = 0x0000
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_INSTANCE: Final = 0x0112
NO_SUCH_ACTION: Final = 0x0123
RESOURCE_LIMITATION: Final = 0x0213
ASK_THE_VENDOR: Final = "The device's request is not in DICOM's form (PS3.4 annex J); ask its vendor."


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a device wants to be sure of."""

    transaction_uid: Uid
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """`comment` goes to the device (at most 64 characters) and to the technician."""

    status: int
    comment: str
    remedy: str = ASK_THE_VENDOR


class CommitmentService:
    """Takes requests; `wake` has them judged, `expect` hears how many instances of a study are awaited."""

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        expect: Callable[[Uid, int], None],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._wake = wake
        self._expect = expect

    def service(self) -> DicomService:
        """Return what the listener needs to know."""
        return DicomService(
            name="Storage Commitment",
            permission=Permission.COMMIT,
            sop_classes=frozenset({STORAGE_COMMITMENT}),
            handlers={evt.EVT_N_ACTION: self._on_action},
            unavailable=_explain_without_call_back,
        )

    def _on_action(self, event: Any, caller: Caller) -> tuple[int | Dataset, None]:
        request = read_request(event)
        if isinstance(request, CommitmentRequest) and not add_commitment(
            self._journal, new_id(), request.transaction_uid, caller.ae_title, request.references, self._clock()
        ):
            request = RequestRefused(INVALID_ARGUMENT, "Transaction UID was used before for other instances")
        if isinstance(request, RequestRefused):
            caller.refuse(request.status, request.comment, request.remedy)
            answer = Dataset()
            answer.Status, answer.ErrorComment = request.status, request.comment
            return answer, None
        log.info(
            "commitment_asked",
            calling_ae_title=caller.ae_title,
            transaction_uid=request.transaction_uid,
            instances=len(request.references),
        )
        self._announce(request)
        self._wake()
        return SUCCESS, None

    def _announce(self, request: CommitmentRequest) -> None:
        known = [find_known(self._journal, reference.sop_instance_uid) for reference in request.references]
        expected = count_expected(known, lambda study_uid: count_arriving(self._journal, study_uid))
        if expected is not None:
            self._expect(parse_uid(expected[0]), expected[1])


def read_request(event: Any) -> CommitmentRequest | RequestRefused:
    """Return what an N-ACTION asks for, or why it is refused."""
    if event.request.RequestedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        return RequestRefused(NO_SUCH_INSTANCE, "Storage commitment was asked of another SOP Instance")
    if event.action_type != REQUEST_COMMITMENT:
        return RequestRefused(NO_SUCH_ACTION, "Storage commitment has no such action")
    try:
        return parse_request(event.action_information)
    except Exception:  # noqa: BLE001 -- pydicom raises anything on bytes from outside; none of it may reach a log
        return RequestRefused(INVALID_ARGUMENT, "Storage commitment request cannot be read as DICOM")


def parse_request(information: Dataset) -> CommitmentRequest | RequestRefused:
    """Return what an Action Information asks for, or why it is refused. Pure."""
    items = list(information.get("ReferencedSOPSequence") or [])
    if not items:
        return RequestRefused(INVALID_ARGUMENT, "Storage commitment request names no instance")
    if len(items) > REFERENCES_MAX:
        return RequestRefused(RESOURCE_LIMITATION, f"More than {REFERENCES_MAX} instances in one request")
    try:
        transaction_uid = parse_uid(str(information.get("TransactionUID") or ""))
        references = tuple(
            Reference(
                parse_uid(str(item.get("ReferencedSOPClassUID") or "")),
                parse_uid(str(item.get("ReferencedSOPInstanceUID") or "")),
            )
            for item in items
        )
    except InvalidIdentifier:
        return RequestRefused(INVALID_ARGUMENT, "Storage commitment request has a missing or illegal UID")
    return CommitmentRequest(transaction_uid, tuple(dict.fromkeys(references)))


def _explain_without_call_back(peer: Peer) -> Words | None:
    if peer.call_back is not None:
        return None
    return (
        f"{peer.ae_title} asked for Storage Commitment, and it is not known where to answer it",
        f"Name its host and port in [[dicom.peers]] (peer {peer.name}), or switch commitment off on the device.",
    )
