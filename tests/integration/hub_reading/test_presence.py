"""Who is away is offered nothing, what was offered to them goes to others at once, and those who oversee are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from reading_queue.db.network_tables import Absence
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden, Invalid, NotFound, NotOffered
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import presence
from reading_queue.services.network.presence import AbsenceTooLong
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning
from reading_queue.services.worklists import desk_events
from storage.contract.lanes import Lane
from storage.ledger.tables import AuditEvent
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def coordinator(world: World) -> Viewer:
    """Who oversees the county."""
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def leave(hub: Hub, viewer: Viewer, *, physician: str = "", hours: float = 1, reason: str = "") -> None:
    physician_id = f"physician-{physician or viewer.account_id}"
    presence.go_away(hub, viewer, physician_id, hub.clock() + timedelta(hours=hours), reason)


def test_what_was_offered_to_who_leaves_is_offered_to_others_at_once(world: World, hub: Hub) -> None:
    narrow = replace(hub, policy=replace(hub.policy, offer_width=1))
    world.hub = narrow
    wen, shu = world.add_physician("wen"), world.add_physician("shu")
    case_id = world.arrive()
    (first,) = world.offered_to(case_id, wen, shu)
    gone, other = (wen, shu) if first == "wen" else (shu, wen)
    leave(narrow, gone)
    world.run_jobs()
    assert world.offered_to(case_id, wen, shu) == [other.account_id]
    with pytest.raises(NotOffered):
        reading.claim(narrow, gone, world.open_task(case_id).reading_task_id)


def test_nobody_is_offered_anything_while_away_not_even_stat_and_it_ends_by_itself(
    world: World, hub: Hub, hub_clock: SteerableClock
) -> None:
    wen = world.add_physician("wen")
    leave(hub, wen, hours=1)
    case_id = world.arrive(lane=Lane.STAT)
    assert world.case(case_id).unroutable_reason == "无人可派：暂时离岗 1 人"
    hub_clock.advance(3600)
    world.run_jobs()
    assert world.offered_to(case_id, wen) == ["wen"]
    assert presence.find_absence(hub, wen) is None


def test_who_comes_back_early_is_asked_again(world: World, hub: Hub, hub_clock: SteerableClock) -> None:
    wen = world.add_physician("wen")
    leave(hub, wen, hours=8, reason="会诊")
    found = presence.find_absence(hub, wen)
    assert found is not None
    assert (found.reason, found.set_by, found.on_duty) == ("会诊", "Wen", True)
    hub_clock.advance(60)
    presence.come_back(hub, wen, "physician-wen")
    presence.come_back(hub, wen, "physician-wen")
    assert world.offered_to(world.arrive(), wen) == ["wen"]
    with hub.transaction() as session:
        row = session.scalars(select(Absence)).one()
        assert (row.ended_at, row.ended_by) == (hub_clock.now, "wen")
        said = session.scalars(select(AuditEvent.detail).where(AuditEvent.object_id == "physician-wen")).all()
    assert [one["event"] for one in said] == ["away", "back"]


def test_a_choice_of_the_coordinator_does_not_lie_with_who_has_left(
    world: World, hub: Hub, coordinator: Viewer
) -> None:
    wen, shu = world.add_physician("wen"), world.add_physician("shu")
    case_id = world.arrive()
    assigning.assign(hub, coordinator, case_id, "physician-wen", "熟悉此病例")
    leave(hub, wen)
    world.run_jobs()
    assert world.offered_to(case_id, wen, shu) == ["shu"]
    with pytest.raises(assigning.MayNotBeAssigned):
        assigning.assign(hub, coordinator, case_id, "physician-wen", "再试")


def test_what_is_held_stays_and_the_coordinator_sees_who_is_missing_on_duty(
    world: World, hub: Hub, coordinator: Viewer
) -> None:
    wen, shu = world.add_physician("wen"), world.add_physician("shu")
    off = world.add_physician("off", duty_s=0)
    case_id = world.arrive()
    reading.claim(hub, wen, world.open_task(case_id).reading_task_id)
    leave(hub, off, hours=0.5)
    leave(hub, wen, hours=2, reason="门诊")
    assert world.case(case_id).state == CaseState.READING
    listed = presence.list_absences(hub, coordinator)
    assert [(one.name, one.on_duty, one.held, one.colleagues) for one in listed] == [
        ("Wen", True, 1, 1),
        ("Off", False, 0, 1),
    ]
    leave(hub, shu)
    assert {one.colleagues for one in presence.list_absences(hub, coordinator)} == {0}


def test_coordinators_are_told_within_the_moment_and_others_are_not(
    world: World, hub: Hub, coordinator: Viewer
) -> None:
    wen = world.add_physician("wen")
    begin = desk_events.find_end(hub)
    leave(hub, wen)
    (told,) = desk_events.read_events(hub, begin)
    assert told.kind == desk_events.PRESENCE
    batch = desk_events.Batch([told])
    assert batch.concerning(desk_events.find_audience(hub, coordinator)) == (0,)
    assert batch.concerning(desk_events.find_audience(hub, wen)) == ()


def test_a_coordinator_says_it_of_others_with_a_reason_and_nobody_of_who_does_not_concern_them(
    world: World, hub: Hub, coordinator: Viewer
) -> None:
    wen = world.add_physician("wen")
    world.add_physician("shu")
    with pytest.raises(Invalid):
        leave(hub, coordinator, physician="wen", reason="  ")
    leave(hub, coordinator, physician="wen", reason="电话告知：车祸堵路")
    found = presence.find_absence(hub, wen)
    assert found is not None
    assert (found.set_by, found.reason) == ("Chen", "电话告知：车祸堵路")
    for viewer, physician, refusal in (
        (wen, "shu", Forbidden),
        (coordinator, "forged", NotFound),
        (replace(coordinator, organisation_id="nowhere"), "wen", NotFound),
    ):
        with pytest.raises(refusal):
            leave(hub, viewer, physician=physician, reason="x")
    for hours in (0, -1, 24 * 63):
        with pytest.raises(AbsenceTooLong):
            leave(hub, wen, hours=hours)
    for other, why in (
        (world.add_physician("lu"), Forbidden),
        (replace(coordinator, organisation_id="nowhere"), NotFound),
    ):
        with pytest.raises(why):
            presence.come_back(hub, other, "physician-wen")
    assert len(presence.list_absences(hub, coordinator)) == 1
    presence.come_back(hub, coordinator, "physician-wen")
    assert presence.list_absences(hub, coordinator) == ()
