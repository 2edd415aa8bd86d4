"""Decides requests once nothing of them is open any more, or their time is over.

Durable: the outcomes, with the journal. Volatile: nothing; after a restart every request that waits is judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.commitment.decision import REMEDY, WHY, Failed, Pending, judge
from gateway.journal.associations import Refusal
from gateway.journal.commitments import (
    Commitment,
    find_known,
    forget_confirmed,
    forget_finished,
    list_answers,
    list_waiting,
    mark_decided,
)
from gateway.journal.database import Journal

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 2.0
AT_ONCE_MAX: Final = 100
REMEMBER_CONFIRMED: Final = timedelta(days=365)
REMEMBER_FINISHED: Final = timedelta(days=30)
FORGET_EVERY: Final = timedelta(days=1)


class CommitmentJudge:
    """One step of a `Loop`. `on_decided` hears that a device is to be told."""

    def __init__(
        self,
        journal: Journal,
        *,
        wait_max: timedelta,
        clock: Callable[[], datetime],
        on_decided: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._wait_max = wait_max
        self._clock = clock
        self._on_decided = on_decided
        self._forgot_at: datetime | None = None

    def step(self) -> float:
        """Judge every request that waits; return the seconds until that is worth doing again."""
        self._forget()
        decided, after = 0, ""
        while waiting := list_waiting(self._journal, AT_ONCE_MAX, after):
            decided += sum(self._judge(commitment) for commitment in waiting)
            after = waiting[-1].commitment_id
        if decided:
            self._on_decided()
        return LOOK_EVERY_S

    def _judge(self, commitment: Commitment) -> bool:
        now = self._clock()
        overdue = now - commitment.asked_at >= self._wait_max
        outcomes = []
        for answer in list_answers(self._journal, commitment.commitment_id):
            outcome = judge(
                answer.reference, find_known(self._journal, answer.reference.sop_instance_uid), overdue=overdue
            )
            if isinstance(outcome, Pending):
                return False
            outcomes.append(outcome)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        refusal = _explain(commitment, failed, len(outcomes), now) if failed else None
        failures = [outcome.reason if isinstance(outcome, Failed) else None for outcome in outcomes]
        mark_decided(self._journal, commitment, failures, refusal, now)
        log.info(
            "commitment_decided",
            calling_ae_title=commitment.calling_ae_title,
            transaction_uid=commitment.transaction_uid,
            instances=len(outcomes),
            failed=len(failed),
        )
        return True

    def _forget(self) -> None:
        now = self._clock()
        if self._forgot_at is not None and abs(now - self._forgot_at) < FORGET_EVERY:
            return
        forget_finished(self._journal, now - REMEMBER_FINISHED)
        forgotten = forget_confirmed(self._journal, now - REMEMBER_CONFIRMED)
        self._forgot_at = now
        log.info("confirmed_instances_forgotten", instances=forgotten)


def _explain(commitment: Commitment, failed: list[Failed], instances: int, now: datetime) -> Refusal:
    most = Counter(outcome.why for outcome in failed).most_common()
    words = "; ".join(f"{count} because {WHY[why]}" for why, count in most)
    return Refusal(
        at=now,
        calling_ae_title=commitment.calling_ae_title,
        peer_address="",
        status=failed[0].reason,
        reason=f"Storage commitment was not given for {len(failed)} of {instances} images: {words}",
        remedy=REMEDY[most[0][0]],
    )
