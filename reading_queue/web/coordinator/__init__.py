"""The coordinator's desk: counts, coverage, what is stuck, queue health, links between patients."""

from __future__ import annotations

from reading_queue.web.coordinator.routes import ROUTES

__all__ = ["ROUTES"]
