"""Orders made at the hub, and which of them are of which study: proposed by likeness, decided by people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from reading_queue.db.tables import ClinicOrder
from reading_queue.domain.order_matching import SamePatient
from reading_queue.domain.roles import Role
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import withdrawals
from reading_queue.services.hub import Hub
from reading_queue.services.orders import order_entry, order_matching, orders, unmatched
from reading_queue.services.orders.order_entry import Consent, Wanted
from reading_queue.services.orders.unmatched import NextStep
from reading_queue.services.reading import desk_views
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.orders import Order, OrderOrigin, OrderState
from storage.ledger.tables import AuditEvent
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STUDY = "1.2.3"  # that `world.arrive` brings: accession number A1, patient P1 张伟
TYPED: dict[str, Any] = {
    "patient_number": "P1",
    "patient_name": "张伟",
    "sex": "M",
    "birth_date": "1960-05-01",
    "modality": "CT",
    "procedure_name": "胸部平扫",
    "history": "咳嗽2周",
    "question": "排除肺炎",
}


@pytest.fixture
def clinic(world: World, hub: Hub, wang: Viewer) -> Viewer:
    """A technician of the site; the account is the physician's, which is enough for rows that name one."""
    return replace(wang, role=Role.TECHNICIAN, organisation_id=SITE, site_id=SITE, physician_id=None)


def enter(hub: Hub, clinic: Viewer, *, study_uid: str | None = None, consent: bool = True, **changed: Any) -> Order:
    agreed = Consent("患者本人", hub.clock()) if consent else None
    wanted = Wanted(SITE, TYPED | changed, agreed, study_uid=study_uid)
    return order_entry.enter_order(hub, clinic, wanted)


def waiting(hub: Hub, clinic: Viewer) -> unmatched.Unmatched:
    return unmatched.list_unmatched(hub, clinic)


def faults_of(hub: Hub, clinic: Viewer, **changed: Any) -> dict[str, str]:
    with pytest.raises(order_entry.OrderNotAcceptable) as refused:
        enter(hub, clinic, **changed)
    return {fault.field: fault.code for fault in refused.value.faults}


def test_gateways_of_the_site_fetch_an_order_that_was_made_at_the_hub(hub: Hub, clinic: Viewer):
    made = enter(hub, clinic)
    assert orders.orders_for_site(hub, SITE, 0).orders == (made,)
    assert (made.origin, made.state, made.consent_recorded) == (OrderOrigin.HUB, OrderState.SCHEDULED, True)
    assert "HUBU" in made.accession_number
    sheet = order_entry.show_order(hub, clinic, made.order_id)
    assert sheet.consent == Consent("患者本人", hub.clock())


def test_the_same_sheet_twice_is_one_order(hub: Hub, clinic: Viewer):
    wanted = Wanted(SITE, TYPED, Consent("患者本人", hub.clock()), order_id="a" * 32)
    made = {order_entry.enter_order(hub, clinic, wanted).order_id for _ in range(2)}
    other = order_entry.enter_order(hub, clinic, replace(wanted, fields=TYPED | {"history": "发热"}))
    assert made == {"a" * 32}
    assert other.order_id not in made


def test_what_is_wrong_is_named_field_by_field(hub: Hub, clinic: Viewer):
    wrong = {"identity_kind": "resident", "identity_number": "110105194912310021", "modality": "??", "sex": "X"}
    found = faults_of(hub, clinic, **wrong)
    assert found["identity_number"] == "national_id_checksum"
    assert found["modality"] == "modality_unknown"
    assert found["sex"] == "literal_error"
    # This one proves; it is of a woman born on 31 December 1949.
    right = {"identity_kind": "resident", "identity_number": "11010519491231002X", "sex": "", "birth_date": None}
    assert enter(hub, clinic, **right).identity_number == "11010519491231002X"
    assert faults_of(hub, clinic, **right | {"birth_date": "1960-05-01"}) == {"birth_date": "birth_date_differs"}
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(ClinicOrder)) == 1


def test_consent_needs_a_name_and_a_time_that_has_passed(hub: Hub, clinic: Viewer):
    late = Consent(" ", hub.clock() + timedelta(hours=1))
    with pytest.raises(order_entry.OrderNotAcceptable) as refused:
        order_entry.enter_order(hub, clinic, Wanted(SITE, TYPED, late))
    assert {fault.field for fault in refused.value.faults} == {"consent_given_by", "consent_at"}


def test_what_a_routine_order_lacks_is_asked_and_an_emergency_is_not(hub: Hub, clinic: Viewer):
    with pytest.raises(order_entry.OrderGapsUnconfirmed) as asked:
        enter(hub, clinic, consent=False, history="")
    assert set(asked.value.gaps) == {"history", "consent"}
    assert enter(hub, clinic, consent=False, history="", lane="stat").lane == "stat"


def test_nobody_orders_for_a_site_that_is_not_theirs(hub: Hub, clinic: Viewer):
    with pytest.raises(NotFound):
        order_entry.enter_order(hub, replace(clinic, site_id="elsewhere"), Wanted(SITE, TYPED))
    made = enter(hub, clinic)
    with pytest.raises(NotFound):
        order_entry.show_order(hub, replace(clinic, site_id="elsewhere"), made.order_id)


