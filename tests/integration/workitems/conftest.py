"""A county with one study to be read, and other vendors' worklists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reading_queue.services.hub import Hub
from reading_queue.services.network.network import load_network
from tests.integration.dicomweb.county import CHEAP_HASHES, NETWORK, SITE, County
from tests.integration.stow.made import images
from tests.integration.stow.serving import Storing, StowServer
from tests.integration.workitems.client import Worklist


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """A hub that offers to everybody at once."""
    return replace(hub, policy=replace(hub.policy, offer_width=20))


@pytest.fixture
def county(hub: Hub) -> County:
    county = County(hub).build()
    second = NETWORK["physicians"][0] | {"login": "second", "name": "second", "licence_number": "TEST-second"}
    load_network(hub, NETWORK | {"physicians": [*NETWORK["physicians"], second]}, hasher=CHEAP_HASHES)
    return county


@pytest.fixture
def server(county: County, tmp_path: Path) -> Iterator[StowServer]:
    with StowServer(county.hub, tmp_path / "deposits") as running:
        yield running


@pytest.fixture
def study(county: County) -> list[bytes]:
    """The images of a study that has come and was offered."""
    files = images(1, 2)
    county.arrive(SITE, files)
    return files


@pytest.fixture
def worklist_of(county: County, server: StowServer) -> Callable[[str], Worklist]:
    """`worklist_of(login)` works as this person."""
    return lambda login: Worklist(server.url, county.token(login) if login else "")


@pytest.fixture
def storing_of(county: County, server: StowServer) -> Callable[[str], Storing]:
    """`storing_of(login)` asks for images and stores as this person."""
    return lambda login: Storing(server.url, county.token(login))
