"""A hub for the reading side on a fresh database."""

from __future__ import annotations

import pytest

from reading_queue.domain.roles import Title
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from tests.integration.hub_reading.world import World


class NoObjects:
    """The reading side has no business in the object store: whatever it asks of it fails."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the reading side called objects.{name}")


@pytest.fixture
def directory_store() -> NoObjects:
    return NoObjects()


@pytest.fixture
def world(hub: Hub) -> World:
    return World(hub).build()


@pytest.fixture
def wang(world: World) -> Viewer:
    """An attending physician of the city hospital, on duty."""
    return world.add_physician("wang")


@pytest.fixture
def zhao(world: World) -> Viewer:
    """An associate chief of the city hospital, on duty."""
    return world.add_physician("zhao", title=Title.ASSOCIATE_CHIEF)
