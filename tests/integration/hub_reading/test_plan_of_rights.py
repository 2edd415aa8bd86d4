"""Each look at an image asks whether it may be seen: that must not read whole tables."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from reading_queue.services.access.visibility import Viewer, may_see, select_seen
from reading_queue.services.hub import Hub
from tests.integration.hub_reading.world import SITE, World
from tests.support.plans import read_whole

pytestmark = pytest.mark.postgres


def test_right_to_one_study_reads_no_table_from_end_to_end(world: World, hub: Hub, wang: Viewer) -> None:
    world.arrive()
    assert read_whole(hub, select(may_see(wang, SITE, "1.2.3", hub.clock()))) == set()


def test_studies_of_a_physician_are_found_without_reading_a_table_from_end_to_end(
    world: World, hub: Hub, wang: Viewer
) -> None:
    world.arrive()
    seen = select_seen(wang, hub.clock())
    assert seen is not None
    assert read_whole(hub, seen) == set()
