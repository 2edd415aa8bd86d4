"""A signature and something that takes the case away, at the same moment, again and again, on a real database.

Exactly one of them counts; who loses is told so in words, and nothing is left half done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, update

from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Agreement, Case, ReadingTask, Report, Submission
from reading_queue.domain.report import ReportContent
from reading_queue.domain.roles import Role, Title
from reading_queue.errors import HubError, ImagesUnacknowledged, NotHolder, WrongState
from reading_queue.services.motion import sweeps
from reading_queue.services.network import agreements
from reading_queue.services.reading import reading
from reading_queue.services.reports.single_signing import SecondPhysicianNeeded
from storage.catalogue.tables import Study
from tests.integration.hub_reading.test_at_once import (
    S,
    Scene,
    check,
    images,
    sign,
    submit,
    take_over,
    withdraw,
)
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

AGREEMENT = "agreement-city"
PEOPLE = {"wang": Title.ATTENDING, "zhao": Title.ASSOCIATE_CHIEF, "lead": Title.CHIEF}
ROUNDS = 3
Deed = Callable[[Scene, str], object]


def agree(world: World, *, until: date = date(2030, 1, 1)) -> None:
    """Record the agreement anew, as a coordinator does."""
    with world.hub.transaction() as session:
        row = session.get_one(Agreement, AGREEMENT)
        terms = {name: getattr(row, name) for name in agreements.TERMS}
        new = {"single_physician": True, "valid_until": until}
        agreements.record_agreement(session, AGREEMENT, terms | new, world.hub.clock())


def film(s: Scene) -> None:
    """Have a plain film read, which one physician may sign alone."""
    s.offered()
    with s.hub.transaction() as session:
        session.execute(update(Study).where(Study.study_uid == s.study_uid).values(modalities=["DX"]))
        session.execute(update(Case).where(Case.case_id == s.case_id).values(modality="DX"))
    reading.claim(s.hub, s.wang, s.task_id)


def sign_alone(s: Scene, task: str) -> object:
    return reading.sign_alone(s.hub, s.wang, task, TEXT, declared=True)


def lapse(s: Scene, task: str) -> object:
    return sweeps.expire_leases(s.hub)


def end_agreement(s: Scene, task: str) -> object:
    return agree(s.world, until=s.hub.clock().date() - timedelta(days=1))


# How each is begun, the signature, how the case stands where it counts, and where it was refused.
SIGNATURES = [
    (Scene.read, submit, S.PENDING_REVIEW, S.READING),
    (Scene.verified, sign, S.FINAL, S.REVIEWING),
    (film, sign_alone, S.FINAL, S.READING),
]


@dataclass(frozen=True)
class Outcome:
    """What came of both: a value, or the refusal."""

    signature: object
    other: object
    signed: S
    unsigned: S

    @property
    def is_signed(self) -> bool:
        return not isinstance(self.signature, HubError)


def one_of_lapse(case: Case, one: Outcome) -> None:
    lapsed = {S.READING: S.READY, S.REVIEWING: S.PENDING_REVIEW}[one.unsigned]
    assert one.is_signed or isinstance(one.signature, NotHolder)
    assert one.other == (not one.is_signed)
    assert case.state == (one.signed if one.is_signed else lapsed)


def one_of_take_over(case: Case, one: Outcome) -> None:
    assert isinstance(one.other, WrongState) if one.is_signed else isinstance(one.signature, NotHolder)
    assert case.state == (one.signed if one.is_signed else one.unsigned)


def both_of_withdrawal(case: Case, one: Outcome) -> None:
    """A wish before the signature is the reader's to answer, and a signature answers it; after it, it is refused."""
    assert one.is_signed
    assert one.other is False or (one.signed is S.FINAL and isinstance(one.other, WrongState))
    assert case.state == one.signed
    assert (case.withdrawal_asked_at is None) == (one.signed is S.FINAL)


