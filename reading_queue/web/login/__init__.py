"""Logging in and out, and the language of the pages."""

from __future__ import annotations

from reading_queue.web.login.routes import ROUTES

__all__ = ["ROUTES"]
