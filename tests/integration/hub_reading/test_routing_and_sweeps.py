"""Who is asked, who is asked next, and how nothing that should be in motion stays lying."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from reading_queue.db.tables import Agreement, Offer, RoutingDecision
from reading_queue.db.tables import Session as LoginSession
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import find_tasks_locked, get_case_locked
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.reading import reading
from reading_queue.services.routing import escalating, routing
from reading_queue.services.routing.routing import RETRY_UNROUTABLE
from reading_queue.services.routing.routing_facts import SharedFacts, load_facts
from reading_queue.worker import jobs
from reading_queue.worker.runtime import Runtime
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.ledger.tables import OutboxMessage, Redelivery, UsedNonce
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


def count(hub: Hub, table: type) -> int:
    with hub.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_routing_twice_offers_once(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    routing.route(hub, task_id)
    routing.route(hub, task_id)
    assert count(hub, Offer) == 2
    assert count(hub, RoutingDecision) == 1
    assert world.hops(case_id).count(Hop.OFFERED) == 1


def test_a_crowd_is_offered_each_once_and_one_that_somebody_has_waits_for_him_alone(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    cases = [world.declare(f"1.2.{number}") for number in range(5)]
    for number in range(5):
        world.catalogue(f"1.2.{number}")
    tasks = [world.open_task(case_id).reading_task_id for case_id in cases]
    with ThreadPoolExecutor(1) as pool:
        with hub.transaction() as session:
            get_case_locked(session, cases[2])
            crowd = pool.submit(routing.route_together, hub, tasks)
            free = [case_id for case_id in cases if case_id != cases[2]]
            eventually(lambda: all_are_offered(world, free))
            assert world.case(cases[2]).state == CaseState.READY
        crowd.result()
    all_are_offered(world, cases)
    routing.route_together(hub, tasks)
    assert count(hub, Offer) == 2 * len(cases)
    assert [world.hops(case_id).count(Hop.OFFERED) for case_id in cases] == [1] * len(cases)


def test_an_emergency_is_offered_before_the_crowd_that_came_before_it(
    world: World, hub: Hub, wang: Viewer, monkeypatch: pytest.MonkeyPatch
):
    cases = [world.declare(f"1.2.{number}", lane=Lane.STAT if number > 2 else Lane.ROUTINE) for number in range(5)]
    for number in range(5):
        world.catalogue(f"1.2.{number}")
    tasks = [world.open_task(case_id).reading_task_id for case_id in cases]
    with hub.transaction() as session:
        session.add(Redelivery(job="cases.route", subject_id=tasks[4], count=1, last_at=hub.clock()))
    runtime = Runtime(hub, Path())
    jobs.route_case(runtime, reading_task_id=tasks[0])
    assert [world.case(case_id).state for case_id in cases] == [
        CaseState.OFFERED,
        CaseState.READY,
        CaseState.READY,
        CaseState.OFFERED,
        CaseState.READY,  # its process has ended once: it is tried alone
    ]
    with hub.transaction() as session:
        session.execute(delete(Redelivery))

    def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr(routing, "route", fails)
        jobs.route_cases(runtime, tasks[1:3])
    all_are_offered(world, cases[:4])


def all_are_offered(world: World, case_ids: Sequence[str]) -> None:
    assert {world.case(case_id).state for case_id in case_ids} == {CaseState.OFFERED}


def test_what_one_case_says_of_a_physician_is_not_said_of_the_next(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    declined, other = world.arrive("1.2.1"), world.arrive("1.2.2")
    reading.decline(hub, wang, world.open_task(declined).reading_task_id, DiscontinuationReason.NEEDS_SPECIALIST)
    world.wipe_outbox()
    tasks = [world.open_task(case_id).reading_task_id for case_id in (declined, other)]
    with hub.transaction() as session:
        shared = SharedFacts(session, hub.clock(), hub.policy.workload_points)
        facts = [load_facts(session, case, task, shared) for task, case in find_tasks_locked(session, tasks)]
    said = {each.case.case_id: [one.physician_id for one in each.physicians if one.declined] for each in facts}
    assert said == {declined: [wang.physician_id], other: []}


def test_routing_a_task_that_is_held_or_unknown_changes_nothing(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    routing.route(hub, task_id)
    routing.route(hub, "no-such-task")
    assert world.case(case_id).state == CaseState.READING


def test_an_old_message_about_a_task_that_has_ended_offers_it_to_nobody(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    ended = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, ended)
    reading.release(hub, wang, ended, DiscontinuationReason.RESOURCE_PREEMPTED)
    for message in (ended, world.open_task(case_id).reading_task_id, ended):
        routing.route(hub, message)
    with hub.transaction() as session:
        offered = session.scalars(select(Offer.reading_task_id).where(Offer.state == "open")).all()
    assert offered == [world.open_task(case_id).reading_task_id]


def test_the_county_reads_before_the_city_is_asked(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    world.add_agreement("agreement-county", requesting=SITE, assisting=COUNTY, stage=1)
    near = world.add_physician("near", organisation=COUNTY)
    case_id = world.arrive()
    assert world.offered_to(case_id, near, wang) == ["near"]
    hub_clock.advance(hub.policy.offer_ttl_s)
    assert sweeps.expire_offers(hub) == 1
    assert sweeps.expire_offers(hub) == 0
    world.run_jobs()
    assert world.offered_to(case_id, near, wang) == ["wang"]
    hub_clock.advance(hub.policy.offer_ttl_s)
    sweeps.expire_offers(hub)
    world.run_jobs()
    assert world.offered_to(case_id, near, wang) == ["near"], "the round begins again"


def test_a_stat_case_is_offered_to_all_stages_at_once(world: World, hub: Hub, wang: Viewer):
    world.add_agreement("agreement-county", requesting=SITE, assisting=COUNTY, stage=1)
    near = world.add_physician("near", organisation=COUNTY)
    case_id = world.arrive(lane=Lane.STAT)
    assert world.offered_to(case_id, near, wang) == ["near", "wang"]


def test_a_declined_case_goes_to_the_next_candidates(world: World, hub: Hub):
    physicians = [world.add_physician(name) for name in ("a", "b", "c", "d")]
    case_id = world.arrive()
    assert world.offered_to(case_id, *physicians) == ["a", "b", "c"]
    task_id = world.open_task(case_id).reading_task_id
    reading.decline(hub, physicians[0], task_id, DiscontinuationReason.NEEDS_SPECIALIST)
    reading.decline(hub, physicians[0], task_id, DiscontinuationReason.NEEDS_SPECIALIST)
    world.run_jobs()
    assert world.offered_to(case_id, *physicians) == ["b", "c", "d"]
    assert world.hops(case_id).count(Hop.DECLINED) == 1


def test_when_everybody_has_declined_the_case_says_so(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    reading.decline(hub, wang, world.open_task(case_id).reading_task_id, DiscontinuationReason.ASSIGNMENT_REJECTED)
    assert world.case(case_id).state == CaseState.READY, "at once, not when it is routed again"
    world.run_jobs()
    case = world.case(case_id)
    assert (case.state, case.unroutable_reason) == (CaseState.READY, "无人可派：已拒绝 1 人")


def test_an_unroutable_case_is_visible_and_routed_when_somebody_comes_on_duty(
    world: World, hub: Hub, hub_clock: SteerableClock
):
    case_id = world.arrive()
    assert world.case(case_id).unroutable_reason is not None
    assert Hop.UNROUTABLE in world.hops(case_id)
    for _ in range(3):
        routing.route(hub, world.open_task(case_id).reading_task_id)
    assert world.hops(case_id).count(Hop.UNROUTABLE) == 1
    assert count(hub, RoutingDecision) == 1
    assert world.waiting_jobs() == ["cases.route"], "one retry, however often the message came"

    late_comer = world.add_physician("late")
    world.run_jobs()
    assert world.offered_to(case_id, late_comer) == []
    hub_clock.advance(RETRY_UNROUTABLE.total_seconds())
    world.run_jobs()
    assert world.offered_to(case_id, late_comer) == ["late"]
    assert world.case(case_id).unroutable_reason is None


def test_a_lost_routing_message_is_written_again_by_the_sweep(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")
    assert sweeps.relaunch_lost(hub) == 0, "the message still waits in the outbox"
    while world.publish_one() is not None:
        pass  # a broker took it and was wiped
    assert sweeps.relaunch_lost(hub) == 0, "it may still be running"
    hub_clock.advance(sweeps.GRACE.total_seconds() + 1)
    assert sweeps.relaunch_lost(hub) == 1
    assert sweeps.relaunch_lost(hub) == 0
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]


def test_an_outbox_row_that_vanished_altogether_is_written_again(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    interpretation = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, interpretation)
    reading.submit(hub, wang, interpretation, TEXT)
    world.wipe_outbox()
    assert sweeps.relaunch_lost(hub) == 1
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]


def test_an_unrendered_report_is_launched_again(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    report_id = reading.sign(hub, zhao, verification, None)
    world.wipe_outbox()
    assert sweeps.relaunch_lost(hub) == 1
    with hub.transaction() as session:
        message = session.scalars(select(OutboxMessage)).one()
    assert (message.job, message.arguments) == ("reports.render", {"report_id": report_id})


def test_a_committed_pack_that_nobody_verifies_is_launched_again(world: World, hub: Hub, hub_clock: SteerableClock):
    world.declare("1.2.3")
    granted_pack_id = world.commit_pack("1.2.3")
    assert sweeps.relaunch_lost(hub) == 0
    hub_clock.advance(sweeps.GRACE.total_seconds() + 1)
    assert sweeps.relaunch_lost(hub) == 1
    with hub.transaction() as session:
        message = session.scalars(select(OutboxMessage)).one()
    assert (message.job, message.arguments) == ("transfers.verify_pack", {"granted_pack_id": granted_pack_id})


def test_spent_nonces_and_ended_sessions_are_pruned_and_live_ones_stay(world: World, hub: Hub, wang: Viewer):
    now = hub.clock()
    with hub.transaction() as session:
        session.add(UsedNonce(nonce="old", used_at=now - timedelta(days=1)))
        session.add(UsedNonce(nonce="new", used_at=now))
        for name, expires_at in (("ended", now), ("alive", now + timedelta(hours=1))):
            session.add(
                LoginSession(
                    token_sha256=name,
                    account_id="wang",
                    csrf_token="-",
                    kind="browser",
                    created_at=now,
                    last_seen_at=now,
                    expires_at=expires_at,
                    authenticated_at=now,
                )
            )
        session.add(Redelivery(subject_id="old", job="-", count=1, last_at=now - timedelta(days=2)))
        session.add(Redelivery(subject_id="new", job="-", count=1, last_at=now))
    assert sweeps.prune_expired(hub) == 3
    with hub.transaction() as session:
        assert session.scalars(select(UsedNonce.nonce)).all() == ["new"]
        assert session.scalars(select(LoginSession.token_sha256)).all() == ["alive"]


def test_the_agreements_own_limit_sets_when_a_report_is_due(world: World, hub: Hub, wang: Viewer):
    case = world.case(world.arrive())
    assert case.exam_started_at is not None
    assert case.due_at == case.exam_started_at + timedelta(minutes=600)


def test_a_later_stage_that_is_asked_beside_the_first_makes_no_limit_longer(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    world.add_agreement("agreement-county", requesting=SITE, assisting=COUNTY, stage=1)
    with hub.transaction() as session:
        session.get_one(Agreement, "agreement-city").time_limits_min = {"routine": 6000}
    near = world.add_physician("near", organisation=COUNTY)
    world.hub = replace(hub, policy=replace(hub.policy, offer_ttl_s=86400))
    case_id = world.arrive()
    due_at = world.case(case_id).due_at
    hub_clock.advance(600 * 60 / 3)
    escalating.escalate_due(hub)
    world.run_jobs()
    assert world.offered_to(case_id, near, wang) == ["near", "wang"]
    assert world.case(case_id).due_at == due_at


@pytest.mark.parametrize("covers", [True, False])
def test_a_later_stage_that_is_asked_alone_makes_no_limit_longer_than_the_stage_before_it_has(
    world: World, hub: Hub, wang: Viewer, covers: bool
):
    world.add_agreement("agreement-county", requesting=SITE, assisting=COUNTY, stage=1)
    with hub.transaction() as session:
        session.get_one(Agreement, "agreement-city").time_limits_min = {"routine": 6000}
        session.get_one(Agreement, "agreement-county").modalities = [] if covers else ["US"]
    case = world.case(world.arrive())
    assert world.offered_to(case.case_id, wang) == ["wang"], "the county has nobody"
    assert case.exam_started_at is not None
    assert case.due_at == case.exam_started_at + timedelta(minutes=600 if covers else 6000)
    world.catalogue("1.2.3", revision=2)  # which counts the limit anew
    assert world.case(case.case_id).due_at == case.due_at


def test_the_same_patient_goes_to_the_same_physician_first(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    first = world.arrive("1.2.3")
    world.submit(zhao, first)
    second = world.arrive("1.2.4")
    task_id = world.open_task(second).reading_task_id
    with hub.transaction() as session:
        decision = session.scalars(select(RoutingDecision).where(RoutingDecision.reading_task_id == task_id)).one()
    assert decision.offered_physician_ids == ["physician-zhao", "physician-wang"]
