"""What an agreement takes in a day and a physician in a week holds for routing, and a coordinator may set it aside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Agreement, Offer, Physician
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Reason
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning, routing
from storage.contract.lanes import Lane
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def coordinator(world: World) -> Viewer:
    """Who oversees the county."""
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def limit_day(hub: Hub, **cases: int) -> None:
    with hub.transaction() as session:
        session.execute(update(Agreement).values(cases_per_day_max=cases))


def limit_week(hub: Hub, rvu: int) -> None:
    with hub.transaction() as session:
        session.execute(update(Physician).values(weekly_rvu_max=rvu))


def read_whole(world: World, hub: Hub, author: Viewer, verifier: Viewer, study_uid: str) -> None:
    case_id = world.arrive(study_uid)
    world.submit(author, case_id)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, verifier, task_id)
    reading.sign(hub, verifier, task_id, TEXT)


def test_no_more_cases_are_offered_in_a_day_than_the_agreement_takes_and_the_next_day_goes_on(
    world: World, hub: Hub, hub_clock: SteerableClock, coordinator: Viewer
) -> None:
    world.add_physician("wen")
    limit_day(hub, all=2)
    first, second, third = (world.arrive(f"1.2.{number}") for number in range(3))
    states = [world.case(one).state for one in (first, second, third)]
    assert states == [CaseState.OFFERED, CaseState.OFFERED, CaseState.READY]
    assert world.case(third).unroutable_reason == "无人可派：协议今日例数已满 1 人"
    routing.route(hub, world.open_task(first).reading_task_id)
    assert world.case(first).state == CaseState.OFFERED, "it is one of the two already"
    assert world.case(world.arrive("1.2.9", lane=Lane.STAT)).state == CaseState.OFFERED, "safety before balance"
    hub_clock.advance(24 * 3600)
    world.run_jobs()
    assert world.case(third).state == CaseState.OFFERED


def test_a_limit_for_one_modality_leaves_the_others_alone(world: World, hub: Hub) -> None:
    world.add_physician("wen")
    limit_day(hub, MR=1, CT=1)
    one, two = world.arrive("1.2.1"), world.arrive("1.2.2")
    assert [world.case(case_id).state for case_id in (one, two)] == [CaseState.OFFERED, CaseState.READY]
    limit_day(hub, MR=1)
    routing.route(hub, world.open_task(two).reading_task_id)
    assert world.case(two).state == CaseState.OFFERED


def test_two_workers_at_once_do_not_both_take_the_last_place_of_the_day(world: World, hub: Hub) -> None:
    cases = [world.arrive(f"1.2.{number}") for number in range(8)]
    assert {world.case(one).state for one in cases} == {CaseState.READY}, "nobody is there yet"
    world.add_physician("wen")
    limit_day(hub, all=3)
    tasks = [world.open_task(one).reading_task_id for one in cases]
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda task_id: routing.route(hub, task_id), tasks))
    assert [world.case(one).state for one in cases].count(CaseState.OFFERED) == 3


def test_who_has_done_enough_in_seven_days_is_asked_again_when_the_days_have_passed(
    world: World, hub: Hub, hub_clock: SteerableClock, coordinator: Viewer
) -> None:
    author = world.add_physician("author", duty_s=30 * 24 * 3600)
    verifier = world.add_physician("verifier", duty_s=30 * 24 * 3600)
    read_whole(world, hub, author, verifier, "1.2.1")
    limit_week(hub, 2)
    assert world.offered_to(world.arrive("1.2.2"), author, verifier) == ["author", "verifier"], "one CT is one RVU"
    limit_week(hub, 1)
    case_id = world.arrive("1.2.3")
    assert world.case(case_id).unroutable_reason == "无人可派：七日工作量已满 2 人"
    told = {one.physician_id: one for one in assigning.list_candidates(hub, coordinator, case_id).candidates}
    assert told["physician-author"].reasons == (Reason.WEEKLY_WORKLOAD_FULL,)
    assert told["physician-author"].assignable
    hub_clock.advance(7 * 24 * 3600)
    world.run_jobs()
    assert world.offered_to(case_id, author, verifier) == ["author", "verifier"]


def test_a_coordinator_may_give_a_case_beyond_both_limits_and_it_is_written_down(
    world: World, hub: Hub, coordinator: Viewer
) -> None:
    wen = world.add_physician("wen")
    limit_day(hub, all=1)
    world.arrive("1.2.1")
    case_id = world.arrive("1.2.2")
    assigning.assign(hub, coordinator, case_id, "physician-wen", "今日例外，已电话商定")
    assert world.offered_to(case_id, wen) == ["wen"]
    with hub.transaction() as session:
        offer = session.scalars(
            select(Offer).where(Offer.reading_task_id == world.open_task(case_id).reading_task_id)
        ).one()
    assert offer.why["set_aside"] == [Reason.AGREEMENT_DAY_FULL]
