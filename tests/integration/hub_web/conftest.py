"""The county, its hub's web application on a port, and visitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from reading_queue.services.hub import Hub
from tests.integration.hub_web.county import PASSWORD, County
from tests.integration.hub_web.serving import Visitor, serving_hub


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """A hub that offers to everybody at once, so that tests need not guess whom the ranking prefers."""
    return replace(hub, policy=replace(hub.policy, offer_width=20))


@pytest.fixture
def county(hub: Hub) -> County:
    return County(hub).build()


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
