"""A job that failed for good waits for a person, is seen, and can be launched again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import NOBODY_BY_FAILURE
from reading_queue.errors import NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.attention import Stuck, StuckKind, stuck
from reading_queue.services.hub import Hub
from reading_queue.services.motion import dead_jobs, sweeps
from reading_queue.services.reading import reading
from reading_queue.services.routing import escalating, routing
from reading_queue.worker.failures import OTHER_ATTEMPTS_MAX, record_failure
from storage.ledger.tables import DeadJob, OutboxMessage
from tests.integration.hub_reading.world import COUNTY, SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def lay_down(hub: Hub, job: str, **arguments: str) -> int:
    """Let the job fail for the last time; return the number under which it waits for a person."""
    assert record_failure(hub, job, arguments, OTHER_ATTEMPTS_MAX, RuntimeError("a defect")) is None
    return dead_jobs.find_dead_jobs(hub)[-1].dead_job_id


@pytest.fixture
def unrouted(world: World, hub: Hub) -> str:
    """A reading task that should be routed and of which nothing is on its way."""
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")
    world.wipe_outbox()
    return world.open_task(case_id).reading_task_id


def test_a_dead_job_is_not_launched_again_until_it_has_rested(
    hub: Hub, hub_clock: SteerableClock, unrouted: str
) -> None:
    lay_down(hub, "cases.route", reading_task_id=unrouted)
    assert sweeps.relaunch_lost(hub) == 0
    hub_clock.advance(hub.policy.dead_job_rest_s)
    assert sweeps.relaunch_lost(hub) == 1
    assert dead_jobs.find_dead_jobs(hub) == (), "this launch is its retry"


def test_another_subject_of_the_same_job_is_launched(hub: Hub, unrouted: str) -> None:
    lay_down(hub, "cases.route", reading_task_id="another")
    assert sweeps.relaunch_lost(hub) == 1


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_director_and_the_site_are_told_at_once_of_a_case_whose_routing_is_dead(
    world: World, hub: Hub, unrouted: str, wang: Viewer, language: str
) -> None:
    lay_down(hub, "cases.route", reading_task_id=unrouted)
    coordinator = replace(wang, role=Role.COORDINATOR, organisation_id=COUNTY, physician_id=None, language=language)
    (told,) = escalating.list_escalations(hub, coordinator)
    assert (told.kind, told.reason) == (Escalation.NOBODY, NOBODY_BY_FAILURE[language])
    assert told.tells_director
    lay_down(hub, "cases.route", reading_task_id=unrouted)
    assert len(escalating.list_escalations(hub, coordinator)) == 1, "once is enough"
    routing.route(hub, unrouted)
    assert escalating.list_escalations(hub, coordinator) == (), "somebody is asked now"


def test_nobody_is_told_where_somebody_is_asked_already(world: World, hub: Hub, wang: Viewer) -> None:
    task = world.open_task(world.arrive("1.2.3"))
    lay_down(hub, "cases.route", reading_task_id=task.reading_task_id)
    coordinator = replace(wang, role=Role.COORDINATOR, organisation_id=COUNTY, physician_id=None)
    assert escalating.list_escalations(hub, coordinator) == ()


@pytest.mark.parametrize("job", ["transfers.verify_pack", "reports.render"])
def test_packs_and_reports_rest_too(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer, job: str
) -> None:
    if job == "transfers.verify_pack":
        world.declare("1.2.3")
        lay_down(hub, job, granted_pack_id=world.commit_pack("1.2.3"))
    else:
        lay_down(hub, job, report_id=signed_report(world, hub, wang, zhao))
    world.wipe_outbox()
    hub_clock.advance(sweeps.GRACE.total_seconds() + 1)
    assert sweeps.relaunch_lost(hub) == 0


def test_a_retry_launches_the_job_once(hub: Hub, unrouted: str) -> None:
    dead_job_id = lay_down(hub, "cases.route", reading_task_id=unrouted)
    dead_jobs.retry(hub, dead_job_id)
    with hub.transaction() as session:
        message = session.scalars(select(OutboxMessage)).one()
        assert session.get_one(DeadJob, dead_job_id).retried_at == hub.clock()
    assert (message.job, message.arguments) == ("cases.route", {"reading_task_id": unrouted})
    assert dead_jobs.find_dead_jobs(hub) == ()
    with pytest.raises(WrongState, match="launched again"):
        dead_jobs.retry(hub, dead_job_id)
    with pytest.raises(NotFound):
        dead_jobs.retry(hub, dead_job_id + 1)


def test_the_coordinator_sees_which_study_a_dead_job_keeps_waiting(
    world: World, hub: Hub, unrouted: str, wang: Viewer, zhao: Viewer
) -> None:
    coordinator = replace(wang, role=Role.COORDINATOR, organisation_id=COUNTY, physician_id=None)
    lay_down(hub, "cases.route", reading_task_id=unrouted)
    world.declare("1.2.4")
    lay_down(hub, "transfers.verify_pack", granted_pack_id=world.commit_pack("1.2.4"))
    world.wipe_outbox()
    lay_down(hub, "reports.render", report_id=signed_report(world, hub, wang, zhao, "1.2.5"))
    assert {told.study_uid for told in told_dead(hub, coordinator)} == {"1.2.3", "1.2.4", "1.2.5"}
    assert {told.site_id for told in told_dead(hub, coordinator)} == {SITE}
    assert "RuntimeError" in told_dead(hub, coordinator)[0].reason
    dead_jobs.retry(hub, dead_jobs.find_dead_jobs(hub)[0].dead_job_id)
    assert len(told_dead(hub, coordinator)) == 2


def told_dead(hub: Hub, coordinator: Viewer) -> list[Stuck]:
    return [one for one in stuck(hub, coordinator) if one.kind is StuckKind.DEAD_JOB]


def signed_report(world: World, hub: Hub, author: Viewer, verifier: Viewer, study_uid: str = "1.2.3") -> str:
    case_id = world.arrive(study_uid)
    world.submit(author, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, verifier, verification)
    return reading.sign(hub, verifier, verification, None)
