"""Why not me, and why late: told from what was decided, to whom it concerns."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reading_queue.domain.lateness import Span
from reading_queue.domain.roles import Role
from reading_queue.errors import Forbidden, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.routing import explaining
from storage.contract.lanes import Lane
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_a_physician_is_told_why_a_case_is_not_with_them(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    away = world.add_physician("fang", duty_s=1)
    stranger = world.add_physician("gao", organisation=COUNTY)
    hub_clock.advance(60)
    case_id = world.arrive()
    (told,) = explaining.why_not_me(hub, away, " A1 ")
    assert (told.case_id, told.offered, told.considered, told.own_offer, told.place) == (case_id, 1, 2, None, None)
    assert told.words == ("不在班",)
    (offered,) = explaining.why_not_me(hub, wang, "A1")
    assert (offered.own_offer, offered.place, offered.of, offered.words) == ("open", 1, 1, ())
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    (taken,) = explaining.why_not_me(hub, away, "A1")
    assert (taken.place, taken.words, taken.held_by_viewer) == (None, (), False)
    assert explaining.why_not_me(hub, stranger, "A1") == (), "their hospital does not read for this site"
    assert explaining.why_not_me(hub, wang, "A2") == explaining.why_not_me(hub, wang, " ") == ()


def test_a_coordinator_is_told_where_the_time_went(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    stranger = replace(coordinator, organisation_id="nowhere")
    case_id = world.arrive(lane=Lane.URGENT)
    reading.decline(hub, wang, world.open_task(case_id).reading_task_id, "110530")
    world.run_jobs()
    hub_clock.advance(3 * 3600)
    zhao = world.add_physician("zhao")
    hub_clock.advance(120)
    world.run_jobs()
    reading.claim(hub, zhao, world.open_task(case_id).reading_task_id)
    found = explaining.why_late(hub, coordinator, case_id)
    assert found.late_by is not None
    assert found.late_by > timedelta(hours=1)
    assert found.longest is not None
    assert (found.longest.span, found.declined, found.nobody) == (Span.TO_CLAIM, 1, 1)
    with pytest.raises(NotFound):
        explaining.why_late(hub, stranger, case_id)
    with pytest.raises(Forbidden):
        explaining.why_late(hub, wang, case_id)
