"""The hub's API for gateways: signed requests in, `storage.contract.wire` out."""

from __future__ import annotations

from reading_queue.web.gateway_api.routes import PREFIX, build_gateway_api

__all__ = ["PREFIX", "build_gateway_api"]
