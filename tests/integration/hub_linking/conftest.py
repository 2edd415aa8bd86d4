"""Two sites' gateways, and the patients that they send."""

from __future__ import annotations

import pytest

from reading_queue.services.hub import Hub
from tests.integration.hub_intake.conftest import empty_database, gateway, network, other_gateway, server
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_linking.patients import Clinic

__all__ = ["empty_database", "gateway", "network", "other_gateway", "server"]


@pytest.fixture
def qinghe(gateway: GatewayStandIn, network: Hub) -> Clinic:
    return Clinic(gateway, network)


@pytest.fixture
def baishan(other_gateway: GatewayStandIn, network: Hub) -> Clinic:
    return Clinic(other_gateway, network)
