"""What becomes of packs on the line when a more urgent one wants it. Pure.

A pack that yields keeps what was sent of it: it goes on at a trickle that keeps its connection alive, and with all of
the line afterwards. Only where the urgent work lasts longer than such a connection may be trusted is the pack broken
off, which costs what was sent of it; never more often than `ABORTS_MAX` times for one pack, so that no study is starved
by it, and never when the pack is nearly through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from storage.contract.lanes import Lane, is_more_urgent

# How long an upload of this lane waits for packs that are nearly through rather than have them wait.
PATIENCE_S: Final = {Lane.STAT: 0.5, Lane.URGENT: 5.0, Lane.ROUTINE: 30.0, Lane.BACKGROUND: 60.0}
YIELD_MAX_S: Final = 45.0  # servers and proxies close connections that bring next to nothing for a minute
ABORTS_MAX: Final = 2


class Verdict(StrEnum):
    """What a pack on the line does while more urgent ones are there."""

    FINISH = "finish"
    YIELD = "yield"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class InFlight:
    """A pack on the line. `aborted` counts how often it has been broken off before."""

    lane: Lane
    size_bytes: int
    sent_bytes: int
    aborted: int = 0

    @property
    def left_bytes(self) -> int:
        """What of it is still to be sent."""
        return max(0, self.size_bytes - self.sent_bytes)


def verdict_on(pack: InFlight, urgent: Lane, urgent_bytes: int, bytes_per_s: float | None) -> Verdict:
    """Return what a pack does while `urgent_bytes` of the lane `urgent` go first on a line of `bytes_per_s`.

    A line that was never measured counts as slow: the pack yields.
    """
    if not is_more_urgent(urgent, pack.lane):
        return Verdict.FINISH
    if not bytes_per_s:
        return Verdict.YIELD
    if pack.left_bytes / bytes_per_s <= PATIENCE_S[urgent]:
        return Verdict.FINISH
    if urgent_bytes / bytes_per_s <= YIELD_MAX_S or pack.aborted >= ABORTS_MAX:
        return Verdict.YIELD
    return Verdict.ABORT
