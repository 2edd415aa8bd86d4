"""What a failed step means for its transfer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from gateway.backoff import delay_s
from gateway.errors import InstanceNotInSpool, SpoolFull
from gateway.forwarder.decision import Step
from gateway.hub import HubBusy, HubRefused, HubUnreachable

REFUSED_FIRST_S: Final = 2.0
REFUSED_MAX_S: Final = 600.0
LOCAL_FAULT_FIRST_S: Final = 30.0
UNKNOWN_OR_GONE: Final = frozenset({404, 410})
NOT_ALLOWED: Final = frozenset({401, 403})


class Consequence(StrEnum):
    """What to change in the journal before the next attempt."""

    WAIT = "wait"
    GRANT_AGAIN = "grant_again"  # these packs need a new address
    DECLARE_AGAIN = "declare_again"  # the hub does not know the transfer
    UNFORESEEN = "unforeseen"  # a fault of ours: the log needs its traceback


@dataclass(frozen=True, slots=True)
class Failure:
    """What follows from a failure; `problem` is words for the technician."""

    consequence: Consequence
    problem: str
    delay_s: float


def consequence_of(
    exc: Exception, step: Step, *, attempts: int, in_queue: timedelta, jitter: float, max_s: float
) -> Failure:
    """Return what the `attempts`-th failure in a row of a transfer means."""
    usual_s = delay_s(attempts, in_queue, jitter, max_s=max_s)
    if isinstance(exc, HubBusy):
        return Failure(Consequence.WAIT, str(exc), max(usual_s, exc.retry_after_s or 0.0))
    if isinstance(exc, HubUnreachable):
        return Failure(Consequence.WAIT, str(exc), usual_s)
    if isinstance(exc, HubRefused):
        return _refused(exc, step, attempts, in_queue, jitter)
    local_s = delay_s(attempts, in_queue, jitter, first_s=LOCAL_FAULT_FIRST_S, max_s=REFUSED_MAX_S)
    if isinstance(exc, (InstanceNotInSpool, SpoolFull)):
        return Failure(Consequence.WAIT, str(exc), local_s)
    if isinstance(exc, OSError):
        return Failure(Consequence.UNFORESEEN, f"the gateway's disk failed: {exc.strerror}", local_s)
    words = f"the gateway failed inside ({type(exc).__name__}); its log has the details"
    return Failure(Consequence.UNFORESEEN, words, local_s)


def _refused(exc: HubRefused, step: Step, attempts: int, in_queue: timedelta, jitter: float) -> Failure:
    if step is Step.UPLOAD:
        first_s = 0.1 if exc.status in NOT_ALLOWED else REFUSED_FIRST_S  # mostly an expired address
        wait_s = delay_s(attempts, in_queue, jitter, first_s=first_s, max_s=REFUSED_MAX_S)
        words = f"object storage refused the upload (HTTP {exc.status}); a new address is asked for"
        return Failure(Consequence.GRANT_AGAIN, words, wait_s)
    wait_s = delay_s(attempts, in_queue, jitter, first_s=REFUSED_FIRST_S, max_s=REFUSED_MAX_S)
    words = f"the hub refused to {step}: {exc}"
    if step is Step.COMMIT and exc.status not in NOT_ALLOWED:
        return Failure(Consequence.GRANT_AGAIN, words, wait_s)
    if step in (Step.GRANT, Step.POLL) and exc.status in UNKNOWN_OR_GONE:
        return Failure(Consequence.DECLARE_AGAIN, words, wait_s)
    return Failure(Consequence.WAIT, words, wait_s)
