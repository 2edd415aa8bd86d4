"""A report that one physician signs alone, where the agreement allows it, on a real database; and what refuses it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select, update

from reading_queue.db.tables import Agreement, Case, Report, SigningKey, Submission
from reading_queue.documents.envelope import build_signed_report
from reading_queue.domain.report import ReportContent, ReportText
from reading_queue.domain.roles import Title
from reading_queue.domain.single_physician import Obstacle
from reading_queue.domain.transitions import CaseEvent, CaseState, ReadingTaskState
from reading_queue.errors import NotHolder, ReauthenticationNeeded, TextNotAcceptable, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import agreements
from reading_queue.services.reading import reading
from reading_queue.services.reports.single_signing import NotDeclared, SecondPhysicianNeeded
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind, parse_signed_report
from storage.ledger.tables import AuditEvent, CustodyEvent
from tests.integration.hub_reading.world import TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

AGREEMENT = "agreement-city"


def allow(world: World, **changes: object) -> None:
    """Record terms of the agreement that let one physician sign plain films alone, as a coordinator would."""
    with world.hub.transaction() as session:
        row = session.get_one(Agreement, AGREEMENT)
        terms = {name: getattr(row, name) for name in agreements.TERMS} | {"single_physician": True, **changes}
        agreements.record_agreement(session, AGREEMENT, terms, world.hub.clock())


def take_film(world: World, viewer: Viewer, *, lane: Lane = Lane.ROUTINE, modality: str = "DX") -> str:
    """Let a study of the modality arrive and the viewer claim it; return its case."""
    case_id = world.arrive(lane=lane)
    with world.hub.transaction() as session:
        session.execute(update(Study).values(modalities=[modality]))
        session.execute(update(Case).values(modality=modality))
    reading.claim(world.hub, viewer, world.open_task(case_id).reading_task_id)
    return case_id


def sign(world: World, viewer: Viewer, case_id: str, *, declared: bool = True, text: ReportText = TEXT) -> str:
    task_id = world.open_task(case_id).reading_task_id
    return reading.sign_alone(world.hub, viewer, task_id, text, declared=declared)


def offers_it(world: World, viewer: Viewer, case_id: str) -> bool:
    return CaseEvent.SIGN_ALONE in reading.case_view(world.hub, viewer, case_id).events


def refused(world: World, viewer: Viewer, case_id: str) -> set[Obstacle]:
    """Return what stands against it; nothing of the case has changed, and no page offers it."""
    assert not offers_it(world, viewer, case_id)
    with pytest.raises(SecondPhysicianNeeded) as told:
        sign(world, viewer, case_id)
    assert world.case(case_id).state == CaseState.READING
    with world.hub.transaction() as session:
        assert session.scalars(select(Report)).all() == []
    return set(told.value.obstacles)


def test_an_attending_physician_signs_a_plain_film_alone_where_that_is_agreed(world: World, hub: Hub, wang: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    task_id = world.open_task(case_id).reading_task_id
    assert offers_it(world, wang, case_id)
    report_id = sign(world, wang, case_id)

    case = world.case(case_id)
    assert case.state == CaseState.FINAL
    assert case.signed_at == case.submitted_at == hub.clock()
    assert world.hops(case_id)[-1] == Hop.SIGNED
    assert "reports.render" in world.waiting_jobs()
    with hub.transaction() as session:
        report = session.get_one(Report, report_id)
        submission = session.get_one(Submission, report.submission_id)
        line = session.scalars(select(CustodyEvent).where(CustodyEvent.hop == Hop.SIGNED)).one()
        trail = session.scalars(select(AuditEvent).where(AuditEvent.detail["event"].as_string() == Hop.SIGNED)).one()
    content = ReportContent.from_json(report.content)
    assert content.author == content.verifier
    assert content.single_physician is not None
    assert (content.single_physician.agreement_id, content.single_physician.agreement_version) == (AGREEMENT, 2)
    assert content.single_physician.declared_at == hub.clock()
    assert content.format == "counterpart-report/5"
    assert content.submission_sha256 == submission.content_sha256
    for said in (line.detail, trail.detail):
        assert (said["single_physician"], said["agreement_id"], said["agreement_version"]) == (True, AGREEMENT, 2)
    assert trail.account_id == wang.account_id
    assert reading.sign_alone(hub, wang, task_id, TEXT, declared=True) == report_id  # after a lost answer


def test_what_it_signed_alone_proves_itself_at_the_clinic(world: World, hub: Hub, wang: Viewer):
    allow(world)
    report_id = sign(world, wang, take_film(world, wang))
    with hub.transaction() as session:
        report = session.get_one(Report, report_id)
        submission = session.get_one(Submission, report.submission_id)
        key = session.scalars(select(SigningKey).where(SigningKey.owner == "physician-wang")).one()
    assert [one["role"] for one in report.signatures] == ["author", "single_physician"]
    public = Ed25519PublicKey.from_public_bytes(key.public_key)
    for signature, data in zip(report.signatures, (submission.content, report.content), strict=True):
        value = signature["value"]
        public.verify(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), data)
    at_home = parse_signed_report(build_signed_report(report.content, report.signatures))
    assert at_home.single_physician is not None
    assert json.loads(report.content)["single_physician"]["agreement_id"] == AGREEMENT


def test_by_default_two_physicians_sign(world: World, wang: Viewer):
    assert refused(world, wang, take_film(world, wang)) == {Obstacle.NOT_AGREED}


@pytest.mark.parametrize(("begins", "ends"), [(-30, -1), (1, 30)], ids=["over", "to come"])
def test_terms_that_are_not_in_force_today_allow_nothing(
    world: World, hub_clock: SteerableClock, wang: Viewer, begins: int, ends: int
):
    case_id = take_film(world, wang)
    today = hub_clock().date()
    allow(world, valid_from=today + timedelta(days=begins), valid_until=today + timedelta(days=ends))
    assert refused(world, wang, case_id) == {Obstacle.NOT_AGREED}


@pytest.mark.parametrize("lane", [Lane.STAT, Lane.URGENT])
def test_an_emergency_is_never_signed_by_one_alone(world: World, wang: Viewer, lane: Lane):
    allow(world)
    assert refused(world, wang, take_film(world, wang, lane=lane)) == {Obstacle.EMERGENCY}


def test_what_became_a_green_channel_is_never_signed_by_one_alone(world: World, hub: Hub, wang: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    with hub.transaction() as session:
        session.execute(update(Case).values(green_channel="stroke"))
    assert refused(world, wang, case_id) == {Obstacle.EMERGENCY}


def test_a_computed_tomography_is_never_signed_by_one_alone(world: World, wang: Viewer):
    allow(world)
    assert refused(world, wang, take_film(world, wang, modality="CT")) == {Obstacle.NOT_PLAIN_FILM}


def test_a_resident_never_signs_alone(world: World):
    allow(world)
    resident = world.add_physician("sun", title=Title.RESIDENT)
    assert refused(world, resident, take_film(world, resident)) == {Obstacle.TITLE_TOO_LOW}


def test_what_a_second_physician_gave_back_needs_a_second_physician(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    reading.submit(hub, wang, world.open_task(case_id).reading_task_id, TEXT)
    world.run_jobs()
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    with pytest.raises(SecondPhysicianNeeded) as told:
        reading.sign_alone(hub, zhao, verification, TEXT, declared=True)
    assert Obstacle.NOT_A_FIRST_READING in told.value.obstacles
    reading.return_to_author(hub, zhao, verification, "左右写反")
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    assert refused(world, wang, case_id) == {Obstacle.RETURNED}


def test_a_doubt_whose_film_it_is_needs_a_second_physician(world: World, hub: Hub, wang: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    with hub.transaction() as session:
        session.execute(update(Case).values(identity_doubted_at=hub.clock()))
    assert refused(world, wang, case_id) == {Obstacle.IN_DOUBT}


def test_who_took_a_colleagues_case_over_signs_alone_under_the_agreement_of_that(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    allow(world)
    case_id = take_film(world, wang)
    reading.take_over(hub, zhao, world.open_task(case_id).reading_task_id, "王医师下班")
    assert offers_it(world, zhao, case_id)
    with pytest.raises(NotHolder):
        sign(world, wang, case_id)
    sign(world, zhao, case_id)


def test_nothing_is_signed_without_declaration_password_licence_text_or_claim(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    allow(world)
    case_id = take_film(world, wang)
    with pytest.raises(NotDeclared):
        sign(world, wang, case_id, declared=False)
    with pytest.raises(TextNotAcceptable):
        sign(world, wang, case_id, text=ReportText(findings="", impression="", recommendation=""))
    with pytest.raises(NotHolder):
        sign(world, zhao, case_id)
    with pytest.raises(ReauthenticationNeeded):
        sign(world, replace(wang, authenticated_at=hub_clock() - timedelta(days=1)), case_id)
    assert world.case(case_id).state == CaseState.READING
    sign(world, wang, case_id)


def test_a_case_on_hold_is_not_signed(world: World, hub: Hub, wang: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    reading.ask_site(hub, wang, world.open_task(case_id).reading_task_id, ("history",), "外伤史？")
    assert not offers_it(world, wang, case_id)
    with pytest.raises(WrongState):
        sign(world, wang, case_id)


def test_what_was_signed_alone_is_amended_by_two(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    allow(world)
    case_id = take_film(world, wang)
    sign(world, wang, case_id)
    reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "左右写反")
    world.run_jobs()
    task = world.open_task(case_id)
    if task.state == ReadingTaskState.SCHEDULED:
        reading.claim(hub, wang, task.reading_task_id)
    assert not offers_it(world, wang, case_id)
    with pytest.raises(SecondPhysicianNeeded) as told:
        sign(world, wang, case_id)
    assert Obstacle.NOT_A_FIRST_READING in told.value.obstacles
    reading.submit(hub, wang, world.open_task(case_id).reading_task_id, TEXT)
    world.run_jobs()
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    report_id = reading.sign(hub, zhao, verification, None)
    with hub.transaction() as session:
        content = ReportContent.from_json(session.get_one(Report, report_id).content)
    assert (content.report_version, content.single_physician, content.verifier.name) == (2, None, "Zhao")


def test_each_change_of_the_permission_is_a_version_of_the_agreement(world: World, hub: Hub):
    allow(world)
    allow(world, single_physician=False, valid_until=date(2029, 1, 1))
    with hub.transaction() as session:
        now = agreements.agreements_as_of(session, hub.clock())
        trail = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "agreement")).all()
    assert [(one.number, one.single_physician) for one in now] == [(3, False)]
    assert "single_physician" in trail[-1].detail["changed"]
