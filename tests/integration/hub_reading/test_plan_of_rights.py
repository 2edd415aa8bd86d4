"""Each look at an image asks whether it may be seen: that must not read whole tables."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Select, select, text
from sqlalchemy.dialects import postgresql

from reading_queue.services.hub import Hub
from reading_queue.services.visibility import Viewer, may_see, select_seen
from tests.integration.hub_reading.world import SITE, World

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


def read_whole(hub: Hub, query: Select[Any]) -> set[str]:
    """Return the tables that the plan of a query reads from end to end, although no index is too dear for it."""
    compiled = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN " + str(compiled).replace("%%", "%").replace(":", "\\:")
    with hub.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))  # then it is done only where no index serves
        return set(re.findall(r"Seq Scan on (\w+)", "\n".join(session.scalars(text(explain)))))