def test_a_cancelled_order_leaves_the_worklists_and_a_stale_version_is_refused(hub: Hub, clinic: Viewer):
    made = enter(hub, clinic)
    with pytest.raises(order_entry.StaleOrder):
        order_entry.cancel_order(hub, clinic, made.order_id, 7, "重复")
    with pytest.raises(order_entry.OrderNotAcceptable):
        order_entry.cancel_order(hub, clinic, made.order_id, 1, " ")
    for _ in range(2):
        assert order_entry.cancel_order(hub, clinic, made.order_id, 1, "重复").version == 2
    (held,) = orders.orders_for_site(hub, SITE, 0).orders
    assert (held.state, held.state_reason) == ("cancelled", "重复")


def test_likeness_is_proposed_and_joins_nothing_by_itself(world: World, hub: Hub, clinic: Viewer, wang: Viewer):
    made = enter(hub, clinic)
    case_id = world.arrive()
    found = waiting(hub, clinic)
    (proposal,) = found.proposals
    assert (proposal.order.order_id, proposal.study.study_uid) == (made.order_id, STUDY)
    assert (proposal.same, proposal.days_apart) == (SamePatient.NUMBER, 0)
    assert [one.next_step for one in (*found.orders, *found.studies)] == [NextStep.DECIDE, NextStep.DECIDE]
    assert desk_views.case_view(hub, wang, case_id).orders == ()


def test_a_person_confirms_once_however_often_and_the_reader_sees_the_order(
    world: World, hub: Hub, clinic: Viewer, wang: Viewer
):
    made = enter(hub, clinic, lane="urgent")
    case_id = world.arrive()
    for _ in range(2):
        order_matching.confirm_match(hub, clinic, made.order_id, STUDY, 1)
    assert desk_views.case_view(hub, wang, case_id).orders[0].order_id == made.order_id
    assert world.case(case_id).lane == "urgent"
    (held,) = orders.orders_for_site(hub, SITE, 0).orders
    assert (held.study_uid, held.state, held.version) == (STUDY, "done", 2)
    assert waiting(hub, clinic) == unmatched.Unmatched((), (), (), unmatched.Places())
    with hub.transaction() as session:
        confirmed = AuditEvent.detail["event"].as_string() == "match_confirmed"
        acted = session.scalars(select(AuditEvent.account_id).where(confirmed, AuditEvent.object_kind == "order"))
        assert acted.all() == [clinic.account_id]
    assert world.hops(case_id).count(Hop.ORDER_MATCHED) == 2  # the order joined, and who confirmed it


def test_a_rejected_pair_is_not_proposed_again_and_both_go_on_waiting(world: World, hub: Hub, clinic: Viewer):
    made = enter(hub, clinic)
    world.arrive()
    for _ in range(2):
        order_matching.reject_match(hub, clinic, made.order_id, STUDY, "不是同一次检查")
    found = waiting(hub, clinic)
    assert found.proposals == ()
    assert [one.next_step for one in (*found.orders, *found.studies)] == [NextStep.WAIT, NextStep.ORDER]
    order_matching.confirm_match(hub, clinic, made.order_id, STUDY, 1)  # they were wrong
    assert waiting(hub, clinic).studies == ()


def test_two_people_who_confirm_two_orders_at_once_join_one(world: World, hub: Hub, clinic: Viewer):
    made = [enter(hub, clinic), enter(hub, clinic, procedure_name="头颅平扫")]
    world.arrive()

    def confirm(one: Order) -> str:
        try:
            order_matching.confirm_match(hub, clinic, one.order_id, STUDY, 1)
        except order_entry.StudyHasOrder as refused:
            return refused.code
        return "joined"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(confirm, made * 4))
    assert sorted(set(said)) == ["joined", "study_has_order"]
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).where(ClinicOrder.study_uid == STUDY)) == 1


def test_an_order_whose_accession_number_the_study_has_needs_nobody(world: World, hub: Hub, clinic: Viewer):
    hand_in(hub, order())
    world.arrive()
    found = waiting(hub, clinic)
    assert (found.proposals, found.orders, found.studies) == ((), (), ())


def test_an_order_is_made_for_a_study_that_came_without_one(world: World, hub: Hub, clinic: Viewer, wang: Viewer):
    case_id = world.arrive()
    made = enter(hub, clinic, study_uid=STUDY)
    assert (made.study_uid, made.state) == (STUDY, OrderState.DONE)
    assert desk_views.case_view(hub, wang, case_id).orders[0].order_id == made.order_id
    assert order_entry.show_order(hub, clinic, made.order_id).study_uid == STUDY
    with pytest.raises(order_entry.StudyHasOrder):
        enter(hub, clinic, study_uid=STUDY, history="发热")


