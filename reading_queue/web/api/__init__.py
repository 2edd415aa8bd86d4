"""The JSON API, the same services as the pages: `/api/v1`, described by `/api/v1/openapi.json`."""

from __future__ import annotations

from reading_queue.web.api.routes import ROUTES

__all__ = ["ROUTES"]
