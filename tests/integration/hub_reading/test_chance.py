"""Physicians, sweeps and lost messages in random order: only the promised refusals, and one report in the end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from reading_queue.db.tables import Offer, ReadingTask, Report, Submission
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Conflict, Forbidden, Invalid
from reading_queue.services import reading, sweeps
from reading_queue.services.hub import Hub
from reading_queue.services.visibility import Viewer
from tests.integration.hub_reading.world import TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STEPS = 120
ROUNDS_MAX = 50


class Life:
    """What may happen to a case at any moment, by anybody, sensible or not."""

    def __init__(self, world: World, clock: SteerableClock, case_id: str, seed: int) -> None:
        self.world = world
        self.hub = world.hub
        self.clock = clock
        self.case_id = case_id
        self.dice = random.Random(seed)
        self.people = [world.add_physician(f"p{number}", title=Title.CHIEF) for number in range(4)]
        self.revision = 1

    def step(self) -> None:
        """Let one thing happen; only the refusals a person may meet are expected."""
        deeds: list[Callable[[], object]] = [
            *(lambda deed=deed: deed(self._someone(), self._task_id()) for deed in self._deeds()),
            self.world.run_jobs,
            self.world.publish_one,
            self.world.wipe_outbox,
            lambda: self.clock.advance(self.dice.choice((10, 300, 1000))),
            lambda: sweeps.expire_leases(self.hub),
            lambda: sweeps.expire_offers(self.hub),
            lambda: sweeps.relaunch_lost(self.hub),
            self._late_images,
        ]
        try:
            self.dice.choice(deeds)()
        except (Conflict, Forbidden, Invalid):
            return

    def _deeds(self) -> list[Callable[[Viewer, str], object]]:
        hub = self.hub
        return [
            lambda who, task: reading.claim(hub, who, task),
            lambda who, task: reading.claim(hub, who, task),
            lambda who, task: reading.heartbeat(hub, who, task),
            lambda who, task: reading.save_draft(hub, who, task, TEXT, None),
            lambda who, task: reading.acknowledge_images(hub, who, task),
            lambda who, task: reading.submit(hub, who, task, TEXT),
            lambda who, task: reading.sign(hub, who, task, None),
            lambda who, task: reading.return_to_author(hub, who, task, "请修改"),
            lambda who, task: reading.release(hub, who, task, DiscontinuationReason.RESOURCE_PREEMPTED),
            lambda who, task: reading.decline(hub, who, task, DiscontinuationReason.NEEDS_SPECIALIST),
        ]

    def _someone(self) -> Viewer:
        person = self.dice.choice(self.people)
        return self.world.viewer(person.account_id)

    def _task_id(self) -> str:
        with self.hub.transaction() as session:
            tasks = session.scalars(
                select(ReadingTask.reading_task_id)
                .where(ReadingTask.case_id == self.case_id)
                .order_by(ReadingTask.created_at.desc(), ReadingTask.reading_task_id)
                .limit(2)
            ).all()
        return self.dice.choice(tasks)

    def _late_images(self) -> None:
        if self.dice.random() < 0.1:
            self.revision += 1
            self.world.catalogue("1.2.3", revision=self.revision)

    def check(self) -> None:
        """Hold the promises that must be true between any two steps."""
        with self.hub.transaction() as session:
            held = session.scalars(select(ReadingTask).where(ReadingTask.state == "in_progress")).all()
            state = self.world.case(self.case_id).state
            assert len(held) == (state in (CaseState.READING, CaseState.REVIEWING))
            assert all(task.holder_id and task.lease_expires_at for task in held)
            reports = session.scalar(select(func.count()).select_from(Report)) or 0
            assert reports == (state == CaseState.FINAL)
            open_offers = session.scalars(
                select(ReadingTask.state)
                .join(Offer, Offer.reading_task_id == ReadingTask.reading_task_id)
                .where(Offer.state == "open")
            ).all()
            assert set(open_offers) <= {"scheduled"}, "nothing is offered that cannot be taken"

    def finish(self) -> None:
        """Let willing physicians come until the case is signed, with nothing but sweeps to bring it to them."""
        for number in range(ROUNDS_MAX):
            if self.world.case(self.case_id).state == CaseState.FINAL:
                return
            willing = self.world.add_physician(f"willing-{number}", title=Title.CHIEF)
            self.clock.advance(self.hub.policy.lease_s + self.hub.policy.offer_ttl_s)
            for sweep in (sweeps.expire_leases, sweeps.expire_offers, sweeps.relaunch_lost):
                sweep(self.hub)
            self.world.run_jobs()
            self._work(self.world.viewer(willing.account_id))

    def _work(self, who: Viewer) -> None:
        for offer in reading.offers_of(self.hub, who):
            reading.claim(self.hub, who, offer.reading_task_id)
            reading.acknowledge_images(self.hub, who, offer.reading_task_id)
            if offer.phase == "interpretation":
                reading.submit(self.hub, who, offer.reading_task_id, TEXT)
            else:
                reading.sign(self.hub, who, offer.reading_task_id, None)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_case_ends_with_one_report_by_two_physicians(
    world: World, hub: Hub, hub_clock: SteerableClock, seed: int
):
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")
    life = Life(world, hub_clock, case_id, seed)
    for _ in range(STEPS):
        life.step()
        life.check()
    life.finish()
    life.check()
    assert world.case(case_id).state == CaseState.FINAL
    with hub.transaction() as session:
        report = session.scalars(select(Report)).one()
        submission = session.get_one(Submission, report.submission_id)
    assert submission.author_id != report.verifier_id
    assert submission.returned_at is None
