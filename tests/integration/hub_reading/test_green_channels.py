"""Stroke, chest pain, trauma, mother or newborn in danger: before everything else, by limits of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.tables import Agreement
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.reading import reading
from reading_queue.services.routing import escalating, green_channels
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def coordinator(world: World) -> Viewer:
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def ordered(hub: Hub, channel: GreenChannel = GreenChannel.STROKE) -> None:
    hand_in(hub, order(lane="stat", green_channel=channel))


def open_kinds(hub: Hub, case_id: str) -> list[str]:
    with hub.transaction() as session:
        rows = select(EscalationRow.kind).where(EscalationRow.case_id == case_id, EscalationRow.ended_at.is_(None))
        return sorted(session.scalars(rows))


def test_a_green_channel_has_its_own_limit_and_no_agreement_makes_it_longer(world: World, hub: Hub, wang: Viewer):
    with hub.transaction() as session:
        session.execute(update(Agreement).values(time_limits_min={"stat": 300}))
    ordered(hub)
    case_id = world.arrive()
    case = world.case(case_id)
    assert (case.lane, case.green_channel) == (Lane.STAT, "stroke")
    assert case.exam_started_at is not None
    assert case.due_at == case.exam_started_at + timedelta(minutes=hub.policy.green_channel_limit_min["stroke"])
    assert world.offered_to(case_id, wang) == ["wang"]


def test_an_agreement_may_make_the_limit_of_a_green_channel_shorter(world: World, hub: Hub, wang: Viewer):
    with hub.transaction() as session:
        session.execute(update(Agreement).values(time_limits_min={"stat": 20}))
    ordered(hub)
    case = world.case(world.arrive())
    assert case.exam_started_at is not None
    assert case.due_at == case.exam_started_at + timedelta(minutes=20)


def test_a_green_channel_stands_before_a_stat_case_that_is_due_earlier(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    with hub.transaction() as session:
        session.execute(update(Agreement).values(time_limits_min={"stat": 31}))
    first = world.arrive("1.2.9", lane=Lane.STAT)
    hub_clock.advance(600)
    with hub.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_uid == "1.2.9")).one()
        study.accession_number = "A9"
    ordered(hub, GreenChannel.TRAUMA)
    second = world.arrive("1.2.3")
    offers = reading.offers_of(hub, wang)
    assert [one.case_id for one in offers] == [second, first]
    assert str(offers[0].case.due_at) > str(offers[1].case.due_at)


def test_the_coordinator_is_told_at_once_and_until_somebody_takes_it(
    world: World, hub: Hub, wang: Viewer, coordinator: Viewer
):
    ordered(hub, GreenChannel.CHEST_PAIN)
    case_id = world.arrive()
    assert Escalation.GREEN_CHANNEL in open_kinds(hub, case_id)
    (told,) = [one for one in escalating.list_escalations(hub, coordinator) if one.kind is Escalation.GREEN_CHANNEL]
    assert (told.case_id, told.green_channel) == (case_id, "chest_pain")
    escalating.escalate_due(hub)
    assert Escalation.GREEN_CHANNEL in open_kinds(hub, case_id)
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    escalating.escalate_due(hub)
    assert Escalation.GREEN_CHANNEL not in open_kinds(hub, case_id)


def release(hub: Hub, _clock: SteerableClock, who: Viewer, task_id: str) -> None:
    reading.claim(hub, who, task_id)
    escalating.escalate_due(hub)
    reading.release(hub, who, task_id, "110513")


def release_before_any_sweep(hub: Hub, _clock: SteerableClock, who: Viewer, task_id: str) -> None:
    reading.claim(hub, who, task_id)
    reading.release(hub, who, task_id, "110513")


def lapse(hub: Hub, clock: SteerableClock, who: Viewer, task_id: str) -> None:
    reading.claim(hub, who, task_id)
    escalating.escalate_due(hub)
    clock.advance(hub.policy.lease_s + 1)
    assert sweeps.expire_leases(hub) == 1


def decline(hub: Hub, _clock: SteerableClock, who: Viewer, task_id: str) -> None:
    reading.decline(hub, who, task_id, "110513")


@pytest.mark.parametrize("way", [release, release_before_any_sweep, lapse, decline])
def test_a_green_channel_that_is_given_back_is_told_of_anew_and_once(
    world: World,
    hub: Hub,
    hub_clock: SteerableClock,
    wang: Viewer,
    coordinator: Viewer,
    way: Callable[[Hub, SteerableClock, Viewer, str], None],
):
    ordered(hub, GreenChannel.CHEST_PAIN)
    case_id = world.arrive()
    (first,) = [one for one in escalating.list_escalations(hub, coordinator) if one.kind is Escalation.GREEN_CHANNEL]
    escalating.acknowledge(hub, coordinator, first.escalation_id)
    way(hub, hub_clock, wang, world.open_task(case_id).reading_task_id)
    escalating.escalate_due(hub)
    (again,) = [one for one in escalating.list_escalations(hub, coordinator) if one.kind is Escalation.GREEN_CHANNEL]
    assert again.escalation_id != first.escalation_id
    assert world.hops(case_id).count(Hop.ESCALATED) >= 2


def test_an_order_that_comes_after_the_images_hurries_its_case(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    assert world.case(case_id).green_channel is None
    ordered(hub, GreenChannel.TRAUMA)
    assert world.case(case_id).lane == Lane.STAT
    ordered_again = order(version=2, lane="stat", green_channel="stroke")
    hand_in(hub, ordered_again)
    assert world.case(case_id).green_channel == "stroke", "of two the shorter limit counts"


def test_the_banner_shows_it_to_who_may_follow_it_and_to_nobody_else(
    world: World, hub: Hub, wang: Viewer, coordinator: Viewer
):
    stranger = world.add_physician("gao", organisation=COUNTY)
    ordered(hub, GreenChannel.NEONATAL)
    case_id = world.arrive()
    assert [one.case_id for one in green_channels.list_green_cases(hub, coordinator)] == [case_id]
    assert [one.channel for one in green_channels.list_green_cases(hub, wang)] == [GreenChannel.NEONATAL]
    assert green_channels.list_green_cases(hub, stranger) == ()
