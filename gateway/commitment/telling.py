"""Brings the outcome to the device that asked: N-EVENT-REPORT on a new association (PS3.4 section J.3.3).

Durable: what is still to be told, with the journal. One teller for each device, so that one that is switched off keeps
no other waiting. A report may come twice when an answer is lost; its Transaction UID tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, build_role
from pynetdicom.association import Association

from gateway.backoff import delay_s
from gateway.commitment.service import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from gateway.journal.associations import Refusal
from gateway.journal.commitments import (
    Answer,
    Commitment,
    find_next_attempt,
    list_answers,
    list_due,
    mark_given_up,
    mark_told,
    note_failure,
)
from gateway.journal.database import Journal
from gateway.scu import Destination, PeerUnavailable, associated

log = structlog.get_logger(__name__)

ALL_COMMITTED: Final = 1  # Event Type ID, PS3.4 table J.3-3
SOME_FAILED: Final = 2
AT_ONCE_MAX: Final = 100
LOOK_EVERY_S: Final = 60.0
FIRST_RETRY_S: Final = 5.0
SUCCESS: Final = 0x0000


class CommitmentTeller:
    """One step of a `Loop`, for one device."""

    def __init__(
        self,
        journal: Journal,
        destination: Destination,
        *,
        own_ae_title: str,
        retry_delay_max_s: float,
        give_up_after: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._destination = destination
        self._own_ae_title = own_ae_title
        self._retry_delay_max_s = retry_delay_max_s
        self._give_up_after = give_up_after
        self._clock = clock

    def step(self) -> float:
        """Tell what is due over one association; return the seconds until something is due again."""
        due = list_due(self._journal, self._destination.ae_title, self._clock(), AT_ONCE_MAX)
        if due:
            self._tell_all(due)
        next_at = find_next_attempt(self._journal, self._destination.ae_title)
        if next_at is None:
            return LOOK_EVERY_S
        return min(max((next_at - self._clock()).total_seconds(), 0.0), LOOK_EVERY_S)

    def _tell_all(self, due: list[Commitment]) -> None:
        contexts = [build_context(STORAGE_COMMITMENT)]
        roles = [build_role(UID(STORAGE_COMMITMENT), scp_role=True)]  # PS3.7 section D.3.3.4: we are the SCP that calls
        told = 0
        try:
            with associated(self._destination, self._own_ae_title, contexts, negotiation=roles) as association:
                for commitment in due:
                    self._tell(association, commitment)
                    told += 1
        except PeerUnavailable as exc:
            for commitment in due[told:]:
                self._failed(commitment, str(exc))

    def _tell(self, association: Association, commitment: Commitment) -> None:
        answers = list_answers(self._journal, commitment.commitment_id)
        event_type, information = make_report(commitment, answers, self._own_ae_title)
        status, _ = association.send_n_event_report(
            information, event_type, UID(STORAGE_COMMITMENT), UID(WELL_KNOWN_INSTANCE)
        )
        if "Status" not in status:
            raise PeerUnavailable(f"{self._destination} broke off the association before it took the report")
        if status.Status != SUCCESS:
            self._failed(commitment, f"{self._destination} did not take the report (status {status.Status:04X})")
            return
        mark_told(self._journal, commitment.commitment_id, self._clock())
        log.info(
            "commitment_told",
            calling_ae_title=commitment.calling_ae_title,
            transaction_uid=commitment.transaction_uid,
            failed=sum(answer.failure is not None for answer in answers),
        )

    def _failed(self, commitment: Commitment, problem: str) -> None:
        now = self._clock()
        since = now - (commitment.decided_at or commitment.asked_at)
        if since >= self._give_up_after:
            refusal = Refusal(
                at=now,
                calling_ae_title=commitment.calling_ae_title,
                peer_address=self._destination.host,
                status=None,
                reason=f"The answer to a storage commitment could not be brought to the device: {problem}",
                remedy="Check the device, and host, port and AE title of its peer; then let it ask again.",
            )
            mark_given_up(self._journal, commitment.commitment_id, refusal)
            return
        wait_s = delay_s(
            commitment.attempts + 1,
            since,
            random.random(),  # noqa: S311 -- jitter, not a secret
            first_s=FIRST_RETRY_S,
            max_s=self._retry_delay_max_s,
        )
        note_failure(self._journal, commitment.commitment_id, problem, now + timedelta(seconds=wait_s))
        log.warning("commitment_not_told", transaction_uid=commitment.transaction_uid, attempts=commitment.attempts + 1)


def make_report(commitment: Commitment, answers: list[Answer], retrieve_ae_title: str) -> tuple[int, Dataset]:
    """Return event type and Event Information (PS3.4 table J.3-3) of a decided request. Pure."""
    information = Dataset()
    information.TransactionUID = commitment.transaction_uid
    committed = [_item(answer) for answer in answers if answer.failure is None]
    failed = [_item(answer) for answer in answers if answer.failure is not None]
    if committed:
        information.RetrieveAETitle = retrieve_ae_title
        information.ReferencedSOPSequence = committed
    if failed:
        information.FailedSOPSequence = failed
    return (SOME_FAILED if failed else ALL_COMMITTED), information


def _item(answer: Answer) -> Any:
    item = Dataset()
    item.ReferencedSOPClassUID = answer.reference.sop_class_uid
    item.ReferencedSOPInstanceUID = answer.reference.sop_instance_uid
    if answer.failure is not None:
        item.FailureReason = answer.failure
    return item
