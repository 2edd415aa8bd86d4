"""Who holds a reading task, and what happens when the holding ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from threading import Barrier
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Account, Agreement, Offer, Physician, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseEvent, CaseState
from reading_queue.errors import (
    AgreementNotInForce,
    AlreadyClaimed,
    HubError,
    Invalid,
    LicenceNotValid,
    ModalityNotRead,
    NotFound,
    NotHolder,
    NotOffered,
    StaleDraft,
    TextNotAcceptable,
    WorkInProgressFull,
)
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.network.agreements import TERMS, record_agreement
from reading_queue.services.reading import reading
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

CLAIMERS = 20


def test_of_twenty_claimers_at_once_one_wins_and_the_others_are_told(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    rivals = [wang, *(world.add_physician(f"rival-{number}") for number in range(1, CLAIMERS))]
    for rival in rivals[1:]:
        world.slip_offer(task_id, rival)
    start = Barrier(CLAIMERS)

    def attempt(viewer: Viewer) -> str:
        start.wait(timeout=60)
        try:
            reading.claim(hub, viewer, task_id)
        except AlreadyClaimed:
            return "refused"
        return viewer.physician_id or ""

    with ThreadPoolExecutor(CLAIMERS) as pool:
        outcomes = Counter(pool.map(attempt, rivals))
    assert outcomes.pop("refused") == CLAIMERS - 1
    assert list(outcomes) == [world.open_task(case_id).holder_id]
    with hub.transaction() as session:
        states = Counter(session.scalars(select(Offer.state).where(Offer.reading_task_id == task_id)))
    assert states == {"claimed": 1, "withdrawn": CLAIMERS - 1}
    assert world.hops(case_id).count(Hop.CLAIMED) == 1


def test_claiming_again_what_one_holds_changes_nothing(world: World, hub: Hub, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    assert reading.claim(hub, wang, task_id) == reading.claim(hub, wang, task_id)


def test_nobody_claims_what_was_never_offered_to_them(world: World, hub: Hub, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    came_on_duty_later = world.add_physician("qian")
    with pytest.raises(NotOffered):
        reading.claim(hub, came_on_duty_later, task_id)


def test_an_offer_that_ran_out_cannot_be_claimed(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    hub_clock.advance(hub.policy.offer_ttl_s)
    with pytest.raises(NotOffered):
        reading.claim(hub, wang, task_id)


def test_the_limit_of_work_in_progress_holds_at_the_claim(world: World, hub: Hub):
    busy = world.add_physician("busy", wip_max=1)
    first = world.open_task(world.arrive("1.2.3")).reading_task_id
    second = world.open_task(world.arrive("1.2.4")).reading_task_id
    reading.claim(hub, busy, first)
    with pytest.raises(WorkInProgressFull):
        reading.claim(hub, busy, second)


def end_agreement(world: World, agreement_id: str, *, goes_on_as: str = "") -> None:
    """Let it end yesterday; another takes its place from today where one is named."""
    today = world.hub.clock().date()
    with world.hub.transaction() as session:
        row = session.get_one(Agreement, agreement_id)
        terms = {name: getattr(row, name) for name in TERMS}
        record_agreement(session, agreement_id, {**terms, "valid_until": today - timedelta(days=2)}, world.hub.clock())
        if goes_on_as:
            record_agreement(session, goes_on_as, terms, world.hub.clock())


def change_agreement(world: World, **terms: object) -> None:
    with world.hub.transaction() as session:
        row = session.get_one(Agreement, "agreement-city")
        agreed = {name: getattr(row, name) for name in TERMS}
        record_agreement(session, "agreement-city", {**agreed, **terms}, world.hub.clock())


def change_physician(world: World, physician_id: str = "physician-wang", **terms: object) -> None:
    with world.hub.transaction() as session:
        row = session.get_one(Physician, physician_id)
        for name, value in terms.items():
            setattr(row, name, value)


def send_late_images(world: World) -> None:
    change_physician(world, modalities=["CT"])
    with world.hub.transaction() as session:
        session.scalars(select(Study)).one().modalities = ["CT", "PT"]
    world.catalogue("1.2.3", revision=2)


def close_account(world: World) -> None:
    with world.hub.transaction() as session:
        session.get_one(Account, "wang").disabled_at = world.hub.clock()


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda world: end_agreement(world, "agreement-city"), AgreementNotInForce),
        (lambda world: change_agreement(world, modalities=["US"]), AgreementNotInForce),
        (lambda world: change_agreement(world, body_regions=["HEAD"]), AgreementNotInForce),
        (lambda world: change_agreement(world, services=["verification"]), AgreementNotInForce),
        (lambda world: change_physician(world, organisation_id=SITE), AgreementNotInForce),
        (close_account, AgreementNotInForce),
        (lambda world: change_physician(world, modalities=["US"]), ModalityNotRead),
        (send_late_images, ModalityNotRead),
        (lambda world: world.end_licence(world.viewer("wang")), LicenceNotValid),
    ],
    ids=["ended", "modality", "region", "service", "hospital", "account", "own_modality", "late_images", "licence"],
)
def test_who_may_not_read_the_case_as_it_is_now_cannot_claim_it_and_others_are_asked_at_once(
    world: World, hub: Hub, wang: Viewer, change: Callable[[World], None], refusal: type[HubError]
):
    world.add_agreement("agreement-county", requesting=COUNTY, assisting=COUNTY, stage=3)
    far = world.add_physician("far", organisation=COUNTY)
    case_id = world.arrive()
    assert world.offered_to(case_id, wang, far) == ["wang"]
    change(world)
    world.wipe_outbox()
    with pytest.raises(refusal):
        reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    world.run_jobs()
    assert world.offered_to(case_id, wang, far) == ["far"]


@pytest.mark.parametrize("what", ["agreement", "licence", "own_work"])
def test_no_offer_outlasts_the_right_on_which_it_rests(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer, what: str
):
    world.add_agreement("agreement-county", requesting=COUNTY, assisting=COUNTY, stage=3)
    far = world.add_physician("far", organisation=COUNTY)
    midnight = datetime(2026, 3, 3, tzinfo=ZoneInfo("Asia/Shanghai"))
    if what == "own_work":
        case_id = world.arrive()
        world.submit(wang, case_id)
        review = world.open_task(case_id).reading_task_id
        reading.claim(hub, zhao, review)
    hub_clock.now = midnight - timedelta(minutes=10)
    if what == "agreement":
        change_agreement(world, valid_until=date(2026, 3, 2))
    else:
        for who in ("wang",) if what == "own_work" else ("wang", "zhao"):
            change_physician(world, f"physician-{who}", licence_valid_until=date(2026, 3, 2))
    if what == "own_work":
        reading.return_to_author(hub, zhao, review, "请修改")
        world.run_jobs()
    else:
        case_id = world.arrive()
    first, then = (["wang"], ["zhao", "far"]) if what == "own_work" else (["wang", "zhao"], ["far"])
    assert world.offered_to(case_id, wang, zhao, far) == first
    hub_clock.now = midnight
    assert world.offered_to(case_id, wang, zhao, far) == []
    sweeps.expire_offers(hub)
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao, far) == then


def test_an_agreement_that_is_ended_with_today_ends_what_stands_under_it_with_the_day(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    hub_clock.now = datetime(2026, 3, 2, 23, 50, tzinfo=ZoneInfo("Asia/Shanghai"))
    case_id = world.arrive()
    change_agreement(world, valid_until=date(2026, 3, 2))
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    hub_clock.advance(600)
    assert world.offered_to(case_id, wang) == []


def test_an_author_without_a_licence_gets_nothing_back_to_write_on_and_others_do(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    review = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review)
    reading.return_to_author(hub, zhao, review, "请修改")
    world.end_licence(wang)
    world.wipe_outbox()
    with pytest.raises(LicenceNotValid):
        reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]


def test_an_agreement_that_another_follows_stops_no_claim_and_the_read_is_under_the_new_one(
    world: World, hub: Hub, wang: Viewer
):
    task_id = world.open_task(world.arrive()).reading_task_id
    end_agreement(world, "agreement-city", goes_on_as="agreement-city-v2")
    reading.claim(hub, wang, task_id)
    with hub.transaction() as session:
        offer = session.scalars(select(Offer).where(Offer.reading_task_id == task_id)).one()
    assert (offer.agreement_id, offer.agreement_version) == ("agreement-city-v2", 1)


def test_an_emergency_is_asked_of_others_at_once_when_who_was_asked_takes_another(world: World, hub: Hub):
    world.hub = replace(hub, policy=replace(hub.policy, offer_width=1))
    wen, shu = world.add_physician("wen", wip_max=1), world.add_physician("xu", wip_max=1)
    first, second = world.arrive("1.2.1", lane=Lane.STAT), world.arrive("1.2.2", lane=Lane.STAT)
    assert [world.offered_to(one, wen, shu) for one in (first, second)] == [["wen"], ["wen"]]
    reading.claim(world.hub, wen, world.open_task(first).reading_task_id)
    world.run_jobs()
    assert world.offered_to(second, wen, shu) == ["wen", "xu"], "both may take it as soon as they can"


def test_a_lease_that_runs_out_ends_the_claim_and_keeps_the_draft(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    task = world.open_task(case_id)
    reading.claim(hub, wang, task.reading_task_id)
    reading.save_draft(hub, wang, task.reading_task_id, TEXT, None)
    hub_clock.advance(hub.policy.lease_s)

    assert sweeps.expire_leases(hub) == 1
    assert sweeps.expire_leases(hub) == 0
    world.run_jobs()

    replacement = world.open_task(case_id)
    assert replacement.replaces_id == task.reading_task_id
    assert replacement.workitem_uid != task.workitem_uid
    assert world.case(case_id).state == CaseState.OFFERED
    assert world.offered_to(case_id, wang, zhao) == ["zhao"], "who let it pass is asked last"
    with pytest.raises(NotHolder):
        reading.save_draft(hub, wang, task.reading_task_id, ReportText(findings="x"), 1)
    reading.claim(hub, zhao, replacement.reading_task_id)
    draft = reading.case_view(hub, zhao, case_id).draft
    assert draft is not None
    assert draft.text == TEXT
    with hub.transaction() as session:
        ended = session.get_one(ReadingTask, task.reading_task_id)
    assert (ended.state, ended.cancel_reason) == ("canceled", DiscontinuationReason.RESOURCE_PREEMPTED)


def test_a_heartbeat_and_a_saved_draft_keep_the_claim(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    reading.claim(hub, wang, task_id)
    hub_clock.advance(hub.policy.lease_s - 1)
    reading.heartbeat(hub, wang, task_id)
    hub_clock.advance(hub.policy.lease_s - 1)
    reading.save_draft(hub, wang, task_id, TEXT, None)
    hub_clock.advance(hub.policy.lease_s - 1)
    assert sweeps.expire_leases(hub) == 0


def test_two_windows_cannot_overwrite_each_others_draft(world: World, hub: Hub, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    reading.claim(hub, wang, task_id)
    first = reading.save_draft(hub, wang, task_id, ReportText(findings="一"), None)
    second = reading.save_draft(hub, wang, task_id, ReportText(findings="二"), first.version)
    with pytest.raises(StaleDraft):
        reading.save_draft(hub, wang, task_id, ReportText(findings="三"), first.version)
    with pytest.raises(StaleDraft):
        reading.save_draft(hub, wang, task_id, ReportText(findings="三"), None)
    repeated = reading.save_draft(hub, wang, task_id, ReportText(findings="二"), first.version)
    assert repeated.version == second.version


def test_a_text_that_the_database_cannot_hold_is_refused_in_words(world: World, hub: Hub, wang: Viewer):
    task_id = world.open_task(world.arrive()).reading_task_id
    reading.claim(hub, wang, task_id)
    with pytest.raises(TextNotAcceptable):
        reading.save_draft(hub, wang, task_id, ReportText(findings="\x00"), None)


def test_a_released_case_goes_to_the_others_with_its_draft(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    reading.save_draft(hub, wang, task_id, TEXT, None)
    with pytest.raises(Invalid):
        reading.release(hub, wang, task_id, "too hard")
    reading.release(hub, wang, task_id, DiscontinuationReason.NEEDS_SPECIALIST)
    world.run_jobs()
    assert world.offered_to(case_id, wang, zhao) == ["zhao"]
    assert Hop.RELEASED in world.hops(case_id)
    draft = reading.case_view(hub, zhao, case_id).draft
    assert draft is not None
    assert draft.text == TEXT


def test_a_released_verification_waits_for_another_verifier(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    other = world.add_physician("sun")
    case_id = world.arrive()
    world.submit(wang, case_id)
    verification = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, verification)
    reading.release(hub, zhao, verification, DiscontinuationReason.UNSPECIFIED)
    world.run_jobs()
    assert world.case(case_id).state == CaseState.PENDING_REVIEW
    assert world.offered_to(case_id, wang, zhao, other) == ["sun"]


def test_a_lease_of_a_verification_that_runs_out_leaves_the_submission_standing(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    case_id = world.arrive()
    world.submit(wang, case_id)
    reading.claim(hub, zhao, world.open_task(case_id).reading_task_id)
    hub_clock.advance(hub.policy.lease_s)
    sweeps.expire_leases(hub)
    world.run_jobs()
    assert world.case(case_id).state == CaseState.PENDING_REVIEW
    assert world.offered_to(case_id, wang, zhao) == ["zhao"], "asked again when there is nobody else"


def test_a_coordinator_who_oversees_the_site_may_take_a_claim_away_and_another_may_not(
    world: World, hub: Hub, wang: Viewer
):
    task_id = world.open_task(case_id := world.arrive()).reading_task_id
    reading.claim(hub, wang, task_id)
    elsewhere = replace(wang, role=Role.COORDINATOR, physician_id=None, organisation_id=SITE + "-other")
    with pytest.raises(NotFound):
        reading.release(hub, elsewhere, task_id, DiscontinuationReason.RESOURCE_PREEMPTED)
    county = replace(elsewhere, organisation_id=COUNTY)
    reading.release(hub, county, task_id, DiscontinuationReason.RESOURCE_PREEMPTED)
    assert world.case(case_id).state == CaseState.READY
    view = reading.case_view(hub, county, case_id)
    assert view.draft is None
    assert CaseEvent.RETURN_TO_SITE in view.events
