"""A site, its gateway, and the gateway API served over real HTTP beside the embedded object store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from reading_queue.db.tables import Organisation
from reading_queue.embedded.postgres import MAINTENANCE_DATABASE, EmbeddedPostgres
from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_id
from storage.ledger.tables import Site
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, enrol_stand_in
from tests.integration.hub_intake.http_server import HubServer

SITE = "qinghe"
OTHER_SITE = "baishan"


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """An engine on a database without any table."""
    name = f"empty_{new_id()}"
    admin = sa.create_engine(postgres.url(MAINTENANCE_DATABASE), isolation_level="AUTOCOMMIT")
    engine = sa.create_engine(postgres.url(name))
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def network(hub: Hub) -> Hub:
    """The hub with two sites, each of an organisation."""
    with hub.transaction() as session:
        for site_id in (SITE, OTHER_SITE):
            session.add(Site(site_id=site_id, name=f"{site_id} health centre", created_at=hub.clock()))
            session.flush()
            session.add(Organisation(organisation_id=f"{site_id}-01", kind="township", name=site_id, site_id=site_id))
    return hub


@pytest.fixture
def server(network: Hub) -> Iterator[HubServer]:
    """The gateway API on a port of its own."""
    with HubServer(network) as running:
        yield running


@pytest.fixture
def gateway(network: Hub, server: HubServer) -> GatewayStandIn:
    """An enrolled gateway of SITE."""
    return enrol_stand_in(network, server.url, SITE)


@pytest.fixture
def other_gateway(network: Hub, server: HubServer) -> GatewayStandIn:
    """An enrolled gateway of OTHER_SITE."""
    return enrol_stand_in(network, server.url, OTHER_SITE)
