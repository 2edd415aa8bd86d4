"""A county that people store into: each test has its own, served over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reading_queue.services.access.accounts import find_session
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from tests.integration.dicomweb.county import County
from tests.integration.stow.serving import Storing, StowServer


@pytest.fixture
def county(hub: Hub) -> County:
    """The network; no study has come yet."""
    return County(hub).build()


@pytest.fixture
def deposits_dir(tmp_path: Path) -> Path:
    """Where bodies lie while they come."""
    return tmp_path / "deposits"


@pytest.fixture
def server(county: County, deposits_dir: Path) -> Iterator[StowServer]:
    with StowServer(county.hub, deposits_dir) as running:
        yield running


@pytest.fixture
def as_person(county: County, server: StowServer) -> Callable[[str], Storing]:
    """`as_person(login)` stores and asks as this person."""
    return lambda login: Storing(server.url, county.token(login))


@pytest.fixture
def technician(as_person: Callable[[str], Storing]) -> Storing:
    """One who may store whatever the first site sends."""
    return as_person("technician")


@pytest.fixture
def viewer_of(county: County) -> Callable[[str], Viewer]:
    """`viewer_of(login)` is this person as services know them."""

    def find(login: str) -> Viewer:
        session = find_session(county.hub, county.token(login))
        assert session is not None
        return session.viewer

    return find
