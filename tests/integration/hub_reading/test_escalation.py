"""The running clock asks more stages and tells people; what is settled is taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.tables import Agreement, Case
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import presence
from reading_queue.services.reading import reading
from reading_queue.services.routing import escalating
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import CITY, COUNTY, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

LIMIT_S = 90 * 60 - 30 * 60  # an urgent case of `agreement-city`, whose examination began half an hour ago


@pytest.fixture
def coordinator(world: World) -> Viewer:
    """Who oversees the county."""
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def open_kinds(hub: Hub, case_id: str) -> list[str]:
    with hub.transaction() as session:
        rows = select(EscalationRow.kind).where(EscalationRow.case_id == case_id, EscalationRow.ended_at.is_(None))
        return sorted(session.scalars(rows))


def look(world: World) -> None:
    escalating.escalate_due(world.hub)
    world.run_jobs()


def test_the_next_stages_are_asked_as_the_clock_runs_and_the_first_ones_still_are(
    world: World, hub: Hub, hub_clock: SteerableClock
):
    world.add_agreement("agreement-county", requesting=COUNTY, assisting=COUNTY, stage=1)
    near = world.add_physician("near", organisation=COUNTY)
    far = world.add_physician("far", organisation=CITY)
    with hub.transaction() as session:
        session.execute(update(Agreement).values(time_limits_min={"urgent": 96}))
    case_id = world.arrive(lane=Lane.URGENT)
    look(world)
    assert world.offered_to(case_id, near, far) == ["near"]
    hub_clock.advance(120)  # a third of the limit has passed: the examination began half an hour before
    look(world)
    assert world.offered_to(case_id, near, far) == ["near", "far"]
    assert open_kinds(hub, case_id) == [Escalation.WIDENED]
    look(world)
    assert world.hops(case_id).count(Hop.ESCALATED) == 1


def test_an_emergency_that_nobody_takes_is_shown_to_more_people_of_the_one_hospital_that_reads_for_it(
    world: World, hub: Hub, hub_clock: SteerableClock
):
    people = [world.add_physician(f"reader-{number}") for number in range(7)]
    case_id = world.arrive(lane=Lane.STAT)
    with hub.transaction() as session:
        case = session.get_one(Case, case_id)
        case.exam_started_at, case.due_at = hub.clock(), hub.clock() + timedelta(minutes=30)
    asked = [len(world.offered_to(case_id, *people))]
    for _ in range(2):
        hub_clock.advance(10 * 60)  # within the time of the first offers
        look(world)
        asked.append(len(world.offered_to(case_id, *people)))
    assert asked == [3, 6, 7]


def test_two_thirds_and_the_breach_tell_the_coordinator_who_acknowledges(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, coordinator: Viewer
):
    case_id = world.arrive(lane=Lane.URGENT)
    hub_clock.advance(LIMIT_S - 60)
    look(world)
    (told,) = escalating.list_escalations(hub, coordinator)
    assert (told.kind, told.case_id, told.acknowledged_by) == (Escalation.TWO_THIRDS, case_id, "")
    hub_clock.advance(60)
    look(world)
    (newest,) = escalating.list_escalations(hub, coordinator)
    assert newest.description, "which case it is"
    assert newest.kind == Escalation.BREACHED, "of one case the newest step alone"
    for _ in range(2):
        escalating.acknowledge(hub, coordinator, newest.escalation_id)
    listed = escalating.list_escalations(hub, coordinator)
    assert [(one.kind, one.acknowledged_by) for one in listed] == [(Escalation.BREACHED, "Chen")]
    with pytest.raises(Forbidden):
        escalating.acknowledge(hub, wang, told.escalation_id)
    with pytest.raises(NotFound):
        escalating.acknowledge(hub, coordinator, "forged")


def test_a_claim_takes_back_what_asked_for_one_and_a_breach_stays_until_the_signature(
    world: World, hub: Hub, hub_clock: SteerableClock, zhao: Viewer
):
    second = world.add_physician("second")
    case_id = world.arrive(lane=Lane.URGENT)
    hub_clock.advance(LIMIT_S)
    look(world)
    assert open_kinds(hub, case_id) == [Escalation.BREACHED, Escalation.TWO_THIRDS, Escalation.WIDENED]
    world.submit(world.viewer("zhao"), case_id)
    look(world)
    assert open_kinds(hub, case_id) == [Escalation.BREACHED]
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, second, task_id)
    reading.sign(hub, world.viewer("second"), task_id, None)
    look(world)
    assert open_kinds(hub, case_id) == []


def test_when_nobody_can_be_asked_people_are_told_at_once_and_told_no_more_when_somebody_can(
    world: World, hub: Hub, hub_clock: SteerableClock, coordinator: Viewer
):
    case_id = world.arrive(lane=Lane.STAT)
    (told,) = escalating.list_escalations(hub, coordinator)
    assert (told.kind, told.state) == (Escalation.NOBODY, CaseState.READY)
    assert told.reason
    world.add_physician("came")
    hub_clock.advance(60)
    world.run_jobs()
    assert world.case(case_id).state == CaseState.OFFERED
    assert [one.kind for one in escalating.list_escalations(hub, coordinator)] == []


def raised(hub: Hub, case_id: str, kind: Escalation) -> int:
    with hub.transaction() as session:
        rows = select(func.count()).where(EscalationRow.case_id == case_id, EscalationRow.kind == kind)
        return session.scalars(rows).one()


def test_that_nobody_can_verify_stands_and_is_told_once_until_somebody_can(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    for _ in range(4):
        look(world)
        hub_clock.advance(60)
        world.run_jobs()
    assert open_kinds(hub, case_id) == [Escalation.NOBODY]
    assert raised(hub, case_id, Escalation.NOBODY) == 1
    zhao = world.add_physician("zhao", title=Title.ASSOCIATE_CHIEF)
    hub_clock.advance(60)
    world.run_jobs()
    assert open_kinds(hub, case_id) == []
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    reading.sign(hub, world.viewer("zhao"), task_id, None)
    amending = reading.open_addendum(hub, world.viewer("wang"), case_id, AmendmentKind.CORRECTED, "another finding")
    reading.submit(hub, world.viewer("wang"), amending.reading_task_id, TEXT, confirm=True)
    presence.go_away(hub, world.viewer("zhao"), "physician-zhao", hub.clock() + timedelta(hours=1), "")
    for _ in range(3):
        world.run_jobs()
        look(world)
        hub_clock.advance(60)
    assert open_kinds(hub, case_id) == [Escalation.NOBODY], "of an amendment as well"
    assert raised(hub, case_id, Escalation.NOBODY) == 2


def test_a_stranger_is_told_of_nothing(world: World, hub: Hub, coordinator: Viewer):
    world.arrive(lane=Lane.STAT)
    elsewhere = replace(coordinator, organisation_id="nowhere")
    assert escalating.list_escalations(hub, elsewhere) == ()
    (told,) = escalating.list_escalations(hub, coordinator)
    with pytest.raises(NotFound):
        escalating.acknowledge(hub, elsewhere, told.escalation_id)
