"""The county, its hub's web application on a port, and visitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from reading_queue.embedded.postgres import EmbeddedPostgres
from reading_queue.services.hub import Hub
from storage.objects.directory import DirectoryStore
from tests.conftest import TEMPLATE, clone_database
from tests.integration.hub_web.county import PASSWORD, County
from tests.integration.hub_web.serving import Visitor, serving_hub
from tests.support.clock import SteerableClock
from tests.support.hub import PUBLIC_URL, make_hub

COUNTY_TEMPLATE = "template_county"


@pytest.fixture(scope="session")
def county_template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the county in it, loaded once: it takes some 900 statements."""
    clone_database(postgres, TEMPLATE, COUNTY_TEMPLATE)
    engine = sa.create_engine(postgres.url(COUNTY_TEMPLATE), hide_parameters=True)
    folder, clock = tmp_path_factory.mktemp("county"), SteerableClock()
    store = DirectoryStore(folder / "objects", public_url=PUBLIC_URL, secret=b"s" * 32, clock=clock)
    County(make_hub(engine, store, folder / "hub.key", clock)).build()
    engine.dispose()  # nobody may be connected to a template while it is cloned
    return COUNTY_TEMPLATE


@pytest.fixture
def database_template(request: pytest.FixtureRequest) -> str:
    """The county's database for those who ask for the county, an empty one for all others."""
    if "county" not in request.fixturenames:
        return TEMPLATE
    template: str = request.getfixturevalue("county_template")
    return template


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """A hub that offers to everybody at once, so that tests need not guess whom the ranking prefers."""
    return replace(hub, policy=replace(hub.policy, offer_width=20))


@pytest.fixture
def county(hub: Hub) -> County:
    """The county, whose database `database_template` has chosen."""
    return County(hub)


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    with serving_hub(hub) as address:
        yield address


@pytest.fixture
def visitor(url: str, county: County) -> Visitor:
    """Somebody who is not logged in."""
    return Visitor(url)


@pytest.fixture
def browser_of(url: str, county: County) -> Callable[[str], Visitor]:
    """Return a logged-in browser of an account."""

    def of(login: str) -> Visitor:
        visitor = Visitor(url)
        assert visitor.log_in(login, PASSWORD).status == 303
        return visitor

    return of


@pytest.fixture
def program_of(url: str, county: County) -> Callable[[str], Visitor]:
    """Return an API client of an account."""

    def of(login: str) -> Visitor:
        visitor = Visitor(url)
        visitor.take_token(login, PASSWORD)
        return visitor

    return of
