"""A hub that gateways send to, and an empty database beside it."""

from __future__ import annotations

from tests.integration.hub_intake.conftest import empty_database, gateway, network, other_gateway, server

__all__ = ["empty_database", "gateway", "network", "other_gateway", "server"]
