"""What the running clock does while a case waits for its site, and after: it stands still, and goes on from there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Case
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds
from reading_queue.services.cases.attention import StuckKind, stuck
from reading_queue.services.holdings.study_list import StudyFilter, studies_of
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reading.worklist import WorklistFilter
from storage.contract.lanes import Lane
from tests.integration.hub_reading.test_course import held
from tests.integration.hub_reading.test_escalation import look, open_kinds
from tests.integration.hub_reading.test_identity_clock import settle
from tests.integration.hub_reading.test_identity_doubts import OTHER, chen, li
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import World
from tests.support.clock import SteerableClock

__all__ = ["chen", "li"]

pytestmark = pytest.mark.postgres

HOUR_S = 3600  # a routine case of `agreement-city` is due ten hours after its examination, half an hour ago
HISTORY = (Wanted.HISTORY,)


def named_late(hub: Hub, chen: Viewer, wang: Viewer, case_id: str) -> set[bool]:
    """Return what desks and lists say of the case: one answer, or they disagree."""
    (line,) = studies_of(hub, chen, limit=10).studies
    return {
        StuckKind.LATE in {one.kind for one in stuck(hub, chen)},
        len(studies_of(hub, chen, limit=10, wanted=StudyFilter(late=True)).studies) == 1,
        line.is_late,
        reading.case_view(hub, wang, case_id).summary.late,
    }


def test_a_limit_that_passes_while_the_reader_waits_for_the_site_is_no_breach(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, chen: Viewer
):
    case_id, task_id = held(world, wang)
    hub_clock.advance(9 * HOUR_S)
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    hub_clock.advance(20 * HOUR_S)
    look(world)
    assert open_kinds(hub, case_id) == []
    assert named_late(hub, chen, wang, case_id) == {False}
    holds.resume(hub, wang, task_id)
    hub_clock.advance(HOUR_S)
    look(world)
    assert open_kinds(hub, case_id) == ["breached"], "half an hour was left"
    assert named_late(hub, chen, wang, case_id) == {True}


def test_what_was_late_before_the_question_stays_late(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, chen: Viewer
):
    case_id, task_id = held(world, wang)
    hub_clock.advance(10 * HOUR_S)
    look(world)
    for _ in range(2):  # begun and ended twice, one of them a clock that was set back
        holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
        look(world)
        assert open_kinds(hub, case_id) == ["breached"]
        assert named_late(hub, chen, wang, case_id) == {True}
        hub_clock.advance(-60)
        holds.resume(hub, wang, task_id)
    assert world.case(case_id).paused_s == 0, "no pause is shorter than nothing"


def test_an_emergency_that_waits_for_its_site_is_late_all_the_same(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, chen: Viewer
):
    case_id, task_id = held(world, wang, Lane.STAT)
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    hub_clock.advance(2 * HOUR_S)
    look(world)
    assert open_kinds(hub, case_id) == ["breached"]
    assert named_late(hub, chen, wang, case_id) == {True}


def test_after_a_hold_for_identity_a_case_has_the_time_that_was_left_before_more_are_asked(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, li: Viewer
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    hub_clock.advance(30 * HOUR_S)
    look(world)
    assert open_kinds(hub, case_id) == []
    settle(hub, li)
    look(world)
    look(world)
    assert open_kinds(hub, case_id) == [], "half an hour of ten hours has gone"
    hub_clock.advance(3 * HOUR_S)
    look(world)
    assert open_kinds(hub, case_id) == ["widened"]


def test_a_doubt_stops_the_clock_only_from_when_nobody_reads_any_more(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, li: Viewer
):
    case_id, task_id = held(world, wang)
    hand_in(hub, order(**OTHER))
    assert world.case(case_id).identity_doubted_at is not None
    for _ in range(8):
        hub_clock.advance(800)
        reading.heartbeat(hub, wang, task_id)
    reading.release(hub, wang, task_id, DiscontinuationReason.UNSPECIFIED)
    hub_clock.advance(600)
    settle(hub, li)
    assert world.case(case_id).paused_s == 600


@pytest.mark.parametrize("lane", [Lane.ROUTINE, Lane.STAT])
def test_the_worklist_calls_late_what_every_list_calls_late(world: World, hub: Hub, wang: Viewer, lane: Lane):
    case_id = world.arrive(lane=lane)
    now = hub.clock()
    with hub.transaction() as session:
        case = session.get_one(Case, case_id)
        case.due_at = now - timedelta(minutes=1)
        session.add(
            InformationRequest(
                request_id="asked",
                case_id=case_id,
                reading_task_id=world.open_task(case_id).reading_task_id,
                asked_at=now - timedelta(minutes=5),
                asked_by="wang",
                wants=["history"],
                question="病史？",
            )
        )
    listed = reading.worklist_of(hub, wang, limit=10, wanted=WorklistFilter(late=True))
    assert listed.found == (lane is Lane.STAT), "only an emergency's limit goes on while its site is asked"