def test_an_order_for_a_dead_study_is_refused_from_everywhere(world: World, hub: Hub, clinic: Viewer):
    case_id = world.arrive()
    made = enter(hub, clinic)
    withdrawals.withdraw(hub, clinic, case_id, "不需要了")
    with pytest.raises(order_entry.StudyDead):
        enter(hub, clinic, study_uid=STUDY)
    with pytest.raises(order_entry.StudyDead):
        order_matching.confirm_match(hub, clinic, made.order_id, STUDY, 1)
    (refusal,) = hand_in(hub, order()).refused
    assert refusal.code == "study_dead"
    assert "send the images anew" in refusal.reason
    assert waiting(hub, clinic).studies == ()


OTHER = {"patient_number": "P9", "patient_name": "李四", "sex": "F", "birth_date": "1971-01-02"}


def test_a_second_order_of_another_patient_for_one_study_is_refused(world: World, hub: Hub, clinic: Viewer):
    world.arrive()
    hand_in(hub, order())
    second = OTHER | {"order_id": "b" * 32, "accession_number": "B2", "study_uid": STUDY}
    assert [one.code for one in hand_in(hub, order(**second)).refused] == ["study_of_other_patient"]
    made = enter(hub, clinic, **OTHER)
    with pytest.raises(order_entry.StudyOfOtherPatient):
        order_matching.confirm_match(hub, clinic, made.order_id, STUDY, 1)
    assert hand_in(hub, order(**second, lane="stat")).accepted == ("b" * 32,)  # shown to its reader as a doubt


def test_a_confirmation_of_an_order_that_was_changed_meanwhile_is_refused(world: World, hub: Hub, clinic: Viewer):
    hand_in(hub, order(accession_number="A2"), order(accession_number="A2", version=2, history="发热"))
    world.arrive()
    with pytest.raises(order_entry.StaleOrder):
        order_matching.confirm_match(hub, clinic, "a" * 32, STUDY, 1)
    order_matching.confirm_match(hub, clinic, "a" * 32, STUDY, 2)


def test_another_modality_day_or_patient_is_no_proposal(
    world: World, hub: Hub, clinic: Viewer, hub_clock: SteerableClock
):
    world.arrive()
    enter(hub, clinic, modality="MR")
    enter(hub, clinic, scheduled_at=(hub_clock.now - timedelta(days=9)).isoformat())
    enter(hub, clinic, **OTHER)
    found = waiting(hub, clinic)
    assert found.proposals == ()
    assert [one.next_step for one in found.orders] == [NextStep.CANCEL_OR_MATCH, NextStep.WAIT, NextStep.WAIT]


def test_a_person_by_name_birth_date_and_sex_is_proposed_under_another_number(world: World, hub: Hub, clinic: Viewer):
    world.arrive()
    enter(hub, clinic, patient_number="HIS-77")
    (proposal,) = waiting(hub, clinic).proposals
    assert proposal.same is SamePatient.PERSON


def test_an_order_that_is_due_later_is_not_late(world: World, hub: Hub, clinic: Viewer, hub_clock: SteerableClock):
    enter(hub, clinic, scheduled_at=(hub_clock.now + timedelta(days=1)).isoformat())
    assert waiting(hub, clinic).orders == ()
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 0


def test_pages_lead_through_all_that_waits_whatever_comes_meanwhile(
    world: World, hub: Hub, clinic: Viewer, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unmatched, "LISTED_MAX", 2)
    monkeypatch.setattr(unmatched, "COMPARED_MAX", 3)
    studies = [f"1.2.{number}" for number in range(3)]
    for study_uid in studies:
        world.arrive(study_uid)
    made = [enter(hub, clinic).order_id for _ in range(3)]
    made.append(enter(hub, clinic, modality="MR").order_id)  # near every study, and of none
    orders_seen: list[str] = []
    studies_seen: list[str] = []
    pairs_seen: list[tuple[str, str]] = []
    after: unmatched.Places | None = unmatched.Places()
    while after is not None:
        found = unmatched.list_unmatched(hub, clinic, after)
        orders_seen += [one.order_id for one in found.orders if one.order_id not in orders_seen]
        studies_seen += [one.study_uid for one in found.studies if one.study_uid not in studies_seen]
        pairs = [(one.order.order_id, one.study.study_uid) for one in found.proposals]
        assert not set(pairs) & set(pairs_seen)
        pairs_seen += pairs
        assert {one.next_step for one in found.studies} <= {NextStep.DECIDE}
        hub_clock.advance(1)
        enter(hub, clinic, **OTHER)
        following = found.following
        after = following if following.proposals is not None else None
    assert set(made) <= set(orders_seen)
    assert sorted(studies_seen) == studies
    assert set(pairs_seen) == {(order_id, study_uid) for order_id in made[:3] for study_uid in studies}


def test_an_order_that_was_rejected_for_one_study_is_the_order_of_another(world: World, hub: Hub, clinic: Viewer):
    made = enter(hub, clinic)
    for study_uid in (STUDY, "1.2.4"):
        world.arrive(study_uid)
    order_matching.reject_match(hub, clinic, made.order_id, STUDY, "不是同一次检查")
    order_matching.confirm_match(hub, clinic, made.order_id, "1.2.4", 1)
    assert [one.study_uid for one in waiting(hub, clinic).studies] == [STUDY]
