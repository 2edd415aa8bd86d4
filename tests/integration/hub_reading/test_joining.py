"""One read of several studies: joined at the desk or by an order that names both, undone, and never after a claim."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Agreement, Case, CaseStudy, Offer, Physician, Report
from reading_queue.domain.report import ReportContent
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import HubError, ImagesChanged, Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import attention, cases, clinic
from reading_queue.services.cases.joining import MayNotBeJoined, join_cases
from reading_queue.services.cases.separating import separate_study
from reading_queue.services.hub import Hub
from reading_queue.services.reading import desk_views, mdt, reading
from reading_queue.services.routing import escalating
from storage.catalogue.tables import Patient
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from tests.integration.hub_reading.test_identity_doubts import OTHER, chen, li
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import SITE, TEXT, World, make_study, make_transfer
from tests.support.clock import SteerableClock

__all__ = ["chen", "li"]

pytestmark = pytest.mark.postgres

CHEST, ABDOMEN = "1.2.3", "1.2.4"


def arrive(world: World, study_uid: str, *, lane: Lane = Lane.ROUTINE, **facts: object) -> str:
    """Let a study with these facts arrive; return its case."""
    assert isinstance(world.hub.clock, SteerableClock)
    world.hub.clock.advance(60)  # later than the one before
    case_id = world.declare(study_uid, lane=lane)
    now = world.hub.clock()
    with world.hub.transaction() as session:
        study = make_study(study_uid, now)
        for name, value in facts.items():
            setattr(study, name, value)
        transfer = make_transfer(study_uid, now, revision=1, state="verified")
        session.add_all([study, transfer])
        session.flush()
        cases.study_catalogued(session, world.hub, now, study=study, transfer=transfer)
    world.run_jobs()
    return case_id


def arrive_abdomen(world: World, **facts: object) -> str:
    told = {"accession_number": "A2", "description": "腹部平扫", "body_part": "ABDOMEN"}
    return arrive(world, ABDOMEN, **told | facts)


def studies_of(hub: Hub, case_id: str) -> list[str]:
    with hub.transaction() as session:
        rows = select(CaseStudy.study_uid).where(CaseStudy.case_id == case_id).order_by(CaseStudy.study_uid)
        return list(session.scalars(rows))


@pytest.fixture
def chest(world: World, wang: Viewer) -> str:
    return world.arrive(CHEST)


@pytest.fixture
def abdomen(world: World, chest: str) -> str:
    return arrive_abdomen(world)


def test_what_a_conference_is_to_see_goes_with_the_studies(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str
):
    mdt.put_on_list(hub, wang, abdomen, "能否手术？", hub.clock().date())
    join_cases(hub, li, chest, abdomen, "一次扫描两个部位")
    world.run_jobs()
    (listed,) = mdt.list_mdt(hub, wang).entries
    assert listed.case_id == chest, "a cancelled case without images would be called up"


def test_two_studies_are_read_as_one_case_and_one_report_names_both(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, li: Viewer, chest: str, abdomen: str
):
    task_id = world.open_task(chest).reading_task_id
    for _ in range(2):  # twice is the same
        join_cases(hub, li, chest, abdomen, "一次扫描两个部位")
    world.run_jobs()
    case = world.case(chest)
    assert studies_of(hub, chest) == [CHEST, ABDOMEN]
    assert (case.state, case.body_region) == (CaseState.OFFERED, "ABDOMEN/CHEST")
    assert world.case(abdomen).state == CaseState.CANCELLED
    assert world.offered_to(abdomen, wang, zhao) == []
    assert world.open_task(chest).reading_task_id == task_id
    assert world.hops(chest).count(Hop.JOINED) == 2  # in the ledger of each study, once
    view = desk_views.case_view(hub, wang, chest)
    assert view.summary.study_uids == (CHEST, ABDOMEN)
    world.submit(wang, chest)
    review_id = world.open_task(chest).reading_task_id
    reading.claim(hub, zhao, review_id)
    reading.sign(hub, zhao, review_id, None)
    with hub.transaction() as session:
        content = ReportContent.from_json(session.scalars(select(Report.content)).one())
    assert [study.accession_number for study in content.studies] == ["A1", "A2"]
    for uid in (CHEST, ABDOMEN):  # each study leads to the report, and to the other
        shown = clinic.study_view(hub, li, SITE, uid)
        assert shown.report is not None
        assert [one.study_uid for one in shown.beside] == [{CHEST: ABDOMEN, ABDOMEN: CHEST}[uid]]


def test_each_study_of_a_read_counts_as_work(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, li: Viewer, chest: str, abdomen: str
):
    join_cases(hub, li, chest, abdomen, "一次扫描两个部位")
    world.run_jobs()
    world.submit(wang, chest)
    review_id = world.open_task(chest).reading_task_id
    reading.claim(hub, zhao, review_id)
    reading.sign(hub, zhao, review_id, None)
    with hub.transaction() as session:
        session.execute(update(Physician).values(weekly_rvu_max=3))
    assert world.offered_to(world.arrive("1.2.5"), wang, zhao) == ["wang", "zhao"]
    with hub.transaction() as session:
        session.execute(update(Physician).values(weekly_rvu_max=2))
    assert world.case(world.arrive("1.2.6")).unroutable_reason == "无人可派：七日工作量已满 2 人"


def test_a_joined_case_is_asked_anew_and_signed_by_nobody_who_was_shown_one_of_the_two(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str
):
    kept = arrive(world, ABDOMEN, accession_number="A2")  # of the same region, and as urgent
    shown, came_at, ended = world.shown(kept), world.case(chest).first_instance_at, world.open_task(chest)
    join_cases(hub, li, kept, chest, "一次扫描")
    assert (world.case(kept).state, world.offered_to(kept, wang)) == (CaseState.READY, [])
    assert world.case(kept).first_instance_at == came_at, "its limit counts from the first of both"
    with hub.transaction() as session:
        offers = session.scalars(select(Offer.state).where(Offer.reading_task_id == ended.reading_task_id)).all()
    assert offers == ["withdrawn"]
    world.run_jobs()
    task_id = world.open_task(kept).reading_task_id
    reading.claim(hub, wang, task_id)
    with pytest.raises(ImagesChanged):
        reading.submit(hub, wang, task_id, TEXT, images=shown)


def test_the_joined_case_is_as_urgent_as_the_more_urgent_of_the_two(world: World, hub: Hub, li: Viewer, chest: str):
    other = arrive(world, ABDOMEN, lane=Lane.URGENT, accession_number="A2")
    join_cases(hub, li, chest, other, "一次扫描")
    world.run_jobs()
    assert world.case(chest).lane == Lane.URGENT
    third = arrive(world, "1.2.5", accession_number="A3")
    with hub.transaction() as session:
        session.get_one(Case, third).green_channel = GreenChannel.STROKE
    join_cases(hub, li, chest, third, "一次扫描")
    assert (world.case(chest).lane, world.case(chest).green_channel) == (Lane.STAT, GreenChannel.STROKE)


def test_who_may_not_read_both_regions_is_not_asked(world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str):
    other = arrive_abdomen(world)
    with hub.transaction() as session:
        session.execute(update(Agreement).values(body_regions=["CHEST"]))
    join_cases(hub, li, chest, other, "一次扫描")
    world.run_jobs()
    assert world.case(chest).state == CaseState.READY
    assert world.offered_to(chest, wang) == []
    with hub.transaction() as session:
        session.execute(update(Agreement).values(body_regions=["CHEST", "ABDOMEN"]))
    separated = separate_study(hub, li, chest, ABDOMEN, "分开")
    join_cases(hub, li, chest, separated, "一次扫描")
    world.run_jobs()
    assert world.offered_to(chest, wang) == ["wang"]


def test_a_separated_study_has_a_case_of_its_own_again(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str
):
    join_cases(hub, li, chest, abdomen, "一次扫描")
    world.run_jobs()
    with hub.transaction() as session:
        session.get_one(Case, chest).green_channel = GreenChannel.STROKE
    alone = separate_study(hub, li, chest, ABDOMEN, "两个医师分别阅片")
    assert world.case(alone).green_channel == GreenChannel.STROKE
    world.run_jobs()
    assert (studies_of(hub, chest), studies_of(hub, alone)) == ([CHEST], [ABDOMEN])
    assert world.case(chest).body_region == "CHEST"
    assert world.case(alone).body_region == "ABDOMEN"
    assert sorted(offer.case_id for offer in reading.offers_of(hub, wang)) == sorted([chest, alone])
    with pytest.raises(WrongState):
        separate_study(hub, li, alone, ABDOMEN, "again")
    with pytest.raises(NotFound):
        separate_study(hub, li, chest, ABDOMEN, "again")


def test_nothing_is_joined_or_separated_once_somebody_has_claimed(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str
):
    reading.claim(hub, wang, world.open_task(chest).reading_task_id)
    for one, other in ((chest, abdomen), (abdomen, chest)):
        with pytest.raises(WrongState):
            join_cases(hub, li, one, other, "一次扫描")
    reading.release(hub, wang, world.open_task(chest).reading_task_id, "110513")
    with pytest.raises(WrongState):
        join_cases(hub, li, chest, abdomen, "一次扫描")  # a draft may be there


def test_only_one_patients_studies_of_one_modality_are_joined(world: World, hub: Hub, li: Viewer, chest: str):
    mr = arrive(world, "1.2.5", modalities=["MR"], accession_number="A3")
    with hub.transaction() as session:
        session.add(Patient(patient_id="patient-2", site_id=SITE, patient_number="P2", name="李四", sex="F"))
    foreign = arrive(world, "1.2.6", patient_id="patient-2", accession_number="A4")
    woman = arrive(world, "1.2.7", patient_sex="F", accession_number="A5")
    man = arrive(world, "1.2.8", patient_sex="M", accession_number="A6")
    for one, other in ((chest, mr), (chest, foreign), (chest, chest), (woman, man)):
        with pytest.raises(MayNotBeJoined):
            join_cases(hub, li, one, other, "一次扫描")
    with pytest.raises(NotFound):
        join_cases(hub, li, chest, "forged", "一次扫描")
    with pytest.raises(Invalid):
        join_cases(hub, li, chest, man, " ")
    assert {one.case_id for one in clinic.study_view(hub, li, SITE, CHEST).partners} == {woman, man}


def test_one_order_that_names_both_joins_them_by_itself(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order())
    first = world.arrive(CHEST)
    second = arrive(world, ABDOMEN, body_part="ABDOMEN")  # under the same accession number
    assert studies_of(hub, first) == [CHEST, ABDOMEN]
    assert world.case(second).state == CaseState.CANCELLED
    assert [offer.case_id for offer in reading.offers_of(hub, wang)] == [first]


def test_a_study_without_a_number_finds_its_order_by_its_uid_and_joins_nothing(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(accession_number="A9", study_uid=ABDOMEN))
    world.arrive(CHEST)
    second = arrive(world, ABDOMEN, accession_number="")
    assert world.case(second).state == CaseState.OFFERED
    assert len(desk_views.case_view(hub, wang, second).orders) == 1


def test_an_order_that_comes_later_joins_them_too(world: World, hub: Hub, wang: Viewer):
    first = world.arrive(CHEST)
    second = arrive(world, ABDOMEN, body_part="ABDOMEN")
    assert world.case(second).state == CaseState.OFFERED  # one number alone joins nothing
    hand_in(hub, order())
    world.run_jobs()
    assert studies_of(hub, first) == [CHEST, ABDOMEN]


def test_what_a_person_separated_no_order_joins_again(world: World, hub: Hub, wang: Viewer, chen: Viewer):
    hand_in(hub, order())
    first = world.arrive(CHEST)
    arrive(world, ABDOMEN)
    separate_study(hub, chen, first, ABDOMEN, "两份报告")
    hand_in(hub, order(version=2, history="more"))
    world.catalogue(ABDOMEN, revision=2)
    assert studies_of(hub, first) == [CHEST]


def test_a_study_that_comes_after_the_claim_stays_a_case_of_its_own(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order())
    first = world.arrive(CHEST)
    reading.claim(hub, wang, world.open_task(first).reading_task_id)
    second = arrive(world, ABDOMEN)
    assert world.case(second).state == CaseState.OFFERED


def test_doubts_and_what_was_confirmed_go_with_the_study(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str
):
    hand_in(hub, order(**OTHER, accession_number="A2"))
    world.run_jobs()
    assert world.case(abdomen).state == CaseState.READY
    join_cases(hub, li, chest, abdomen, "一次扫描")
    world.run_jobs()
    assert world.case(chest).state == CaseState.READY
    assert world.offered_to(chest, wang) == []
    alone = separate_study(hub, li, chest, ABDOMEN, "分开")
    world.run_jobs()
    assert world.offered_to(chest, wang) == ["wang"]
    assert world.case(alone).identity_doubted_at is not None


def test_late_images_of_a_joined_study_reach_the_case_that_reads_it(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str
):
    join_cases(hub, li, chest, abdomen, "一次扫描")
    world.run_jobs()
    reading.claim(hub, wang, world.open_task(chest).reading_task_id)
    assert world.declare(ABDOMEN, revision=2) == chest
    world.catalogue(ABDOMEN, revision=2)
    assert world.case(chest).images_unacknowledged


def test_lists_of_what_needs_attention_tell_of_a_case_once(
    world: World, hub: Hub, hub_clock: SteerableClock, chen: Viewer, chest: str, abdomen: str
):
    join_cases(hub, chen, chest, abdomen, "一次扫描")
    world.run_jobs()
    hub_clock.advance(3 * 24 * 3600)
    escalating.escalate_due(hub)
    assert [one.study_uid for one in attention.stuck(hub, chen) if one.kind == "late"] == [CHEST]
    told = [one.kind for one in escalating.list_escalations(hub, chen)]
    assert len(told) == len(set(told)) > 0


@pytest.mark.parametrize("round_", range(3))
def test_a_claim_and_a_joining_at_once_leave_one_of_them_out(
    world: World, hub: Hub, wang: Viewer, li: Viewer, chest: str, abdomen: str, round_: int
):
    task_id = world.open_task(abdomen).reading_task_id
    outcomes = at_once(
        lambda: join_cases(hub, li, chest, abdomen, "一次扫描"), lambda: reading.claim(hub, wang, task_id)
    )
    joined, claimed = (outcome is None for outcome in outcomes)
    assert joined != claimed
    assert studies_of(hub, chest) == ([CHEST, ABDOMEN] if joined else [CHEST])
    assert world.case(abdomen).state == (CaseState.CANCELLED if joined else CaseState.READING)


def test_two_who_join_each_others_case_at_once_lose_no_study(
    world: World, hub: Hub, li: Viewer, chest: str, abdomen: str
):
    outcomes = at_once(
        lambda: join_cases(hub, li, chest, abdomen, "一次扫描"), lambda: join_cases(hub, li, abdomen, chest, "一次扫描")
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sorted([*studies_of(hub, chest), *studies_of(hub, abdomen)]) == [CHEST, ABDOMEN]
    assert sorted([world.case(chest).state, world.case(abdomen).state])[0] == CaseState.CANCELLED


def at_once(*acts: Callable[[], object]) -> list[HubError | None]:
    """Do all of it at the same moment; return what each was refused with."""
    outcomes: list[HubError | None] = [None] * len(acts)
    together = threading.Barrier(len(acts))

    def do(place: int) -> None:
        together.wait()
        try:
            acts[place]()
        except HubError as refused:
            outcomes[place] = refused

    threads = [threading.Thread(target=do, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
