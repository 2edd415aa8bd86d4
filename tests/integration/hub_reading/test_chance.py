"""Whole lives of a case by chance: readers, leads, the clinic, sweeps and lost messages in random order.

Only the promised refusals; every change of state is one of the table; nothing that was written is lost; and in the end
every case is signed by two physicians, withdrawn, or declared void by two people.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Agreement, Case, Draft, Offer, ReadingTask, Report, Submission
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.domain.report import ReportContent
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import AMENDED, BEING_READ, CASE_TRANSITIONS, SIGNED, CaseState
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, site_returns, withdrawals
from reading_queue.services.corrections.voiding import ask_to_void, decide_voiding
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.patients.identity_settling import confirm_identity
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning, escalating
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.test_identity_doubts import OTHER
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STEPS = 300
ROUNDS_MAX = 50
BUSY = DiscontinuationReason.RESOURCE_PREEMPTED
HELD = frozenset(
    {CaseState.READING, CaseState.ON_HOLD, CaseState.REVIEWING, CaseState.AMENDMENT_REVIEWING}
)  # and AMENDING, where the addendum is held
IDLE = SIGNED | {CaseState.RECEIVING, CaseState.RETURNED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR}
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
        self.coordinator = replace(person(world, "coordinator", Role.COORDINATOR, COUNTY), site_id=None)
        self.revision = 1
        self.orders = 0
        self.seen = Seen()

    def step(self) -> None:
        """Let one thing happen; only the refusals a person may meet are expected."""
        deeds: list[Callable[[], object]] = [
            *(lambda deed=deed: self._do(deed) for deed in self._deeds()),
            *self._of_the_clinic(),
            *self._of_the_county(),
            *(self.world.run_jobs,) * 8,
            self.world.publish_one,
            self.world.wipe_outbox,
            lambda: self.clock.advance(self.dice.choice((10, 60, 1000, -30))),
            lambda: escalating.escalate_due(self.hub),
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
            lambda who, task: reading.acknowledge_orders(hub, who, task),
            lambda who, task: reading.submit(hub, who, task, TEXT),
            lambda who, task: reading.sign(hub, who, task, None),
            lambda who, task: reading.return_to_author(hub, who, task, "请修改"),
            lambda who, task: reading.release(hub, who, task, BUSY),
            lambda who, task: reading.decline(hub, who, task, DiscontinuationReason.NEEDS_SPECIALIST),
            *(lambda who, task: holds.ask_site(hub, who, task, (Wanted.HISTORY,), "病史？"),) * 3,
            lambda who, task: holds.resume(hub, who, task),
            lambda _, task: reading.take_over(hub, self._anybody(), task, "交班"),
            lambda who, task: reading.answer_withdrawal(hub, who, task, accept=self._hardly_ever(), reason="有急症"),
            lambda who, _: self._rarely() and site_returns.return_to_site(hub, who, self.case_id, BUSY, "请重扫"),
            lambda who, _: reading.open_addendum(hub, who, self.case_id, AmendmentKind.CORRECTED, "写错"),
            lambda who, task: reading.nothing_to_amend(hub, who, task, "结论不变"),
        ]

    def _of_the_clinic(self) -> list[Callable[[], object]]:
        return [
            self._answer,
            lambda: self._hardly_ever() and withdrawals.withdraw(self.hub, self.technician, self.case_id, "患者转院"),
            lambda: site_returns.resubmit(self.hub, self.technician, self.case_id, "请按现有图像阅片"),
        ]

    def _of_the_county(self) -> list[Callable[[], object]]:
        hub, county, case_id = self.hub, self.coordinator, self.case_id
        return [
            lambda: self._rarely() and reading.release(hub, county, self._task_id(), BUSY),
            lambda: assigning.assign(hub, county, case_id, f"physician-{self._anybody().account_id}", "请您阅片"),
            lambda: ask_to_void(hub, self._anybody(), case_id, "患者错误"),
            lambda: decide_voiding(hub, county, case_id, is_void=self._hardly_ever(), reason="患者无误"),
            lambda: self._rarely() and self.world.declare("1.2.3", lane=self.dice.choice(list(Lane))),
            lambda: self._agree(valid=self.dice.random() < 0.7),
            self._name_somebody_else,
            self._settle,
        ]

    def _agree(self, *, valid: bool) -> None:
        until = self.clock.now.date() + timedelta(days=400 if valid else -1)
        with self.hub.transaction() as session:
            session.execute(update(Agreement).values(valid_until=until))

    def _name_somebody_else(self) -> None:
        """Let the clinic's order be of another person than its images."""
        if self._rarely():
            self.orders += 1
            hand_in(self.hub, order(version=self.orders, **OTHER))

    def _settle(self) -> None:
        with self.hub.transaction() as session:
            open_ones = select(IdentityConflict.conflict_id).where(IdentityConflict.ended_at.is_(None))
            doubts = session.scalars(open_ones).all()
        for doubt in doubts:
            confirm_identity(self.hub, self.technician, doubt, "本人，已核对证件")

    def _answer(self) -> None:
        with self.hub.transaction() as session:
            ids = session.scalars(select(InformationRequest.request_id).order_by(InformationRequest.asked_at)).all()
        holds.answer_site_request(self.hub, self.technician, self.dice.choice([*ids, "forged"]), "昨晚八点")

    def _rarely(self) -> bool:
        return self.dice.random() < 0.15

    def _hardly_ever(self) -> bool:
        return self._rarely() and self._rarely()

    def begin_signed(self) -> None:
        """Let the life begin where most lives would hardly come: the report is signed."""
        author, verifier = (self.world.viewer(one.account_id) for one in self.people[:2])
        self.world.run_jobs()
        self.world.submit(self._offered(author), self.case_id)
        task_id = self.world.open_task(self.case_id).reading_task_id
        reading.claim(self.hub, self._offered(verifier), task_id)
        reading.sign(self.hub, verifier, task_id, None)

    def _offered(self, who: Viewer) -> Viewer:
        """Return who it is; what is not offered to them yet is."""
        assigning.assign(self.hub, self.coordinator, self.case_id, f"physician-{who.account_id}", "请您阅片")
        return who

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
        assert bool(reports) == (case.state in SIGNED | AMENDED | {CaseState.ENTERED_IN_ERROR})
        assert case.withdrawal_asked_at is None or case.state in BEING_READ | {CaseState.READY, CaseState.OFFERED}
        version = draft.version if draft is not None else 0
        assert version >= seen.draft_version, "a draft survives whatever happens to the claim"
        assert case.paused_s >= seen.paused_s
        moments = {name: getattr(case, name) for name in ("claimed_at", "signed_at")}
        assert all(moments[name] == at for name, at in seen.moments.items() if at is not None), "a clock stops once"
        self.seen = Seen(reports, submissions, version, case.paused_s, moments)

    @property
    def is_over(self) -> bool:
        return self.world.case(self.case_id).state in SIGNED | {CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR}

    def finish(self) -> None:
        """Let willing physicians come until the case is over, with nothing but sweeps to bring it to them."""
        self._agree(valid=True)
        for number in range(ROUNDS_MAX):
            self._settle()
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
            reading.acknowledge_orders(self.hub, who, offer.reading_task_id)
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
    if seed % 2:
        life.begin_signed()
    for _ in range(STEPS):
        life.step()
        life.check()
        if world.case(case_id).state in (CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR):
            break
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