def one_of_images(case: Case, one: Outcome) -> None:
    """What comes after the signature is looked at again; what came before it must be seen first."""
    assert one.is_signed or isinstance(one.signature, ImagesUnacknowledged)
    after = S.AMENDING if one.signed is S.FINAL else one.signed
    assert case.state == (after if one.is_signed else one.unsigned)
    assert case.images_unacknowledged


def both_of_ending(case: Case, one: Outcome) -> None:
    """Who has the case by right finishes it; only what an agreement must allow at this moment is refused."""
    assert one.is_signed or isinstance(one.signature, SecondPhysicianNeeded)
    assert case.state == (one.signed if one.is_signed else one.unsigned)


OTHERS = [
    (lapse, one_of_lapse),
    (take_over, one_of_take_over),
    (withdraw, both_of_withdrawal),
    (images, one_of_images),
    (end_agreement, both_of_ending),
]


@pytest.fixture
def scenes(world: World) -> Iterator[Scene]:
    """One case after the other with the same people."""
    people = [world.add_physician(name, title=title, wip_max=100) for name, title in PEOPLE.items()]
    technician = person(world, "li", Role.TECHNICIAN, SITE)
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    return (Scene(world, *people, technician, coordinator, f"1.2.3.{number}") for number in range(1, 1000))


def give_passwords(scene: Scene) -> None:
    """Let both have given their password just now."""
    scene.wang, scene.zhao = (scene.world.viewer(one.account_id) for one in (scene.wang, scene.zhao))


def race(scene: Scene, *deeds: Deed) -> list[object]:
    """Let all begin at one moment; return what came of each, a refusal as itself with its words."""
    task_id, start = scene.task_id, Barrier(len(deeds))

    def run(deed: Deed) -> object:
        start.wait(timeout=60)
        try:
            return deed(scene, task_id)
        except HubError as refusal:
            return refusal

    with ThreadPoolExecutor(len(deeds)) as pool:
        results = list(pool.map(run, deeds))
    assert all(len(str(one)) > 20 for one in results if isinstance(one, HubError)), "a loser is told in words"
    return results


def check_reports(scene: Scene) -> None:
    """Hold that there is at most one signed report, and that it says who may have signed it alone and why."""
    with scene.hub.transaction() as session:
        reports = session.scalars(select(Report).where(Report.case_id == scene.case_id)).all()
        authors = {one.submission_id: one.author_id for one in session.scalars(select(Submission))}
        versions = {one.number: one for one in session.scalars(select(AgreementVersion))}
        held = select(ReadingTask).where(ReadingTask.case_id == scene.case_id, ReadingTask.state == "in_progress")
        assert len(session.scalars(held).all()) <= 1
    assert len(reports) <= 1
    for report in reports:
        alone = ReportContent.from_json(report.content).single_physician
        assert (authors[report.submission_id] == report.verifier_id) == (alone is not None)
        if alone is not None:
            version = versions[alone.agreement_version]
            assert version.valid_until >= date(2030, 1, 1), "signed under terms that had ended"


@pytest.mark.parametrize(("other", "holds"), OTHERS, ids=[other.__name__ for other, _ in OTHERS])
def test_a_signature_and_what_comes_between_at_one_moment_never_both_count(
    world: World,
    hub_clock: SteerableClock,
    scenes: Iterator[Scene],
    other: Deed,
    holds: Callable[[Case, Outcome], None],
):
    for number in range(ROUNDS * len(SIGNATURES)):
        before, signature, signed, unsigned = SIGNATURES[number % len(SIGNATURES)]
        agree(world)
        scene = next(scenes)
        give_passwords(scene)
        before(scene)
        if other is lapse:
            hub_clock.advance(world.hub.policy.lease_s + 1)
            give_passwords(scene)
        order = (signature, other) if number % 2 else (other, signature)
        results = dict(zip(order, race(scene, *order), strict=True))
        check(scene)
        check_reports(scene)
        holds(world.case(scene.case_id), Outcome(results[signature], results[other], signed, unsigned))
