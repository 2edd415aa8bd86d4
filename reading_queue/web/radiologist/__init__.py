"""The radiologist's desk: offers, held work, reading, verification."""

from __future__ import annotations

from reading_queue.web.radiologist.routes import ROUTES

__all__ = ["ROUTES"]
