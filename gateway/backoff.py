"""How long to wait before trying again. Pure: attempts, age and jitter are arguments."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

FIRST_DELAY_S: Final = 0.5
DELAY_MAX_S: Final = 60.0
DOUBLINGS_MAX: Final = 30  # beyond this the clamp decides anyway, and 2.0 ** n stays a small number
OLD_AFTER: Final = timedelta(hours=12)
OLD_DELAY_FACTOR: Final = 5.0


def delay_s(
    attempts: int,
    in_queue: timedelta,
    jitter: float,
    *,
    first_s: float = FIRST_DELAY_S,
    max_s: float = DELAY_MAX_S,
) -> float:
    """Return the seconds to wait after `attempts` failures in a row; never gives up.

    Doubles from `first_s` up to `max_s`; what has waited for half a day may wait a few times longer, so that days of
    outage cost little. `jitter` in [0, 1) spreads the delay over its upper half.
    """
    if attempts <= 0:
        return 0.0
    ceiling = max_s * OLD_DELAY_FACTOR if in_queue >= OLD_AFTER else max_s
    full = min(first_s * 2.0 ** min(attempts - 1, DOUBLINGS_MAX), ceiling)
    return full * (0.5 + 0.5 * min(max(jitter, 0.0), 1.0))
