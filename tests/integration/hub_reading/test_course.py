"""What may happen between claim and signature: questions to the site, withdrawals, returns, takeovers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Account, Offer, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Outcome, Wanted
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden, Invalid, NotFound, NotHolder, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, site_returns, withdrawals
from reading_queue.services.cases.attention import StuckKind, stuck
from reading_queue.services.cases.information_requests import list_requests
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.reading import reading, takeovers
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

HISTORY = (Wanted.HISTORY,)
HOUR_S = 3600


@pytest.fixture
def technician(world: World) -> Viewer:
    return person(world, "li", Role.TECHNICIAN, SITE)


@pytest.fixture
def stranger(world: World) -> Viewer:
    """A technician of another site."""
    return replace(person(world, "elsewhere", Role.TECHNICIAN, COUNTY), site_id="somewhere-else")


def person(world: World, name: str, role: Role, organisation: str) -> Viewer:
    with world.hub.transaction() as session:
        session.add(
            Account(
                account_id=name,
                login=name,
                display_name=name.title(),
                password_hash="-",
                role=role,
                organisation_id=organisation,
                created_at=world.hub.clock(),
            )
        )
    physician = world.viewer(name, organisation=organisation)
    return replace(physician, role=role, site_id=SITE if organisation == SITE else None, physician_id=None)


def held(world: World, reader: Viewer, lane: Lane = Lane.ROUTINE) -> tuple[str, str]:
    """Let a case arrive and be claimed; return it and its task."""
    case_id = world.arrive(lane=lane)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(world.hub, reader, task_id)
    return case_id, task_id


def questions(world: World, case_id: str) -> list[tuple[str, Outcome | None, str]]:
    with world.hub.transaction() as session:
        return [(one.question, one.outcome, one.answer) for one in list_requests(session, case_id)]


def test_a_question_to_the_site_stops_the_clock_and_its_answer_brings_the_case_back_to_its_reader(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    due_at = world.case(case_id).due_at
    request_id = holds.ask_site(hub, wang, task_id, HISTORY, " 发病时间？ ")
    assert world.case(case_id).state == CaseState.ON_HOLD
    hub_clock.advance(2 * HOUR_S)
    assert sweeps.expire_leases(hub) == 0, "a reader who waits for the site keeps the case"
    for _ in range(2):
        holds.answer_site_request(hub, technician, request_id, "昨晚八点")
    case = world.case(case_id)
    assert (case.state, case.paused_s) == (CaseState.READING, 2 * HOUR_S)
    assert due_at is not None
    assert case.due_at == due_at + timedelta(hours=2)
    assert questions(world, case_id) == [("发病时间？", Outcome.ANSWERED, "昨晚八点")]
    reading.submit(hub, world.viewer("wang"), task_id, TEXT)
    assert [hop for hop in world.hops(case_id) if "h" in hop and "ld" in hop] == [Hop.HELD, Hop.HOLD_ENDED]


def test_the_limit_of_an_emergency_does_not_stand_still(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang, Lane.STAT)
    due_at = world.case(case_id).due_at
    request_id = holds.ask_site(hub, wang, task_id, HISTORY, "发病时间？")
    hub_clock.advance(600)
    holds.answer_site_request(hub, technician, request_id, "一小时前")
    assert (world.case(case_id).due_at, world.case(case_id).paused_s) == (due_at, 600)


def test_a_reader_may_go_on_without_the_answer_and_ask_again(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    case_id, task_id = held(world, wang)
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    with pytest.raises(WrongState):
        holds.ask_site(hub, wang, task_id, HISTORY, "还有？")
    with pytest.raises(WrongState):
        reading.submit(hub, wang, task_id, TEXT)
    holds.resume(hub, wang, task_id)
    with pytest.raises(WrongState):
        holds.resume(hub, wang, task_id)
    hub_clock.advance(60)
    holds.ask_site(hub, wang, task_id, (Wanted.PRIORS, Wanted.OTHER), "旧片？")
    assert [outcome for _, outcome, _ in questions(world, case_id)] == [None, Outcome.WENT_ON]


def test_a_hold_that_lasts_too_long_gives_the_case_to_others_with_the_draft(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    reading.save_draft(hub, wang, task_id, TEXT, None)
    request_id = holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    reading.heartbeat(hub, wang, task_id)
    hub_clock.advance(hub.policy.hold_max_s)
    assert sweeps.expire_leases(hub) == 1
    world.run_jobs()
    assert world.case(case_id).state == CaseState.OFFERED
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]
    assert questions(world, case_id) == [("病史？", Outcome.LEFT, "")]
    with pytest.raises(WrongState):
        holds.answer_site_request(hub, technician, request_id, "太晚了")


@pytest.mark.parametrize(
    ("wants", "question"), [((), "什么"), (("everything",), "什么"), (HISTORY, "  "), (HISTORY, "长" * 2001)]
)
def test_a_question_that_asks_nothing_is_refused(
    world: World, hub: Hub, wang: Viewer, wants: tuple[str, ...], question: str
):
    case_id, task_id = held(world, wang)
    with pytest.raises(Invalid):
        holds.ask_site(hub, wang, task_id, wants, question)
    assert world.case(case_id).state == CaseState.READING


def test_only_the_holder_asks_and_only_the_site_answers(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, technician: Viewer, stranger: Viewer
):
    _, task_id = held(world, wang)
    with pytest.raises(NotHolder):
        holds.ask_site(hub, zhao, task_id, HISTORY, "病史？")
    request_id = holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    for viewer, why in ((zhao, Forbidden), (stranger, NotFound)):
        with pytest.raises(why):
            holds.answer_site_request(hub, viewer, request_id, "无")
    with pytest.raises(NotFound):
        holds.answer_site_request(hub, technician, "forged", "无")


def test_a_case_that_nobody_reads_is_withdrawn_at_once(
    world: World, hub: Hub, wang: Viewer, technician: Viewer, stranger: Viewer
):
    case_id = world.arrive()
    with pytest.raises(NotFound):
        withdrawals.withdraw(hub, stranger, case_id, "开错了")
    with pytest.raises(Invalid):
        withdrawals.withdraw(hub, technician, case_id, "")
    assert [withdrawals.withdraw(hub, technician, case_id, "患者转院") for _ in range(2)] == [True, True]
    assert world.case(case_id).state == CaseState.CANCELLED
    assert world.offered_to(case_id, wang) == []
    assert world.hops(case_id)[-1] == Hop.WITHDRAWN
    assert world.case(case_id).withdrawal_reason == "患者转院"
    with hub.transaction() as session:
        assert session.scalars(select(Offer.state)).all() == ["withdrawn"]


def test_a_reader_lets_a_case_go_or_goes_on_with_a_reason(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    with pytest.raises(WrongState):
        reading.answer_withdrawal(hub, wang, task_id, accept=True)
    assert [withdrawals.withdraw(hub, technician, case_id, "患者转院") for _ in range(2)] == [False, False]
    with pytest.raises(Invalid):
        reading.answer_withdrawal(hub, wang, task_id, accept=False)
    reading.answer_withdrawal(hub, wang, task_id, accept=False, reason="有急症，先出报告")
    case = world.case(case_id)
    assert (case.state, case.withdrawal_asked_at) == (CaseState.READING, None)
    assert case.withdrawal_refusal == "有急症，先出报告"
    hub_clock.advance(60)
    withdrawals.withdraw(hub, technician, case_id, "家属要求")
    assert world.case(case_id).withdrawal_reason == "家属要求"
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    reading.answer_withdrawal(hub, wang, task_id, accept=True)
    assert world.case(case_id).state == CaseState.CANCELLED
    assert questions(world, case_id) == [("病史？", Outcome.LEFT, "")], "the site is asked no more"
    told = [hop for hop in world.hops(case_id) if "withdraw" in hop]
    asked = Hop.WITHDRAWAL_ASKED
    assert told == [asked, Hop.WITHDRAWAL_REFUSED, asked, Hop.WITHDRAWN]
    with pytest.raises(NotHolder):
        reading.submit(hub, wang, task_id, TEXT)


def test_a_signed_case_is_never_withdrawn(world: World, hub: Hub, wang: Viewer, zhao: Viewer, technician: Viewer):
    case_id = signed(world, wang, zhao)
    with pytest.raises(WrongState):
        withdrawals.withdraw(hub, technician, case_id, "开错了")
    assert world.case(case_id).state == CaseState.FINAL


def signed(world: World, author: Viewer, verifier: Viewer) -> str:
    case_id = world.arrive()
    world.submit(author, case_id)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(world.hub, verifier, task_id)
    reading.sign(world.hub, verifier, task_id, None)
    return case_id


def test_a_case_that_cannot_be_read_goes_back_with_a_code_and_comes_again(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    quality = DiscontinuationReason.INSUFFICIENT_QUALITY
    with pytest.raises(NotHolder):
        site_returns.return_to_site(hub, zhao, case_id, quality, "请重新扫描")
    with pytest.raises(Invalid):
        site_returns.return_to_site(hub, wang, case_id, "bad", "请重新扫描")
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    site_returns.return_to_site(hub, wang, case_id, quality, "运动伪影，请重新扫描")
    assert questions(world, case_id) == [("病史？", Outcome.LEFT, "")]
    case = world.case(case_id)
    assert (case.state, case.return_code, case.return_words) == (CaseState.RETURNED, quality, "运动伪影，请重新扫描")
    with hub.transaction() as session:
        assert session.get_one(ReadingTask, task_id).cancel_reason == quality
    for _ in range(2):  # a second click
        site_returns.resubmit(hub, technician, case_id, "患者无法配合，请按现有图像阅片")
    world.run_jobs()
    assert world.case(case_id).state == CaseState.OFFERED
    assert world.hops(case_id)[-3:] == [Hop.RETURNED_TO_SITE, Hop.RESUBMITTED, Hop.OFFERED]


def test_a_senior_colleague_takes_a_case_over_with_its_draft(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id, task_id = held(world, wang)
    reading.save_draft(hub, wang, task_id, TEXT, None)
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    with pytest.raises(Invalid):
        reading.take_over(hub, zhao, task_id, "")
    taken = reading.take_over(hub, zhao, task_id, "交班")
    assert (world.case(case_id).state, taken.reading_task_id != task_id) == (CaseState.READING, True)
    with pytest.raises(NotHolder):
        reading.submit(hub, wang, task_id, TEXT)
    with hub.transaction() as session:
        former = session.get_one(ReadingTask, task_id)
        now = session.get_one(ReadingTask, taken.reading_task_id)
        open_questions = session.scalars(select(InformationRequest).where(InformationRequest.ended_at.is_(None))).all()
    assert (former.state, former.cancel_reason) == ("canceled", DiscontinuationReason.RESOURCE_PREEMPTED)
    assert (now.holder_id, now.replaces_id, now.transaction_uid != former.transaction_uid) == (
        zhao.physician_id,
        task_id,
        True,
    )
    assert open_questions == []
    draft = reading.case_view(hub, zhao, case_id).draft
    assert draft is not None
    assert draft.text == TEXT
    reading.submit(hub, zhao, taken.reading_task_id, TEXT)
    assert Hop.TAKEN_OVER in world.hops(case_id)


Cannot = Callable[[World], Viewer]


@pytest.mark.parametrize(
    "who",
    [
        lambda world: world.add_physician("junior"),
        lambda world: world.add_physician("elsewhere", organisation=COUNTY, title=Title.CHIEF),
    ],
    ids=["a junior", "of another hospital"],
)
def test_nobody_else_takes_it_over(world: World, hub: Hub, wang: Viewer, who: Cannot):
    case_id, task_id = held(world, wang)
    with pytest.raises(takeovers.MayNotTakeOver):
        reading.take_over(hub, who(world), task_id, "交班")
    assert world.open_task(case_id).holder_id == wang.physician_id


def test_the_author_never_takes_the_verification_over(world: World, hub: Hub, zhao: Viewer):
    second = world.add_physician("second", title=Title.CHIEF)
    case_id = world.arrive()
    world.submit(zhao, case_id)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, second, task_id)
    with pytest.raises(takeovers.MayNotTakeOver):
        reading.take_over(hub, zhao, task_id, "交班")


def test_a_lead_sees_what_colleagues_hold_and_nothing_else(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id, task_id = held(world, wang)
    other = world.add_physician("other")
    assert reading.case_view(hub, zhao, case_id).summary.case_id == case_id
    with pytest.raises(NotFound):
        reading.case_view(hub, other, case_id)
    reading.release(hub, wang, task_id, DiscontinuationReason.RESOURCE_PREEMPTED)
    with pytest.raises(NotFound):
        reading.case_view(hub, zhao, case_id)


def test_coordinators_hear_of_a_site_or_a_reader_that_does_not_answer(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, technician: Viewer
):
    coordinator = person(world, "coordinator", Role.COORDINATOR, COUNTY)
    case_id, task_id = held(world, wang)
    request_id = holds.ask_site(hub, wang, task_id, HISTORY, "病史？")

    def kinds() -> list[StuckKind]:
        found = [one for one in stuck(hub, coordinator) if one.case_id == case_id]
        return [one.kind for one in found if one.kind in (StuckKind.UNANSWERED, StuckKind.WITHDRAWAL)]

    hub_clock.advance(2 * HOUR_S - 1)
    assert kinds() == []
    hub_clock.advance(2)
    assert kinds() == [StuckKind.UNANSWERED]
    holds.answer_site_request(hub, technician, request_id, "昨晚八点")
    withdrawals.withdraw(hub, technician, case_id, "患者转院")
    assert kinds() == []
    for _ in range(3):
        hub_clock.advance(HOUR_S)
        reading.heartbeat(hub, wang, task_id)
    assert kinds() == [StuckKind.WITHDRAWAL]
