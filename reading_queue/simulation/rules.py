"""The limits of the hub's configuration that a run keeps to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of the hub's configuration that the run keeps to."""

    offer_width: int = 3
    offer_ttl_s: float = 900
    retry_s: float = 60  # how soon the hub asks again when nobody could be asked
    time_limit_default_min: Mapping[str, int] = field(
        default_factory=lambda: {"stat": 120, "urgent": 240, "routine": 1440, "background": 4320}
    )
