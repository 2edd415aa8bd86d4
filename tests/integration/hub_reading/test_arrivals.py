"""How studies become cases, and what images that come late do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from reading_queue.db.tables import Case, Physician, ReadingTask, Report
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import ImagesUnacknowledged
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import ROUTE_JOB
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from tests.integration.hub_reading.world import TEXT, World
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


def test_a_study_declared_many_times_at_once_has_one_case(world: World, hub: Hub):
    with ThreadPoolExecutor(4) as pool:
        cases = set(pool.map(world.declare, ["1.2.3"] * 8))
    assert len(cases) == 1
    assert world.case(cases.pop()).state == CaseState.RECEIVING


def test_a_later_manifest_moves_only_the_clock_of_the_last_instance(world: World, hub: Hub, hub_clock: SteerableClock):
    case_id = world.declare("1.2.3")
    before = world.case(case_id)
    now = hub_clock.advance(60)
    assert world.declare("1.2.3", revision=2) == case_id
    after = world.case(case_id)
    assert after.last_instance_at == now
    assert (after.first_instance_at, after.due_at, after.state) == (
        before.first_instance_at,
        before.due_at,
        before.state,
    )


def test_a_more_urgent_manifest_hurries_a_case_that_is_offered(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    before = world.case(case_id)
    assert world.declare("1.2.3", lane=Lane.URGENT) == case_id
    hurried = world.case(case_id)
    assert (hurried.lane, hurried.state) == (Lane.URGENT, CaseState.OFFERED)
    assert before.due_at - hurried.due_at == timedelta(minutes=600 - 90), "the agreement's limits for the lanes"
    assert world.waiting_jobs().count(ROUTE_JOB) == 1
    assert world.hops(case_id).count(Hop.DECLARED) == 1
    world.declare("1.2.3", lane=Lane.URGENT)
    assert world.hops(case_id).count(Hop.DECLARED) == 1


def test_who_may_not_read_what_came_late_is_not_asked_any_more(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    with hub.transaction() as session:
        session.get_one(Physician, wang.physician_id).modalities = ["CT"]
    case_id = world.arrive()
    assert world.offered_to(case_id, wang, zhao) == ["wang", "zhao"]
    with hub.transaction() as session:
        session.scalars(select(Study)).one().modalities = ["CT", "PT"]
    world.catalogue("1.2.3", revision=2)
    assert world.waiting_jobs().count(ROUTE_JOB) == 1
    world.run_jobs()
    assert (world.case(case_id).modality, world.offered_to(case_id, wang, zhao)) == ("PT", ["zhao"])
    world.catalogue("1.2.3", revision=3)
    assert ROUTE_JOB not in world.waiting_jobs()


def test_a_stat_manifest_keeps_whom_the_case_is_offered_to_and_sets_the_clock_of_its_lane(
    world: World, hub: Hub, wang: Viewer
):
    case_id = world.arrive()
    asked = world.offered_to(case_id, wang)
    before = world.case(case_id)
    world.declare("1.2.3", lane=Lane.STAT)
    world.run_jobs()
    assert set(world.offered_to(case_id, wang)) >= set(asked) != set()
    limit = timedelta(minutes=hub.policy.time_limit_default_min[Lane.STAT])
    assert before.due_at - world.case(case_id).due_at == timedelta(minutes=600) - limit


def test_late_routine_images_do_not_slow_a_stat_case_down(world: World, hub: Hub):
    case_id = world.declare("1.2.3", lane=Lane.STAT)
    before = world.case(case_id)
    world.declare("1.2.3", revision=2)
    after = world.case(case_id)
    assert (after.lane, after.due_at) == (Lane.STAT, before.due_at)


def test_signed_case_is_not_hurried_any_more(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    reading.sign(hub, zhao, verification, None)
    world.declare("1.2.3", lane=Lane.STAT)
    assert world.case(case_id).lane == Lane.ROUTINE


def test_declaring_waits_for_a_study_being_catalogued_before_it_takes_the_case(world: World, hub: Hub):
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")

    def is_waiting() -> None:
        with hub.transaction() as session:
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            assert session.scalar(waiting) == 1

    with ThreadPoolExecutor(1) as pool:
        with hub.transaction() as session:
            session.execute(select(Study).where(Study.study_uid == "1.2.3").with_for_update())
            declared = pool.submit(world.declare, "1.2.3", revision=2)
            eventually(is_waiting)
            session.execute(select(Case).where(Case.case_id == case_id).with_for_update(nowait=True))
        assert declared.result(timeout=60) == case_id


def test_a_study_catalogued_twice_is_ready_once(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    world.catalogue("1.2.3")
    world.run_jobs()
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(ReadingTask)) == 1
    assert world.hops(case_id).count(Hop.CATALOGUED) == 1


def test_images_that_come_before_the_claim_disturb_nobody(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    world.catalogue("1.2.3", revision=2)
    case = world.case(case_id)
    assert (case.state, case.images_unacknowledged) == (CaseState.OFFERED, False)


def test_images_that_come_after_the_claim_must_be_acknowledged_before_signing(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    world.catalogue("1.2.3")
    assert not world.case(case_id).images_unacknowledged, "the same revision told again is not news"
    world.catalogue("1.2.3", revision=2)
    assert world.case(case_id).images_unacknowledged
    assert Hop.LATE_IMAGES in world.hops(case_id)
    with pytest.raises(ImagesUnacknowledged):
        reading.submit(hub, wang, task_id, TEXT)
    reading.acknowledge_images(hub, wang, task_id, world.shown(case_id))
    reading.submit(hub, wang, task_id, TEXT)


def test_images_that_come_while_the_text_waits_must_be_acknowledged_by_the_verifier(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    world.catalogue("1.2.3", revision=2)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    with pytest.raises(ImagesUnacknowledged):
        reading.sign(hub, zhao, verification, None)
    reading.acknowledge_images(hub, zhao, verification, world.shown(case_id))
    reading.sign(hub, zhao, verification, None)


def test_images_that_come_after_the_signature_make_no_second_case_and_no_second_report(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    reading.sign(hub, zhao, verification, None)
    world.declare("1.2.3", revision=2)
    world.catalogue("1.2.3", revision=2)
    world.run_jobs()
    assert world.case(case_id).state == CaseState.AMENDING, "their author looks at the report again"
    assert world.offered_to(case_id, wang, zhao) == ["wang"]
    assert [hop for hop in world.hops(case_id) if hop in (Hop.LATE_IMAGES, Hop.AMENDMENT_OPENED)] == [
        Hop.LATE_IMAGES,
        Hop.AMENDMENT_OPENED,
    ]
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Case)) == 1
        assert session.scalar(select(func.count()).select_from(Report)) == 1
