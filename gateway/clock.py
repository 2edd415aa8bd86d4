"""The machine's clock: the edge that everything else is given as `clock`."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)  # noqa: TID251 -- this is the edge
