"""Writing a signed report again: who may, what is signed, and what happens when there is nothing to say."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Report, Submission
from reading_queue.domain.report import ReportContent, ReportText, SubmissionContent
from reading_queue.domain.roles import Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import AuthorMayNotVerify, Forbidden, ImagesUnacknowledged, Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.reading import reading
from storage.contract.hops import Hop
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import signed
from tests.integration.hub_reading.world import TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

MORE = ReportText(findings=TEXT.findings, impression="左肺上叶结节。", recommendation="")
CORRECTED = AmendmentKind.CORRECTED


def contents(hub: Hub) -> list[ReportContent]:
    with hub.transaction() as session:
        rows = session.scalars(select(Report).order_by(Report.report_version)).all()
    return [ReportContent.from_json(row.content) for row in rows]


def test_a_correction_is_a_new_version_that_names_its_predecessor_and_two_physicians_sign_it(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    hub_clock.advance(60)
    (first,) = contents(hub)
    task = reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")
    assert world.case(case_id).state == CaseState.AMENDING
    draft = reading.case_view(hub, wang, case_id).draft
    assert draft is not None
    assert draft.text == TEXT, "it begins with what was signed"
    submission_id = reading.submit(hub, wang, task.reading_task_id, MORE, confirm=True)
    assert reading.submit(hub, wang, task.reading_task_id, MORE, confirm=True) == submission_id
    world.run_jobs()
    review = world.open_task(case_id).reading_task_id
    with pytest.raises(Forbidden):
        reading.claim(hub, wang, review)
    reading.claim(hub, zhao, review)
    assert world.case(case_id).state == CaseState.AMENDMENT_REVIEWING
    report_id = reading.sign(hub, zhao, review, None)
    assert reading.sign(hub, zhao, review, None) == report_id
    kept, second = contents(hub)
    assert kept == first, "a signed report never changes"
    assert (second.report_version, second.predecessor_id) == (2, first.report_id)
    assert (second.amendment_kind, second.amendment_reason) == (CORRECTED, "左右写反")
    assert second.impression == "左肺上叶结节。"
    case = world.case(case_id)
    assert (case.state, case.signed_at) == (CaseState.FINAL, first.signed_at)
    assert case.amended_at == second.signed_at


def test_the_authors_signature_covers_why_the_report_is_corrected(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    hub_clock.advance(60)
    task = reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")
    reading.submit(hub, wang, task.reading_task_id, MORE, confirm=True)
    view = reading.case_view(hub, wang, case_id)
    assert view.submission is not None
    with hub.transaction() as session:
        row = session.get_one(Submission, view.submission.submission_id)
    content = SubmissionContent.from_json(row.content)
    assert (content.format, content.amendment_reason) == ("counterpart-submission/2", "左右写反")
    assert content.canonical() == row.content


def test_only_who_signed_or_leads_them_amends_and_only_once_at_a_time(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    stranger = world.add_physician("stranger", title=Title.CHIEF)
    with pytest.raises(NotFound):
        reading.open_addendum(hub, stranger, case_id, CORRECTED, "左右写反")
    with pytest.raises(Invalid):
        reading.open_addendum(hub, wang, case_id, CORRECTED, "")
    reading.open_addendum(hub, zhao, case_id, AmendmentKind.APPENDED, "补充测量")
    with pytest.raises(WrongState):
        reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")


def test_a_case_that_is_not_signed_has_nothing_to_amend(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    world.submit(wang, case_id)
    with pytest.raises(WrongState):
        reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")


def test_late_images_ask_the_author_who_may_find_nothing_to_add(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = signed(world, wang, zhao)
    world.catalogue("1.2.3", revision=2)
    world.run_jobs()
    task_id = world.open_task(case_id).reading_task_id
    assert world.offered_to(case_id, wang, zhao) == ["wang"]
    reading.claim(hub, wang, task_id)
    with pytest.raises(ImagesUnacknowledged):
        reading.submit(hub, wang, task_id, MORE, confirm=True)
    with pytest.raises(ImagesUnacknowledged):
        reading.nothing_to_amend(hub, wang, task_id, "结论不变")
    reading.acknowledge_images(hub, wang, task_id, world.shown(case_id))
    with pytest.raises(Invalid):
        reading.nothing_to_amend(hub, wang, task_id, "")
    reading.nothing_to_amend(hub, wang, task_id, "新图像为重建图，结论不变")
    case = world.case(case_id)
    assert (case.state, case.images_unacknowledged) == (CaseState.FINAL, False)
    assert world.hops(case_id)[-1] == Hop.AMENDMENT_CLOSED
    assert len(contents(hub)) == 1


def test_an_addendum_that_its_author_lets_pass_goes_to_others(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    world.catalogue("1.2.3", revision=2)
    world.run_jobs()
    hub_clock.advance(hub.policy.offer_ttl_s)
    sweeps.expire_offers(hub)
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    reading.acknowledge_images(hub, zhao, task_id, world.shown(case_id))
    reading.submit(hub, zhao, task_id, MORE, confirm=True)
    world.run_jobs()
    review = world.open_task(case_id).reading_task_id
    with pytest.raises((AuthorMayNotVerify, Forbidden)):
        reading.claim(hub, zhao, review)
    reading.claim(hub, wang, review)
    reading.sign(hub, wang, review, None)
    assert [one.report_version for one in contents(hub)] == [1, 2]


def test_a_verifier_gives_an_addendum_back_to_its_author(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = signed(world, wang, zhao)
    task = reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")
    reading.submit(hub, wang, task.reading_task_id, MORE, confirm=True)
    world.run_jobs()
    review = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review)
    reading.return_to_author(hub, zhao, review, "请再核对")
    assert world.case(case_id).state == CaseState.AMENDING
    again = world.open_task(case_id)
    assert again.phase == "addendum"
    assert world.offered_to(case_id, wang, zhao) == ["wang"]
    reading.claim(hub, wang, again.reading_task_id)
    reading.submit(hub, wang, again.reading_task_id, MORE, confirm=True)


def test_a_lease_of_an_addendum_that_runs_out_leaves_the_signed_report_as_it_is(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = signed(world, wang, zhao)
    reading.open_addendum(hub, wang, case_id, CORRECTED, "左右写反")
    hub_clock.advance(hub.policy.lease_s)
    assert sweeps.expire_leases(hub) == 1
    world.run_jobs()
    assert world.case(case_id).state == CaseState.AMENDING
    assert world.offered_to(case_id, zhao) == ["zhao"]
    assert len(contents(hub)) == 1
