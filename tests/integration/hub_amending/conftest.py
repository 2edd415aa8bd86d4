"""A hub that gateways send to, and an empty database beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from reading_queue.db.schema import upgrade
from reading_queue.services.hub import Hub
from tests.integration.hub_amending.amending import World
from tests.integration.hub_intake.conftest import empty_database, gateway, network, other_gateway, server
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.support.clock import SteerableClock

__all__ = ["empty_database", "gateway", "network", "other_gateway", "server"]


@pytest.fixture
def other(network: Hub, empty_database: sa.Engine) -> Hub:
    """The same hub on an empty database."""
    upgrade(empty_database)
    return replace(network, engine=empty_database)


@pytest.fixture
def world(network: Hub, gateway: GatewayStandIn, hub_clock: SteerableClock) -> World:
    """A hub with nothing in it, and who sends to it."""
    return World(network, gateway, hub_clock)
