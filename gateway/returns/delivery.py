"""Delivers documents to one target of the clinic.

Durable: what is due and what the target has taken, in the journal, after each document. A document whose answer got
lost is sent again under the same identity. Volatile: nothing else. Each target has a thread and a queue of its own; in
one step each document that is due is tried once, so that one which fails holds up those behind it for no longer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.journal import deliveries
from gateway.journal.database import Journal
from gateway.journal.deliveries import DeliveryRow
from gateway.returns.channel import (
    Channel,
    Delivered,
    NotYet,
    Outcome,
    Parcel,
    Refused,
    TargetUnavailable,
    Unanswered,
)
from gateway.returns.proof import DocumentAltered, verify_content
from gateway.returns.store import DocumentStore
from gateway.targets import KEEPS_NEWEST_ONLY, Target
from storage.contract.delivery import DeliveryFailure, DeliveryFault

log = structlog.get_logger(__name__)

DOCUMENTS_AT_ONCE_MAX: Final = 50
UNANSWERED_IN_A_ROW_MAX: Final = 2  # then it is the target and no longer the document
IDLE_S: Final = 60.0
REFUSED_FIRST_S: Final = 5.0
REFUSED_MAX_S: Final = 600.0


class Deliverer:
    """One step of a `Loop` for one target: gives it what is due."""

    def __init__(
        self,
        journal: Journal,
        store: DocumentStore,
        target: Target,
        channel: Channel,
        *,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_progress: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._store = store
        self._target = target
        self._channel = channel
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_progress = on_progress

    def step(self) -> float:
        """Deliver what is due; return the seconds until something is due again."""
        name = self._target.target
        if self._target.kind in KEEPS_NEWEST_ONLY:
            deliveries.supersede_outdated(self._journal, name)
        due = deliveries.list_due_deliveries(self._journal, name, self._clock(), DOCUMENTS_AT_ONCE_MAX)
        if due:
            self._deliver(self._parcels(due))
            self._on_progress()
        next_at = deliveries.find_next_delivery_at(self._journal, [name])
        if next_at is None:
            return IDLE_S
        return min(max((next_at - self._clock()).total_seconds(), 0.0), IDLE_S)

    def _parcels(self, due: Iterable[DeliveryRow]) -> deque[Parcel]:
        """Return what is due and proves again: what a disk has altered is delivered to nobody."""
        parcels: deque[Parcel] = deque()
        for delivery in due:
            parcel = Parcel(delivery, self._store.path_of(delivery.descriptor))
            try:
                verify_content(parcel.descriptor, parcel.path.read_bytes())
                parcels.append(parcel)
            except FileNotFoundError:
                self._note_failure(parcel, DeliveryFailure.of(DeliveryFault.DOCUMENT_MISSING), refused=True)
            except DocumentAltered as exc:
                self._note_failure(parcel, exc.failure, refused=True)
        return parcels

    def _deliver(self, parcels: deque[Parcel]) -> None:
        in_a_row = 0
        try:
            while parcels:
                self._channel.open(parcels)
                while parcels:
                    outcome = self._try(parcels[0])
                    self._note(parcels.popleft(), outcome)
                    in_a_row = in_a_row + 1 if isinstance(outcome, Unanswered) else 0
                    if isinstance(outcome, Unanswered) and in_a_row == UNANSWERED_IN_A_ROW_MAX:
                        self._note_unavailable(parcels, outcome.failure)
                        return
                    if in_a_row or _broke(outcome):
                        break
        except TargetUnavailable as exc:
            self._note_unavailable(parcels, exc.failure)
        finally:
            self._channel.close()

    def _try(self, parcel: Parcel) -> Outcome:
        try:
            return self._channel.deliver(parcel)
        except TargetUnavailable:
            raise
        except Exception as exc:  # what one document does to its channel must not hold up those behind it
            log.exception("delivery_broke", document_id=parcel.descriptor.document_id, target=self._target.target)
            return Refused(DeliveryFailure.of(DeliveryFault.DELIVERY_BROKE, error=type(exc).__name__))

    def _note(self, parcel: Parcel, outcome: Outcome) -> None:
        match outcome:
            case Delivered():
                takes = self._target.takes
                now = self._clock()
                deliveries.mark_delivered(self._journal, parcel.delivery, now, takes=takes, detail=outcome.detail)
                about = parcel.descriptor.document_id
                log.info("document_delivered", document_id=about, target=self._target.target)
            case NotYet():
                again_at = self._clock() + timedelta(seconds=outcome.look_again_s)
                deliveries.postpone_delivery(self._journal, parcel.delivery, again_at)
            case Refused():
                self._note_failure(parcel, outcome.failure, refused=True)
            case Unanswered():
                self._note_failure(parcel, outcome.failure, refused=False)

    def _note_unavailable(self, parcels: Iterable[Parcel], failure: DeliveryFailure) -> None:
        for parcel in parcels:
            self._note_failure(parcel, failure, refused=False)

    def _note_failure(self, parcel: Parcel, failure: DeliveryFailure, *, refused: bool) -> None:
        now, delivery = self._clock(), parcel.delivery
        limits = {"first_s": REFUSED_FIRST_S, "max_s": REFUSED_MAX_S} if refused else {"max_s": self._retry_delay_max_s}
        wait_s = delay_s(delivery.attempts + 1, now - delivery.fetched_at, random.random(), **limits)  # noqa: S311
        about = delivery.descriptor.document_id
        log.warning("delivery_failed", document_id=about, target=delivery.target, code=str(failure.code))
        deliveries.note_delivery_failure(self._journal, delivery, failure, now, now + timedelta(seconds=wait_s))


def _broke(outcome: Outcome) -> bool:
    """Return whether the channel itself failed, so that its connection is in nobody knows what state."""
    return isinstance(outcome, Refused) and outcome.failure.code == DeliveryFault.DELIVERY_BROKE
