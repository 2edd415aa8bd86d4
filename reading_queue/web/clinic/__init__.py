"""The clinic's desk: its own studies, where each is, and its report."""

from __future__ import annotations

from reading_queue.web.clinic.routes import ROUTES

__all__ = ["ROUTES"]
