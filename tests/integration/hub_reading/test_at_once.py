"""Two things that happen to one case at the same moment, on a real database: one comes first, the other meets it.

Both are let begin while the case is locked, so that each has looked at the world before the other has changed it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import func, select, text

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Case, Offer, ReadingTask, Report
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import AMENDED, SIGNED, CaseState
from reading_queue.errors import HubError, WorkInProgressFull
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import cases, holds, site_returns, withdrawals
from reading_queue.services.cases.casework import get_case_locked
from reading_queue.services.corrections.voiding import ask_to_void, decide_voiding
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning, routing
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World, make_study, make_transfer
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

ANY = DiscontinuationReason.UNSPECIFIED
POOR = DiscontinuationReason.INSUFFICIENT_QUALITY
S = CaseState


@dataclass
class Scene:
    """One case with those who have to do with it."""

    world: World
    wang: Viewer  # who reads
    zhao: Viewer  # who verifies
    lead: Viewer
    technician: Viewer
    coordinator: Viewer
    study_uid: str
    case_id: str = ""

    @property
    def hub(self) -> Hub:
        return self.world.hub

    @property
    def task_id(self) -> str:
        return self.world.open_task(self.case_id).reading_task_id

    def offered(self) -> None:
        self.case_id = self.world.arrive(self.study_uid)

    def read(self) -> None:
        self.offered()
        reading.claim(self.hub, self.wang, self.task_id)

    def asked(self) -> None:
        self.read()
        holds.ask_site(self.hub, self.wang, self.task_id, (Wanted.HISTORY,), "病史？")

    def wanted_back(self) -> None:
        self.read()
        withdrawals.withdraw(self.hub, self.technician, self.case_id, "患者转院")

    def verified(self) -> None:
        self.offered()
        self.world.submit(self.wang, self.case_id)
        reading.claim(self.hub, self.zhao, self.task_id)

    def signed(self) -> None:
        self.verified()
        reading.sign(self.hub, self.zhao, self.task_id, None)

    def disputed(self) -> None:
        self.signed()
        ask_to_void(self.hub, self.wang, self.case_id, "患者错误")

    def more_images(self) -> None:
        self.world.catalogue(self.study_uid, revision=2)


def claim(s: Scene, task: str) -> object:
    return reading.claim(s.hub, s.wang, task)


def verify(s: Scene, task: str) -> object:
    return reading.claim(s.hub, s.zhao, task)


def submit(s: Scene, task: str) -> object:
    return reading.submit(s.hub, s.wang, task, TEXT)


def sign(s: Scene, task: str) -> object:
    return reading.sign(s.hub, s.zhao, task, None)


def release(s: Scene, task: str) -> object:
    return reading.release(s.hub, s.wang, task, ANY)


def decline(s: Scene, task: str) -> object:
    return reading.decline(s.hub, s.wang, task, ANY)


def draft(s: Scene, task: str) -> object:
    return reading.save_draft(s.hub, s.wang, task, TEXT, None)


def hold(s: Scene, task: str) -> object:
    return holds.ask_site(s.hub, s.wang, task, (Wanted.HISTORY,), "病史？")


def resume(s: Scene, task: str) -> object:
    return holds.resume(s.hub, s.wang, task)


def answer(s: Scene, task: str) -> object:
    with s.hub.transaction() as session:
        asked = select(InformationRequest.request_id).where(InformationRequest.case_id == s.case_id)
        request_id = session.scalars(asked).one()
    return holds.answer_site_request(s.hub, s.technician, request_id, "昨晚八点")


def take_over(s: Scene, task: str) -> object:
    return reading.take_over(s.hub, s.lead, task, "交班")


def take_away(s: Scene, task: str) -> object:
    return reading.release(s.hub, s.coordinator, task, ANY)


def assign(s: Scene, task: str) -> object:
    return assigning.assign(s.hub, s.coordinator, s.case_id, "physician-lead", "请主任读")


def route(s: Scene, task: str) -> object:
    return routing.route(s.hub, task)


def withdraw(s: Scene, task: str) -> object:
    return withdrawals.withdraw(s.hub, s.technician, s.case_id, "患者转院")


def let_go(s: Scene, task: str) -> object:
    return reading.answer_withdrawal(s.hub, s.wang, task, accept=True)


def send_back(s: Scene, task: str) -> object:
    return site_returns.return_to_site(s.hub, s.wang, s.case_id, POOR, "请重扫")


def to_author(s: Scene, task: str) -> object:
    return reading.return_to_author(s.hub, s.zhao, task, "请修改")


def images(s: Scene, task: str) -> object:
    return s.more_images()


def amend(s: Scene, task: str) -> object:
    return reading.open_addendum(s.hub, s.wang, s.case_id, AmendmentKind.CORRECTED, "写错")


def dispute(s: Scene, task: str) -> object:
    return ask_to_void(s.hub, s.zhao, s.case_id, "患者错误")


def void(s: Scene, task: str) -> object:
    return decide_voiding(s.hub, s.coordinator, s.case_id, is_void=True)


# Before, this, that; how the case stands when this came first, and when that did.
PAIRS = [
    (Scene.offered, claim, withdraw, S.READING, S.CANCELLED),
    (Scene.offered, claim, decline, S.READING, S.OFFERED),
    (Scene.offered, claim, assign, S.READING, S.OFFERED),
    (Scene.offered, decline, route, S.OFFERED, S.OFFERED),
    (Scene.read, submit, release, S.PENDING_REVIEW, S.READY),
    (Scene.read, submit, take_over, S.PENDING_REVIEW, S.READING),
    (Scene.read, submit, send_back, S.PENDING_REVIEW, S.RETURNED),
    (Scene.read, submit, images, S.PENDING_REVIEW, S.READING),
    (Scene.read, hold, take_over, S.READING, S.READING),
    (Scene.read, hold, send_back, S.RETURNED, S.RETURNED),
    (Scene.read, draft, take_away, S.READY, S.READY),
    (Scene.asked, answer, resume, S.READING, S.READING),
    (Scene.asked, answer, take_over, S.READING, S.READING),
    (Scene.asked, answer, release, S.READY, S.READY),
    (Scene.wanted_back, let_go, submit, S.CANCELLED, S.PENDING_REVIEW),
    (Scene.wanted_back, let_go, take_over, S.CANCELLED, S.READING),
    (Scene.verified, sign, to_author, S.FINAL, S.OFFERED),
    (Scene.verified, sign, images, S.AMENDING, S.REVIEWING),
    (Scene.verified, sign, take_over, S.FINAL, S.REVIEWING),
    (Scene.verified, sign, withdraw, S.FINAL, S.FINAL),
    (Scene.signed, amend, dispute, S.AMENDING, S.FINAL),
    (Scene.signed, amend, images, S.AMENDING, S.AMENDING),
    (Scene.disputed, void, images, S.ENTERED_IN_ERROR, S.ENTERED_IN_ERROR),
]


def waiting_for_locks(hub: Hub) -> int:
    activity = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with hub.transaction() as session:
        return int(session.scalar(text(activity)) or 0)


def at_once(scene: Scene, *deeds: Callable[[Scene, str], object]) -> list[bool]:
    """Do both to the locked case, in this order once it is free; return of each whether it was done or refused."""
    with scene.hub.transaction() as session:
        newest = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == scene.case_id)
        newest = newest.order_by(ReadingTask.completed_at.is_not(None), ReadingTask.created_at.desc())
        task_id = session.scalars(newest.limit(1)).one()
    running: list[Future[object]] = []
    with ThreadPoolExecutor(len(deeds)) as pool, scene.hub.transaction() as session:
        get_case_locked(session, scene.case_id)
        for number, deed in enumerate(deeds, start=1):
            running.append(pool.submit(deed, scene, task_id))
            eventually(lambda expected=number: waits(scene.hub, expected), every_s=0.005)
    failures = [one.exception(timeout=60) for one in running]
    assert all(failure is None or isinstance(failure, HubError) for failure in failures), failures
    return [failure is None for failure in failures]


def waits(hub: Hub, expected: int) -> None:
    assert waiting_for_locks(hub) == expected


def check(scene: Scene) -> None:
    """Hold what is true of a case whatever came first."""
    with scene.hub.transaction() as session:
        case = session.get_one(Case, scene.case_id)
        tasks = session.scalars(select(ReadingTask).where(ReadingTask.case_id == scene.case_id)).all()
        offers = session.execute(
            select(Offer.state, ReadingTask.state, Offer.physician_id, ReadingTask.holder_id)
            .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
            .where(ReadingTask.case_id == scene.case_id)
        ).all()
        open_questions = select(func.count()).where(
            InformationRequest.case_id == scene.case_id, InformationRequest.ended_at.is_(None)
        )
        asked = session.scalar(open_questions.select_from(InformationRequest))
        reports = session.scalars(select(Report.report_id).where(Report.case_id == scene.case_id)).all()
    still_open = [task for task in tasks if task.state in ("scheduled", "in_progress")]
    over = {S.RETURNED, S.CANCELLED, S.ENTERED_IN_ERROR} | SIGNED
    assert len(still_open) == (case.state not in over)
    assert all((task.holder_id is not None) == (task.state == "in_progress") for task in still_open)
    assert all(of_task == "scheduled" for offer, of_task, _, _ in offers if offer == "open")
    assert all(physician == holder for offer, _, physician, holder in offers if offer == "claimed")
    assert asked == (case.state == S.ON_HOLD)
    assert bool(reports) == (case.state in SIGNED | AMENDED | {S.ENTERED_IN_ERROR})


@pytest.mark.parametrize(
    ("before", "this", "that", "this_first", "that_first"),
    PAIRS,
    ids=[f"{this.__name__}_and_{that.__name__}_when_{before.__name__}" for before, this, that, _, _ in PAIRS],
)
def test_of_two_at_once_the_second_meets_what_the_first_has_done(
    world: World,
    wang: Viewer,
    zhao: Viewer,
    before: Callable[[Scene], None],
    this: Callable[[Scene, str], object],
    that: Callable[[Scene, str], object],
    this_first: CaseState,
    that_first: CaseState,
):
    lead = world.add_physician("lead", title=Title.CHIEF)
    technician = person(world, "li", Role.TECHNICIAN, SITE)
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    for study_uid, deeds, expected in (("1.2.3", (this, that), this_first), ("1.2.4", (that, this), that_first)):
        scene = Scene(world, wang, zhao, lead, technician, coordinator, study_uid)
        before(scene)
        at_once(scene, *deeds)
        assert world.case(scene.case_id).state == expected
        check(scene)


def test_an_order_and_its_images_at_the_same_moment_find_each_other(world: World, hub: Hub):
    case_id = world.declare("1.2.3")
    with ThreadPoolExecutor(1) as pool:
        with hub.transaction() as session:
            now = hub.clock()
            study, transfer = make_study("1.2.3", now), make_transfer("1.2.3", now, revision=1, state="verified")
            session.add_all([study, transfer])
            session.flush()
            cases.study_catalogued(session, hub, now, study=study, transfer=transfer)
            handed_in = pool.submit(hand_in, hub, order(lane="stat"))
            eventually(lambda: done_or_waiting(hub, handed_in), every_s=0.005)
        handed_in.result(timeout=60)
    assert world.case(case_id).lane == Lane.STAT, "neither saw the other: a stroke was read as routine"


def done_or_waiting(hub: Hub, running: Future[Any]) -> None:
    assert running.done() or waiting_for_locks(hub) == 1


def test_one_physician_who_claims_several_cases_at_once_holds_no_more_than_they_may(world: World, hub: Hub):
    wang = world.add_physician("wang", wip_max=1)
    tasks = [world.open_task(world.arrive(uid)).reading_task_id for uid in ("1.2.3", "1.2.4", "1.2.5")]
    start = Barrier(len(tasks))

    def attempt(task_id: str) -> bool:
        start.wait(timeout=60)
        try:
            reading.claim(hub, wang, task_id)
        except WorkInProgressFull:
            return False
        return True

    with ThreadPoolExecutor(len(tasks)) as pool:
        assert sorted(pool.map(attempt, tasks)) == [False, False, True]
