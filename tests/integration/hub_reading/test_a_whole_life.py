"""From a catalogued study to a signed report, on a real database."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import func, select

from reading_queue.db.tables import Report, SigningKey, Submission
from reading_queue.domain.canonical import sha256_hex
from reading_queue.domain.report import ReportContent, ReportText, SubmissionContent
from reading_queue.domain.roles import Title
from reading_queue.domain.transitions import CaseEvent, CaseState
from reading_queue.errors import (
    AuthorMayNotVerify,
    ConfirmationNeeded,
    NotFound,
    NotHolder,
    NotOffered,
    ReauthenticationNeeded,
    TextNotAcceptable,
)
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.ledger.tables import AuditEvent, OutboxMessage
from tests.integration.hub_reading.world import TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_a_study_becomes_one_report_that_two_physicians_signed(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    assert world.case(case_id).state == CaseState.OFFERED

    submission_id = world.submit(wang, case_id)
    assert world.case(case_id).state == CaseState.PENDING_REVIEW
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    report_id = reading.sign(hub, zhao, verification, None)

    case = world.case(case_id)
    assert case.state == CaseState.FINAL
    assert None not in (case.ready_at, case.offered_at, case.claimed_at, case.submitted_at, case.signed_at)
    assert world.hops(case_id) == [
        Hop.CATALOGUED,
        Hop.OFFERED,
        Hop.CLAIMED,
        Hop.SUBMITTED,
        Hop.REVIEW_OFFERED,
        Hop.REVIEW_CLAIMED,
        Hop.SIGNED,
    ]
    with hub.transaction() as session:
        report = session.get_one(Report, report_id)
        submission = session.get_one(Submission, submission_id)
        render = session.scalars(select(OutboxMessage).where(OutboxMessage.job == "reports.render")).one()
    assert render.arguments == {"report_id": report_id}
    content = ReportContent.from_json(report.content)
    assert content.canonical() == report.content
    assert content.text() == TEXT
    assert content.submission_sha256 == submission.content_sha256 == sha256_hex(submission.content)
    assert (content.author.physician_id, content.verifier.physician_id) == ("physician-wang", "physician-zhao")
    assert (content.patient.name, content.studies[0].study_uid, content.modality) == ("张伟", "1.2.3", "CT")


def test_both_signatures_verify_over_the_stored_bytes(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    submission_id = world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    edited = TEXT.model_copy(update={"recommendation": "六个月后复查。"})
    report_id = reading.sign(hub, zhao, verification, edited)

    with hub.transaction() as session:
        report = session.get_one(Report, report_id)
        submission = session.get_one(Submission, submission_id)
        keys = {key.key_id: key for key in session.scalars(select(SigningKey))}
    assert [one["role"] for one in report.signatures] == ["author", "verifier"]
    for signature, data in zip(report.signatures, (submission.content, report.content), strict=True):
        assert signature["covers_sha256"] == sha256_hex(data)
        raw = base64.urlsafe_b64decode(signature["value"] + "==")
        Ed25519PublicKey.from_public_bytes(keys[signature["key_id"]].public_key).verify(raw, data)
    assert SubmissionContent.from_json(submission.content).recommendation == TEXT.recommendation
    assert ReportContent.from_json(report.content).recommendation == "六个月后复查。"


def test_submitting_and_signing_again_returns_what_the_first_call_made(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    interpretation = world.open_task(case_id).reading_task_id
    submission_id = world.submit(wang, case_id)
    assert reading.submit(hub, wang, interpretation, TEXT) == submission_id
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    report_id = reading.sign(hub, zhao, verification, None)
    assert reading.sign(hub, zhao, verification, None) == report_id
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Report)) == 1


def test_the_author_is_not_offered_the_verification_and_cannot_take_it(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]
    with pytest.raises(NotOffered):
        reading.claim(hub, wang, verification)


def test_the_author_cannot_take_the_verification_even_with_an_offer(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    world.slip_offer(verification, wang)
    with pytest.raises(AuthorMayNotVerify):
        reading.claim(hub, wang, verification)


def test_a_resident_is_not_offered_a_verification(world: World, hub: Hub, wang: Viewer):
    resident = world.add_physician("liu", title=Title.RESIDENT)
    case_id = world.arrive()
    assert world.offered_to(case_id, wang, resident) == ["wang", "liu"]
    world.submit(wang, case_id)
    assert world.offered_to(case_id, wang, resident) == []
    reason = world.case(case_id).unroutable_reason
    assert reason is not None
    assert "报告作者不能审核 1 人" in reason
    assert "职称低于主治医师 1 人" in reason


def test_a_signature_needs_a_recent_password(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    stale = replace(wang, authenticated_at=hub_clock.now - timedelta(seconds=hub.policy.reauthentication_s + 1))
    with pytest.raises(ReauthenticationNeeded):
        reading.submit(hub, stale, task_id, TEXT)
    assert reading.submit(hub, wang, task_id, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        ReportText(findings="", impression="未见异常。"),
        ReportText(findings="双肺纹理清晰。", impression="  "),
        ReportText(findings="结节大小 ___ mm。", impression="结节。"),
    ],
)
def test_a_faulty_text_is_not_signed_and_the_claim_stays(world: World, hub: Hub, wang: Viewer, text: ReportText):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    with pytest.raises(TextNotAcceptable):
        reading.submit(hub, wang, task_id, text)
    assert world.case(case_id).state == CaseState.READING


def test_a_differing_side_is_signed_only_when_it_is_confirmed(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    text = ReportText(findings="右肺结节。", impression="左肺结节。")
    with pytest.raises(ConfirmationNeeded):
        reading.submit(hub, wang, task_id, text)
    assert reading.submit(hub, wang, task_id, text, confirm=True)


def test_a_returned_text_goes_to_its_author_first_and_then_through_a_fresh_verification(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    reading.return_to_author(hub, zhao, verification, "请补充纵隔窗所见")
    world.run_jobs()

    assert world.offered_to(case_id, wang, zhao) == ["wang"]
    again = world.open_task(case_id)
    assert (again.phase, again.replaces_id) == ("interpretation", verification)
    view = reading.case_view(hub, wang, case_id)
    assert view.submission is None
    assert view.submissions[0].return_reason == "请补充纵隔窗所见"
    assert view.draft is not None
    assert view.draft.text == TEXT

    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    report_id = reading.sign(hub, zhao, verification, None)
    with hub.transaction() as session:
        assert [one.report_id for one in session.scalars(select(Report))] == [report_id]
    assert Hop.RETURNED_TO_AUTHOR in world.hops(case_id)


def test_offers_are_shown_most_urgent_first_with_what_a_reader_needs(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    routine = world.arrive("1.2.3")
    stat = world.arrive("1.2.4", lane=Lane.STAT)
    first, second = reading.offers_of(hub, wang)
    assert (first.case_id, second.case_id) == (stat, routine)
    summary = first.case
    assert (summary.site_name, summary.modality, summary.study_uids) == ("清河镇卫生院", "CT", ("1.2.4",))
    assert summary.patient is not None
    assert (summary.patient.name, summary.patient.age_years) == ("张伟", 65)
    assert first.why["of"] == 1
    hub_clock.advance(3600 * 2)
    assert reading.offers_of(hub, wang) == []


def test_the_holder_sees_what_may_be_done_and_a_stranger_sees_nothing(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    stranger = world.add_physician("stranger")
    task_id = world.open_task(case_id).reading_task_id
    assert reading.case_view(hub, wang, case_id).events == {CaseEvent.CLAIM, CaseEvent.DECLINE}
    reading.claim(hub, wang, task_id)
    view = reading.case_view(hub, wang, case_id)
    assert view.held_by_viewer
    assert view.events == {CaseEvent.SUBMIT, CaseEvent.RELEASE, CaseEvent.RETURN_TO_SITE, CaseEvent.HOLD}
    assert [held.task.reading_task_id for held in reading.held_by(hub, wang)] == [task_id]
    with pytest.raises(NotFound):
        reading.case_view(hub, stranger, case_id)
    with pytest.raises(NotHolder):
        reading.submit(hub, stranger, task_id, TEXT)


def test_every_look_and_every_step_is_in_the_audit_trail(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    reading.case_view(hub, wang, case_id)
    world.submit(wang, case_id)
    with hub.transaction() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.audit_id)).all()
    steps = [(event.account_id, event.detail["event"]) for event in events if event.object_id == case_id]
    assert steps == [("wang", "case_viewed"), ("wang", "claim"), ("wang", "submitted")]
