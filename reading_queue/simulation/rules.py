"""The limits of the hub's configuration that a run keeps to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reading_queue.domain.clocks import first_limit_min
from reading_queue.domain.routing import UNNAMED, WORKLOAD_POINTS, WORKLOAD_POINTS_DEFAULT
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of the hub's configuration that the run keeps to."""

    offer_width: int = 3
    offer_ttl_s: float = 900
    lease_s: float = 900
    hold_max_s: float = 24 * 3600
    retry_s: float = 60  # how soon the hub asks again when nobody could be asked
    time_limit_default_min: Mapping[str, int] = field(
        default_factory=lambda: {"stat": 120, "urgent": 240, "routine": 1440, "background": 4320}
    )
    green_channel_limit_min: Mapping[str, int] = field(
        default_factory=lambda: {
            "stroke": 30,
            "chest_pain": 45,
            "trauma": 45,
            "maternal": 45,
            "neonatal": 45,
            "other": 60,
        }
    )
    workload_points: Mapping[str, int] = field(
        default_factory=lambda: {**WORKLOAD_POINTS, UNNAMED: WORKLOAD_POINTS_DEFAULT}
    )
    consult_limit_min: Mapping[str, int] = field(
        default_factory=lambda: {"stat": 20, "urgent": 60, "routine": 480, "background": 1440}
    )

    def limit_min(self, lane: Lane, channel: GreenChannel | None) -> int:
        """Return how many minutes a report may take from the start of the examination, before an agreement counts."""
        of_channel_min = None if channel is None else self.green_channel_limit_min[channel]
        return first_limit_min(self.time_limit_default_min[lane], of_channel_min)
