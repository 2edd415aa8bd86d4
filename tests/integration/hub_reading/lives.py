"""What may happen to the cases of one patient at any moment, by anybody, sensible or not: deeds in random order.

Two plain films of one patient under two accession numbers, two hospitals that read and ask each other, a clinic that
changes its mind, a coordinator, a duty director, a clock that jumps, and sweeps. `promises` says what must be true.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select, update

from reading_queue.db.consult_tables import Consult, MdtEntry
from reading_queue.db.course_tables import EscalationRow, InformationRequest
from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Agreement, Case, CaseStudy, Offer, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.information import Wanted
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import SIGNED, CaseState
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, joining, separating, site_returns, withdrawals
from reading_queue.services.corrections.voiding import ask_to_void, decide_voiding
from reading_queue.services.motion import sweeps
from reading_queue.services.network import agreements, directors
from reading_queue.services.patients.identity_settling import confirm_identity
from reading_queue.services.reading import consults, mdt, reading
from reading_queue.services.routing import assigning, escalating
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.test_identity_doubts import OTHER
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, TEXT, World, make_study
from tests.support.clock import SteerableClock

BUSY = DiscontinuationReason.RESOURCE_PREEMPTED
ROUNDS_MAX = 60
FILMS = ("1.2.3", "1.2.4")
OVER = SIGNED | {CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR}
Deed = Callable[[], object]


class Life:
    """The people, and one deed after the other."""

    def __init__(self, world: World, clock: SteerableClock, seed: int) -> None:
        self.world, self.hub, self.clock = world, world.hub, clock
        self.dice = random.Random(seed)
        world.add_agreement("agreement-county", requesting=COUNTY, assisting=COUNTY, stage=1)
        self._agree()
        self.people = [world.add_physician(f"p{number}", title=Title.CHIEF) for number in range(3)]
        self.people += [world.add_physician(f"c{number}", organisation=COUNTY, title=Title.CHIEF) for number in (0, 1)]
        self.technician = person(world, "technician", Role.TECHNICIAN, SITE)
        self.coordinator = replace(person(world, "coordinator", Role.COORDINATOR, COUNTY), site_id=None)
        self.director = replace(person(world, "director", Role.ADMINISTRATOR, COUNTY), site_id=None)
        with self.hub.transaction() as session:
            whose = COUNTY, self.director.account_id, self.director.login
            directors.record_director(session, whose, "always", self.clock.now)
        self.revisions = dict.fromkeys(FILMS, 1)
        self.orders = 0
        for number, film in enumerate(FILMS, start=1):
            self._arrive(film, f"A{number}")
        self.case_id = self.case_ids()[0]

    def _arrive(self, film: str, accession_number: str) -> None:
        with self.hub.transaction() as session:
            study = make_study(film, self.clock.now)
            study.modalities, study.accession_number = ["DX"], accession_number
            session.add(study)
        self.world.declare(film)
        self.world.catalogue(film)
        self.clock.advance(60)

    def case_ids(self) -> list[str]:
        """Return every case there was, the oldest first."""
        with self.hub.transaction() as session:
            return list(session.scalars(select(Case.case_id).order_by(Case.created_at, Case.case_id)))

    def step(self) -> None:
        """Let one thing happen; only the refusals a person may meet are expected."""
        self.case_id = self.dice.choice(self.case_ids())
        deeds = [
            *(lambda deed=deed: self._do(deed) for deed in self._of_readers()),
            *self._of_consultants(),
            *self._of_the_clinic(),
            *self._of_the_county(),
            *self._of_time(),
        ]
        try:
            self.dice.choice(deeds)()
        except (Conflict, Forbidden, Invalid, NotFound):
            return

    def _of_readers(self) -> list[Callable[[Viewer, str], object]]:
        hub = self.hub
        return [
            *(lambda who, task: reading.claim(hub, who, task),) * 6,
            lambda who, task: reading.heartbeat(hub, who, task),
            lambda who, task: reading.save_draft(hub, who, task, TEXT, None),
            lambda who, task: reading.acknowledge_images(hub, who, task, self.world.shown(self.case_id)),
            lambda who, task: reading.acknowledge_orders(hub, who, task, self.world.told(self.case_id)),
            lambda who, task: reading.submit(hub, who, task, TEXT),
            lambda who, task: reading.sign(hub, who, task, None),
            lambda who, task: reading.sign_alone(hub, who, task, TEXT, declared=self.dice.random() < 0.7),
            lambda who, task: reading.return_to_author(hub, who, task, "请修改"),
            lambda who, task: reading.release(hub, who, task, BUSY),
            lambda who, task: reading.decline(hub, who, task, DiscontinuationReason.NEEDS_SPECIALIST),
            *(lambda who, task: holds.ask_site(hub, who, task, (Wanted.HISTORY,), "病史？"),) * 2,
            lambda who, task: holds.resume(hub, who, task),
            lambda _, task: reading.take_over(hub, self._anybody(), task, "交班"),
            lambda who, task: reading.answer_withdrawal(hub, who, task, accept=self._hardly_ever(), reason="有急症"),
            lambda who, _: self._rarely() and site_returns.return_to_site(hub, who, self.case_id, BUSY, "请重扫"),
            lambda who, _: reading.open_addendum(hub, who, self.case_id, AmendmentKind.CORRECTED, "写错"),
            lambda who, task: reading.nothing_to_amend(hub, who, task, "结论不变"),
            *(lambda who, task: consults.ask(hub, who, task, self.dice.choice((CITY, COUNTY)), "需要增强？"),) * 2,
            lambda who, _: mdt.put_on_list(hub, who, self.case_id, "手术？", self.clock.now.date() + timedelta(2)),
        ]

    def _of_consultants(self) -> list[Deed]:
        hub = self.hub

        def one() -> str:
            return self._one_of(select(Consult.consult_id).order_by(Consult.asked_at.desc()).limit(2))

        return [
            *(lambda: consults.accept(hub, self._anybody(), one()),) * 2,
            *(lambda: consults.answer(hub, self._anybody(), one(), "建议增强"),) * 2,
            lambda: consults.decline(hub, self._anybody(), one(), "无此专业"),
            lambda: consults.withdraw(hub, self._anybody(), one()),
            lambda: mdt.note_outcome(hub, self._anybody(), self._one_of(select(MdtEntry.mdt_id)), "王 李", "随访"),
        ]

    def _of_the_clinic(self) -> list[Deed]:
        hub, who = self.hub, self.technician
        return [
            self._answer,
            lambda: self._hardly_ever() and withdrawals.withdraw(hub, who, self.case_id, "患者转院"),
            lambda: site_returns.resubmit(hub, who, self.case_id, "请按现有图像阅片"),
            *(lambda: joining.join_cases(hub, who, self.case_id, self.dice.choice(self.case_ids()), "一次检查"),) * 3,
            lambda: separating.separate_study(hub, who, self.case_id, self.dice.choice(FILMS), "两次检查"),
            *(self._late_images,) * 2,
            self._name_somebody_else,
            self._settle,
        ]

    def _of_the_county(self) -> list[Deed]:
        hub, county = self.hub, self.coordinator

        def escalation() -> str:
            return self._one_of(select(EscalationRow.escalation_id))

        return [
            lambda: self._rarely() and reading.release(hub, county, self._task_id(), BUSY),
            lambda: assigning.assign(hub, county, self.case_id, f"physician-{self._anybody().account_id}", "请您"),
            lambda: ask_to_void(hub, self._anybody(), self.case_id, "患者错误"),
            lambda: decide_voiding(hub, county, self.case_id, is_void=self._hardly_ever(), reason="患者无误"),
            lambda: self._rarely() and self.world.declare(FILMS[0], lane=self.dice.choice(list(Lane))),
            lambda: self._agree(valid=self.dice.random() < 0.7, alone=self.dice.random() < 0.7),
            lambda: escalating.acknowledge(hub, self.dice.choice((county, self.director)), escalation()),
        ]

    def _of_time(self) -> list[Deed]:
        hub = self.hub
        return [
            *(self.world.run_jobs,) * 8,
            self.world.publish_one,
            self.world.wipe_outbox,
            lambda: self.clock.advance(self.dice.choice((10, 60, 1000, -30))),
            lambda: self._hardly_ever() and self.clock.advance(self.dice.choice((5000, -5000))),
            *(self._sign_as_the_lease_ends,) * 3,
            lambda: escalating.escalate_due(hub),
            lambda: sweeps.expire_leases(hub),
            lambda: sweeps.expire_offers(hub),
            lambda: sweeps.relaunch_lost(hub),
            lambda: consults.expire_consults(hub),
            lambda: consults.hurry_consults(hub),
        ]

    def _sign_as_the_lease_ends(self) -> None:
        """Let the clock stand at the end of a lease, and its holder sign right before or after the sweep."""
        with self.hub.transaction() as session:
            held = ReadingTask.case_id == self.case_id, ReadingTask.state == "in_progress"
            task = session.scalars(select(ReadingTask).where(*held)).one_or_none()
        if task is None or task.holder_id is None or task.lease_expires_at is None:
            return
        self.clock.now = max(self.clock.now, task.lease_expires_at + timedelta(seconds=self.dice.choice((-1, 0))))
        if self.dice.random() < 0.5:
            sweeps.expire_leases(self.hub)
        self._finish(self._viewer(task.holder_id.removeprefix("physician-")), task.reading_task_id, task.phase)

    def _agree(self, *, valid: bool = True, alone: bool = True) -> None:
        until = self.clock.now.date() + timedelta(days=400 if valid else -1)
        for agreement_id in ("agreement-city", "agreement-county"):
            with self.hub.transaction() as session:
                row = session.get_one(Agreement, agreement_id)
                terms = {name: getattr(row, name) for name in agreements.TERMS}
                services = ["interpretation", "verification", "consultation"]
                new = {"valid_until": until, "single_physician": alone, "services": services}
                agreements.record_agreement(session, agreement_id, terms | new, self.clock.now)

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
        asked = select(InformationRequest.request_id).order_by(InformationRequest.asked_at)
        holds.answer_site_request(self.hub, self.technician, self._one_of(asked), "昨晚八点")

    def _late_images(self) -> None:
        film = self.dice.choice(FILMS)
        self.revisions[film] += 1
        self.world.catalogue(film, revision=self.revisions[film])

    def _one_of(self, ids: object) -> str:
        with self.hub.transaction() as session:
            return self.dice.choice([*session.scalars(ids), "forged"])  # type: ignore[call-overload]

    def _rarely(self) -> bool:
        return self.dice.random() < 0.15

    def _hardly_ever(self) -> bool:
        return self._rarely() and self._rarely()

    def begin_signed(self) -> None:
        """Let the life begin where most lives would hardly come: the first report is signed."""
        for who in self.people[:2]:
            self.world.run_jobs()
            task = self.world.open_task(self.case_id)
            assigning.assign(self.hub, self.coordinator, self.case_id, f"physician-{who.account_id}", "请您阅片")
            reading.claim(self.hub, self._viewer(who.account_id), task.reading_task_id)
            self._finish(self._viewer(who.account_id), task.reading_task_id, task.phase)

    def _do(self, deed: Callable[[Viewer, str], object]) -> None:
        task_id = self._task_id()
        deed(self._someone(task_id), task_id)

    def _viewer(self, name: str) -> Viewer:
        return self.world.viewer(name, organisation=COUNTY if name.startswith("c") else CITY)

    def _anybody(self) -> Viewer:
        return self._viewer(self.dice.choice(self.people).account_id)

    def _someone(self, task_id: str) -> Viewer:
        """Return anybody, but more often one who has to do with the task."""
        with self.hub.transaction() as session:
            task = session.get_one(ReadingTask, task_id)
            asked = select(Offer.physician_id).where(Offer.reading_task_id == task_id, Offer.state == "open")
            concerned = [task.holder_id] if task.holder_id else list(session.scalars(asked.order_by(Offer.offer_id)))
        names = [one.removeprefix("physician-") for one in concerned]
        if not names or self.dice.random() < 0.25:
            names = [one.account_id for one in self.people]
        return self._viewer(self.dice.choice(names))

    def _task_id(self) -> str:
        newest = select(ReadingTask.reading_task_id).where(ReadingTask.case_id == self.case_id)
        newest = newest.order_by(ReadingTask.created_at.desc(), ReadingTask.reading_task_id)
        with self.hub.transaction() as session:
            return self.dice.choice(session.scalars(newest.limit(2)).all() or ["none"])

    def is_over(self) -> bool:
        """Return whether nothing more has to happen to any case."""
        return all(self.world.case(case_id).state in OVER for case_id in self.case_ids())

    def look_around(self) -> None:
        """Let every sweep run, and every message that it launches, when what was on its way counts as lost."""
        self.clock.advance(sweeps.GRACE.total_seconds() + 1)
        every = consults.expire_consults, sweeps.expire_leases, sweeps.expire_offers, sweeps.relaunch_lost
        for sweep in every:
            sweep(self.hub)
        self.world.run_jobs()
        escalating.escalate_due(self.hub)

    def finish(self) -> None:
        """Let willing physicians come until every case is over, with nothing but sweeps to bring it to them."""
        self._agree()
        for number in range(ROUNDS_MAX):
            self._settle()
            if self.is_over():
                return
            for case_id in self.case_ids():
                if self.world.case(case_id).state == CaseState.RETURNED:
                    site_returns.resubmit(self.hub, self.technician, case_id, f"请阅片 {number}")
            willing = self.world.add_physician(f"willing-{number}", title=Title.CHIEF)
            self.clock.advance(self.hub.policy.hold_max_s + self.hub.policy.lease_s + self.hub.policy.offer_ttl_s)
            self.look_around()
            self._work(self._viewer(willing.account_id))

    def _work(self, who: Viewer) -> None:
        for offer in reading.offers_of(self.hub, who):
            reading.claim(self.hub, who, offer.reading_task_id)
            reading.acknowledge_images(self.hub, who, offer.reading_task_id, self.world.shown(offer.case_id))
            reading.acknowledge_orders(self.hub, who, offer.reading_task_id, self.world.told(offer.case_id))
            self._finish(who, offer.reading_task_id, offer.phase)

    def _finish(self, who: Viewer, task_id: str, phase: str) -> None:
        if phase == "verification":
            reading.sign(self.hub, who, task_id, None)
        else:
            reading.submit(self.hub, who, task_id, TEXT)

    def studies(self) -> set[str]:
        """Return the films that some case reads."""
        with self.hub.transaction() as session:
            return set(session.scalars(select(CaseStudy.study_uid)))

    def settle_agreement(self) -> None:
        """Let every agreement be in force again."""
        with self.hub.transaction() as session:
            session.execute(update(Agreement).values(valid_until=self.clock.now.date() + timedelta(days=400)))
