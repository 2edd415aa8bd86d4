"""The limit of a case that is held because it is in doubt whose it is: net it stands still, gross it runs on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.patients.identity_settling import confirm_identity
from reading_queue.services.routing.explaining import why_late
from tests.integration.hub_reading.test_identity_doubts import OTHER, chen, li
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import World
from tests.support.clock import SteerableClock

__all__ = ["chen", "li"]

pytestmark = pytest.mark.postgres

TWO_HOURS = timedelta(hours=2)


def settle(hub: Hub, viewer: Viewer) -> None:
    with hub.transaction() as session:
        doubt = session.scalars(select(IdentityConflict.conflict_id)).one()
    confirm_identity(hub, viewer, doubt, "本人，已核对证件")


def test_the_net_clock_stands_still_while_a_routine_case_is_held_and_both_are_shown(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, li: Viewer, chen: Viewer
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    assert world.case(case_id).identity_doubted_at is not None
    hub_clock.advance(TWO_HOURS.total_seconds())
    while_held = why_late(hub, chen, case_id)
    assert while_held.waited_for_site == TWO_HOURS
    assert while_held.standing.gross - while_held.standing.net == TWO_HOURS
    settle(hub, li)
    world.run_jobs()
    case = world.case(case_id)
    assert case.paused_s == TWO_HOURS.total_seconds()
    began_at = case.exam_started_at or case.first_instance_at
    assert case.due_at == began_at + timedelta(minutes=600) + TWO_HOURS, "the agreement's limit, and as long again"
    assert world.offered_to(case_id, wang) == ["wang"]
    hub_clock.advance((case.due_at - hub.clock() - timedelta(hours=1)).total_seconds())
    found = why_late(hub, chen, case_id)
    assert (found.late_by, found.standing.net_late_by) == (None, None)
    assert found.standing.gross_late_by == timedelta(hours=1), "what the patient has waited"
    assert not found.standing.counts_gross


def test_an_emergencys_clock_stands_still_for_nothing(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, li: Viewer, chen: Viewer
):
    hand_in(hub, order(**OTHER, lane="urgent"))
    case_id = world.arrive()
    before = world.case(case_id)
    hub_clock.advance(TWO_HOURS.total_seconds())
    settle(hub, li)
    case = world.case(case_id)
    assert (case.paused_s, case.due_at) == (0, before.due_at)
    found = why_late(hub, chen, case_id)
    assert found.standing.counts_gross
    assert found.late_by == found.standing.gross_late_by is not None
