"""Whole lives of a case by chance: readers, leads, the clinic, sweeps and lost messages in random order.

Only the promised refusals; every change of state is one of the table; nothing that was written is lost; and in the end
every case is signed by two physicians, or withdrawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import event, select

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Case, Draft, Offer, ReadingTask, Report, Submission
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.domain.report import ReportContent
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import AMENDED, CASE_TRANSITIONS, SIGNED, CaseState
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, site_returns, withdrawals
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.reading import reading
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STEPS = 300
ROUNDS_MAX = 50
BUSY = DiscontinuationReason.RESOURCE_PREEMPTED
HELD = frozenset(
    {CaseState.READING, CaseState.ON_HOLD, CaseState.REVIEWING, CaseState.AMENDMENT_REVIEWING}
)  # and AMENDING, where the addendum is held
IDLE = frozenset({CaseState.RECEIVING, CaseState.RETURNED, CaseState.CANCELLED}) | SIGNED
EDGES = {(state.value, step.to.value) for (state, _), step in CASE_TRANSITIONS.items()}


@dataclass
class Seen:
    """What must never be taken back once it was seen."""

    reports: dict[str, bytes] = field(default_factory=dict)
    submissions: dict[str, bytes] = field(default_factory=dict)
    draft_version: int = 0
    paused_s: int = 0
    moments: dict[str, object] = field(default_factory=dict)


class Life:
    """What may happen to a case at any moment, by anybody, sensible or not."""

    def __init__(self, world: World, clock: SteerableClock, case_id: str, seed: int) -> None:
        self.world = world
        self.hub = world.hub
        self.clock = clock
        self.case_id = case_id
        self.dice = random.Random(seed)
        self.people = [world.add_physician(f"p{number}", title=Title.CHIEF) for number in range(4)]
        self.technician = person(world, "technician", Role.TECHNICIAN, SITE)
        self.revision = 1
        self.seen = Seen()

    def step(self) -> None:
        """Let one thing happen; only the refusals a person may meet are expected."""
        deeds: list[Callable[[], object]] = [
            *(lambda deed=deed: self._do(deed) for deed in self._deeds()),
            *self._of_the_clinic(),
            *(self.world.run_jobs,) * 8,
            self.world.publish_one,
            self.world.wipe_outbox,
            lambda: self.clock.advance(self.dice.choice((10, 60, 1000))),
            lambda: sweeps.expire_leases(self.hub),
            lambda: sweeps.expire_offers(self.hub),
            lambda: sweeps.relaunch_lost(self.hub),
            self._late_images,
        ]
        try:
            self.dice.choice(deeds)()
        except (Conflict, Forbidden, Invalid, NotFound):
            return

    def _deeds(self) -> list[Callable[[Viewer, str], object]]:
        hub = self.hub
        return [
            *(lambda who, task: reading.claim(hub, who, task),) * 4,
            lambda who, task: reading.heartbeat(hub, who, task),
            lambda who, task: reading.save_draft(hub, who, task, TEXT, None),
            lambda who, task: reading.acknowledge_images(hub, who, task),
            lambda who, task: reading.submit(hub, who, task, TEXT),
            lambda who, task: reading.sign(hub, who, task, None),
            lambda who, task: reading.return_to_author(hub, who, task, "请修改"),
            lambda who, task: reading.release(hub, who, task, BUSY),
            lambda who, task: reading.decline(hub, who, task, DiscontinuationReason.NEEDS_SPECIALIST),
            *(lambda who, task: holds.ask_site(hub, who, task, (Wanted.HISTORY,), "病史？"),) * 3,
            lambda who, task: holds.resume(hub, who, task),
            lambda _, task: reading.take_over(hub, self._anybody(), task, "交班"),
            lambda who, task: reading.answer_withdrawal(hub, who, task, accept=self._rarely(), reason="有急症"),
            lambda who, _: self._rarely() and site_returns.return_to_site(hub, who, self.case_id, BUSY, "请重扫"),
            lambda who, _: reading.open_addendum(hub, who, self.case_id, AmendmentKind.CORRECTED, "写错"),
            lambda who, task: reading.nothing_to_amend(hub, who, task, "结论不变"),
        ]

    def _of_the_clinic(self) -> list[Callable[[], object]]:
        return [
            self._answer,
            lambda: self._rarely() and withdrawals.withdraw(self.hub, self.technician, self.case_id, "患者转院"),
            lambda: site_returns.resubmit(self.hub, self.technician, self.case_id, "请按现有图像阅片"),
        ]

    def _answer(self) -> None:
        with self.hub.transaction() as session:
            ids = session.scalars(select(InformationRequest.request_id).order_by(InformationRequest.asked_at)).all()
        holds.answer_site_request(self.hub, self.technician, self.dice.choice([*ids, "forged"]), "昨晚八点")

    def _rarely(self) -> bool:
        return self.dice.random() < 0.15

    def _do(self, deed: Callable[[Viewer, str], object]) -> None:
        task_id = self._task_id()
        deed(self._someone(task_id), task_id)

    def _anybody(self) -> Viewer:
        return self.world.viewer(self.dice.choice(self.people).account_id)

    def _someone(self, task_id: str) -> Viewer:
        """Return anybody, but more often one who has to do with the task."""
        with self.hub.transaction() as session:
            task = session.get_one(ReadingTask, task_id)
            asked = select(Offer.physician_id).where(Offer.reading_task_id == task_id, Offer.state == "open")
            concerned = [task.holder_id] if task.holder_id else list(session.scalars(asked.order_by(Offer.offer_id)))
        names = [one.removeprefix("physician-") for one in concerned]
        if not names or self.dice.random() < 0.25:
            names = [one.account_id for one in self.people]
        return self.world.viewer(self.dice.choice(names))

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
        if self.dice.random() < 0.2:
            self.revision += 1
            self.world.catalogue("1.2.3", revision=self.revision)

    def check(self) -> None:
        """Hold the promises that must be true between any two steps."""
        case = self.world.case(self.case_id)
        self._check_tasks(CaseState(case.state))
        self._check_kept(case)

    def _check_tasks(self, state: CaseState) -> None:
        with self.hub.transaction() as session:
            is_open = ReadingTask.state.in_(("scheduled", "in_progress"))
            tasks = session.scalars(select(ReadingTask).where(is_open)).all()
            offered = session.scalars(
                select(ReadingTask.state)
                .join(Offer, Offer.reading_task_id == ReadingTask.reading_task_id)
                .where(Offer.state == "open")
            ).all()
            asked = session.scalars(select(InformationRequest).where(InformationRequest.ended_at.is_(None))).all()
        held = [task for task in tasks if task.state == "in_progress"]
        assert len(tasks) == (state not in IDLE), f"{state} with {len(tasks)} open tasks"
        if state is not CaseState.AMENDING:
            assert len(held) == (state in HELD)
        assert all(task.holder_id and task.lease_expires_at for task in held)
        assert set(offered) <= {"scheduled"}, "nothing is offered that cannot be taken"
        assert len(asked) == (state is CaseState.ON_HOLD)

    def _check_kept(self, case: Case) -> None:
        with self.hub.transaction() as session:
            reports = {row.report_id: row.content for row in session.scalars(select(Report))}
            submissions = {row.submission_id: row.content for row in session.scalars(select(Submission))}
            draft = session.get(Draft, self.case_id)
        seen = self.seen
        assert seen.reports.items() <= reports.items(), "a signed report never changes and never goes"
        assert seen.submissions.items() <= submissions.items()
        assert bool(reports) == (case.state in SIGNED | AMENDED)
        version = draft.version if draft is not None else 0
        assert version >= seen.draft_version, "a draft survives whatever happens to the claim"
        assert case.paused_s >= seen.paused_s
        moments = {name: getattr(case, name) for name in ("claimed_at", "signed_at")}
        assert all(moments[name] == at for name, at in seen.moments.items() if at is not None), "a clock stops once"
        self.seen = Seen(reports, submissions, version, case.paused_s, moments)

    @property
    def is_over(self) -> bool:
        return self.world.case(self.case_id).state in SIGNED | {CaseState.CANCELLED}

    def finish(self) -> None:
        """Let willing physicians come until the case is over, with nothing but sweeps to bring it to them."""
        for number in range(ROUNDS_MAX):
            if self.is_over:
                return
            if self.world.case(self.case_id).state == CaseState.RETURNED:
                site_returns.resubmit(self.hub, self.technician, self.case_id, f"请阅片 {number}")
            willing = self.world.add_physician(f"willing-{number}", title=Title.CHIEF)
            self.clock.advance(self.hub.policy.hold_max_s + self.hub.policy.lease_s + self.hub.policy.offer_ttl_s)
            for sweep in (sweeps.expire_leases, sweeps.expire_offers, sweeps.relaunch_lost):
                sweep(self.hub)
            self.world.run_jobs()
            self._work(self.world.viewer(willing.account_id))

    def _work(self, who: Viewer) -> None:
        for offer in reading.offers_of(self.hub, who):
            reading.claim(self.hub, who, offer.reading_task_id)
            reading.acknowledge_images(self.hub, who, offer.reading_task_id)
            if offer.phase == "verification":
                reading.sign(self.hub, who, offer.reading_task_id, None)
            else:
                reading.submit(self.hub, who, offer.reading_task_id, TEXT)


@pytest.fixture
def moves() -> Iterator[list[tuple[str, str]]]:
    """Every change of a case's state that any service makes, as it makes it."""
    made: list[tuple[str, str]] = []

    def note(_case: Case, value: str, old: object, _initiator: object) -> None:
        if isinstance(old, str):
            made.append((str(old), str(value)))

    event.listen(Case.state, "set", note, active_history=True)
    yield made
    event.remove(Case.state, "set", note)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_a_case_ends_signed_by_two_physicians_or_withdrawn(
    world: World, hub: Hub, hub_clock: SteerableClock, moves: list[tuple[str, str]], seed: int
):
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")
    life = Life(world, hub_clock, case_id, seed)
    for _ in range(STEPS):
        life.step()
        life.check()
    life.finish()
    life.check()
    assert life.is_over
    assert set(moves) <= EDGES, "no state but by the table"
    with hub.transaction() as session:
        reports = session.scalars(select(Report).order_by(Report.report_version)).all()
        authors = {row.submission_id: row.author_id for row in session.scalars(select(Submission))}
    assert [report.report_version for report in reports] == list(range(1, len(reports) + 1))
    assert all(authors[report.submission_id] != report.verifier_id for report in reports)
    contents = [ReportContent.from_json(report.content) for report in reports]
    assert [one.predecessor_id for one in contents] == ["", *(report.report_id for report in reports[:-1])][
        : len(reports)
    ]
