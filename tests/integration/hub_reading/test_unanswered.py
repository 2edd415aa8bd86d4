"""What is asked or comes at the wrong moment: wishes that nobody answers, images that nobody has seen, void reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Physician
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import ImagesUnacknowledged, TitleTooLow, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import site_returns, withdrawals
from reading_queue.services.corrections.voiding import ask_to_void, decide_voiding
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.network import presence
from reading_queue.services.reading import reading
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import held, person, signed
from tests.integration.hub_reading.world import COUNTY, SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

ANY = DiscontinuationReason.UNSPECIFIED


@pytest.fixture
def technician(world: World) -> Viewer:
    return person(world, "li", Role.TECHNICIAN, SITE)


@pytest.fixture
def coordinator(world: World) -> Viewer:
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def give_back(hub: Hub, clock: SteerableClock, reader: Viewer, task_id: str) -> None:
    reading.release(hub, reader, task_id, ANY)


def let_it_run_out(hub: Hub, clock: SteerableClock, reader: Viewer, task_id: str) -> None:
    clock.advance(hub.policy.lease_s)
    assert sweeps.expire_leases(hub) == 1


@pytest.mark.parametrize("end", [give_back, let_it_run_out])
def test_a_reader_who_goes_without_answering_lets_the_case_go(
    world: World,
    hub: Hub,
    hub_clock: SteerableClock,
    wang: Viewer,
    zhao: Viewer,
    technician: Viewer,
    end: Callable[[Hub, SteerableClock, Viewer, str], None],
):
    case_id, task_id = held(world, wang)
    assert not withdrawals.withdraw(hub, technician, case_id, "患者转院")
    end(hub, hub_clock, wang, task_id)
    world.run_jobs()
    case = world.case(case_id)
    assert (case.state, case.withdrawal_reason) == (CaseState.CANCELLED, "患者转院")
    assert world.hops(case_id)[-2:] == [Hop.RELEASED, Hop.WITHDRAWN]
    assert world.offered_to(case_id, wang, zhao) == []


def test_a_wish_to_withdraw_ends_when_the_case_is_with_its_site_again_or_signed(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    withdrawals.withdraw(hub, technician, case_id, "患者转院")
    site_returns.return_to_site(hub, wang, case_id, DiscontinuationReason.INSUFFICIENT_QUALITY, "请重扫")
    site_returns.resubmit(hub, technician, case_id, "患者没有转院，请阅片")
    world.run_jobs()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    with pytest.raises(WrongState):
        reading.answer_withdrawal(hub, zhao, task_id, accept=True)
    reading.release(hub, zhao, task_id, ANY)
    assert world.case(case_id).state == CaseState.READY
    world.run_jobs()
    world.submit(wang, case_id)
    withdrawals.withdraw(hub, technician, case_id, "患者转院")
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    reading.sign(hub, zhao, task_id, None)
    assert world.case(case_id).withdrawal_asked_at is None


def test_a_wish_that_is_told_again_after_the_site_thought_better_of_it_withdraws_nothing(
    world: World, hub: Hub, wang: Viewer, technician: Viewer
):
    case_id, _ = held(world, wang)
    withdrawals.withdraw(hub, technician, case_id, "患者转院", act_id="a" * 32)
    site_returns.return_to_site(hub, wang, case_id, DiscontinuationReason.INSUFFICIENT_QUALITY, "请重扫")
    site_returns.resubmit(hub, technician, case_id, "患者没有转院，请阅片")
    assert not withdrawals.withdraw(hub, technician, case_id, "患者转院", act_id="a" * 32)
    assert world.case(case_id).state == CaseState.READY
    assert withdrawals.withdraw(hub, technician, case_id, "患者转院", act_id="b" * 32), "a new wish is one"


def test_a_coordinator_takes_away_only_what_somebody_holds(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer
):
    case_id = signed(world, wang, zhao)
    world.catalogue("1.2.3", revision=2)
    task = world.open_task(case_id)
    with pytest.raises(WrongState):
        reading.release(hub, coordinator, task.reading_task_id, ANY)
    assert world.open_task(case_id).reading_task_id == task.reading_task_id


def test_nobody_finds_nothing_to_amend_over_images_that_came_meanwhile(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    task_id = reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "左右写反").reading_task_id
    world.catalogue("1.2.3", revision=2)
    with pytest.raises(ImagesUnacknowledged):
        reading.nothing_to_amend(hub, wang, task_id, "左右没有写反")
    reading.acknowledge_images(hub, wang, task_id, world.shown(case_id))
    reading.nothing_to_amend(hub, wang, task_id, "左右没有写反")


@pytest.mark.parametrize("is_void", [True, False])
def test_late_images_do_not_keep_a_second_person_from_deciding_whether_a_report_is_void(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer, *, is_void: bool
):
    case_id = signed(world, wang, zhao)
    ask_to_void(hub, wang, case_id, "患者错误")
    world.catalogue("1.2.3", revision=2)
    decide_voiding(hub, coordinator, case_id, is_void=is_void, reason="患者无误")
    case = world.case(case_id)
    assert case.state == (CaseState.ENTERED_IN_ERROR if is_void else CaseState.AMENDING)
    assert world.offered_to(case_id, wang, zhao) == ([] if is_void else ["wang"]), "and the images are looked at"


def test_nothing_hurries_a_void_case(world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer):
    case_id = signed(world, wang, zhao)
    ask_to_void(hub, wang, case_id, "患者错误")
    decide_voiding(hub, coordinator, case_id, is_void=True)
    before = world.case(case_id)
    world.declare("1.2.3", lane=Lane.STAT, revision=2)
    after = world.case(case_id)
    assert (after.lane, after.due_at) == (before.lane, before.due_at)


def test_the_limit_that_is_agreed_stands_when_more_images_come_or_a_claimed_case_is_hurried(
    world: World, hub: Hub, wang: Viewer
):
    case_id = world.arrive()
    due_at = world.case(case_id).due_at
    world.catalogue("1.2.3", revision=2)
    assert world.case(case_id).due_at == due_at
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    world.declare("1.2.3", lane=Lane.URGENT, revision=3)
    case = world.case(case_id)
    assert case.due_at is not None
    assert (case.due_at - (case.exam_started_at or case.first_instance_at)).total_seconds() == 90 * 60


def test_what_goes_back_to_an_author_who_is_not_there_goes_to_others(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive(lane=Lane.STAT)
    world.submit(wang, case_id)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    presence.go_away(hub, wang, "physician-wang", hub_clock.now + timedelta(days=2), "")
    reading.return_to_author(hub, zhao, task_id, "请修改")
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao) == ["zhao"], "a stroke waits for no offer that nobody can take"


def test_who_is_no_attending_physician_any_more_neither_takes_a_verification_nor_signs_one(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    task_id = world.open_task(case_id).reading_task_id
    give_title(hub, zhao, Title.RESIDENT)
    with pytest.raises(TitleTooLow):
        reading.claim(hub, zhao, task_id)
    give_title(hub, zhao, Title.ATTENDING)
    reading.claim(hub, zhao, task_id)
    give_title(hub, zhao, Title.RESIDENT)
    with pytest.raises(TitleTooLow):
        reading.sign(hub, zhao, task_id, None)


def give_title(hub: Hub, viewer: Viewer, title: Title) -> None:
    with hub.transaction() as session:
        session.execute(update(Physician).where(Physician.physician_id == viewer.physician_id).values(title=title))
