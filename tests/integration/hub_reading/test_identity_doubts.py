"""Order and images that are not of one person: what can wait is held, emergencies go on with a warning."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import select, update

from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Account
from reading_queue.domain.identity import Mismatch, Settlement
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import IdentityInDoubt, IdentityUnconfirmed, Invalid, NotFound, NotOffered, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import clinic
from reading_queue.services.hub import Hub
from reading_queue.services.motion import sweeps
from reading_queue.services.orders import orders
from reading_queue.services.patients import identity_settling
from reading_queue.services.patients.identity_settling import PersonOfOrder
from reading_queue.services.patients.identity_views import DoubtView
from reading_queue.services.reading import desk_views, reading
from reading_queue.services.routing import assigning
from storage.catalogue.tables import Patient
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.national_id import IdentityKind
from storage.ledger.tables import AuditEvent
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, TEXT, World

pytestmark = pytest.mark.postgres

OTHER: dict[str, Any] = {"patient_name": "李四", "sex": "F"}
FITS = PersonOfOrder(patient_name="张伟", birth_date=date(1960, 5, 1), sex="M")


@pytest.fixture
def li(world: World, hub: Hub) -> Viewer:
    """A technician of the clinic."""
    return add_account(hub, "li", Role.TECHNICIAN, SITE)


@pytest.fixture
def chen(world: World, hub: Hub) -> Viewer:
    """A coordinator of the county."""
    return add_account(hub, "chen", Role.COORDINATOR, COUNTY)


def add_account(hub: Hub, name: str, role: Role, organisation: str, site_id: str | None = SITE) -> Viewer:
    now = hub.clock()
    with hub.transaction() as session:
        session.add(
            Account(
                account_id=name,
                login=name,
                display_name=name.title(),
                password_hash="-",
                role=role,
                organisation_id=organisation,
                created_at=now,
            )
        )
    at_site = site_id if role is Role.TECHNICIAN else None
    return Viewer(name, name, name.title(), role, organisation, at_site, None, "zh", now)


def doubts(hub: Hub, viewer: Viewer, study_uid: str = "1.2.3") -> tuple[DoubtView, ...]:
    return clinic.study_view(hub, viewer, SITE, study_uid).doubts


def the_doubt(hub: Hub, viewer: Viewer) -> str:
    (doubt,) = (one for one in doubts(hub, viewer) if one.ended_at is None)
    return doubt.conflict_id


def audited(hub: Hub) -> list[str]:
    with hub.transaction() as session:
        events = select(AuditEvent.detail["event"].as_string()).where(AuditEvent.object_kind == "case")
        return [event for event in session.scalars(events) if event is not None]


@pytest.mark.parametrize("order_first", [True, False])
def test_a_routine_case_of_two_persons_is_offered_to_nobody(
    world: World, hub: Hub, wang: Viewer, li: Viewer, *, order_first: bool
):
    if order_first:
        hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    if not order_first:
        assert world.offered_to(case_id, wang) == ["wang"]
        hand_in(hub, order(**OTHER))
    world.run_jobs()
    assert world.case(case_id).state == CaseState.READY
    assert world.offered_to(case_id, wang) == []
    with pytest.raises(NotOffered):
        reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    (doubt,) = doubts(hub, li)
    assert doubt.mismatches == (Mismatch.NAME, Mismatch.SEX)
    assert doubt.holds
    assert (doubt.in_order.name, doubt.in_images.name) == ("李四", "张伟")
    assert Hop.IDENTITY_DOUBTED in world.hops(case_id)


@pytest.mark.parametrize("lane", [Lane.STAT, Lane.URGENT])
def test_an_emergency_is_never_held_and_its_reader_is_warned(world: World, hub: Hub, wang: Viewer, lane: Lane):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive(lane=lane)
    assert world.offered_to(case_id, wang) == ["wang"]
    view = desk_views.case_view(hub, wang, case_id)
    assert view.is_doubted
    assert not view.doubts[0].holds


def test_a_held_case_that_becomes_an_emergency_is_offered_at_once(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    hand_in(hub, order(**OTHER, lane="stat", version=2))
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]


def test_sweeps_leave_a_held_case_alone(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(**OTHER))
    world.arrive()
    world.wipe_outbox()
    assert sweeps.relaunch_lost(hub) == 0


def test_a_coordinator_cannot_assign_what_is_held(world: World, hub: Hub, wang: Viewer, chen: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    with pytest.raises(IdentityInDoubt):
        assigning.assign(hub, chen, case_id, wang.physician_id, "he knows her")


@pytest.mark.parametrize("who", ["li", "chen"])
def test_who_confirms_that_it_is_one_person_lets_the_case_go(
    world: World, hub: Hub, wang: Viewer, who: str, request: pytest.FixtureRequest
):
    viewer = request.getfixturevalue(who)
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    conflict_id = the_doubt(hub, viewer)
    for _ in range(2):  # twice is the same
        identity_settling.confirm_identity(hub, viewer, conflict_id, "已电话核对")
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    (doubt,) = doubts(hub, viewer)
    assert (doubt.settlement, doubt.ended_by, doubt.reason) == (Settlement.CONFIRMED, who.title(), "已电话核对")
    assert audited(hub).count("identity_settled") == 1
    assert world.hops(case_id).count(Hop.IDENTITY_SETTLED) == 1


def test_what_was_confirmed_is_asked_again_only_when_it_changes(world: World, hub: Hub, wang: Viewer, li: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    identity_settling.confirm_identity(hub, li, the_doubt(hub, li), "已电话核对")
    hand_in(hub, order(**OTHER, version=2, history="more"))
    world.catalogue("1.2.3", revision=2)
    assert world.case(case_id).identity_doubted_at is None
    hand_in(hub, order(patient_name="王五", sex="F", version=3, history="more"))
    assert world.case(case_id).identity_doubted_at is not None
    assert len(doubts(hub, li)) == 2


def test_an_unlinked_order_is_not_shown_and_the_study_is_read_without_it(
    world: World, hub: Hub, wang: Viewer, li: Viewer
):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    identity_settling.unlink_order(hub, li, the_doubt(hub, li), "登记时选错了人")
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    assert desk_views.case_view(hub, wang, case_id).orders == ()
    hand_in(hub, order(**OTHER, version=2, history="more"))
    assert world.case(case_id).identity_doubted_at is None
    assert desk_views.case_view(hub, wang, case_id).orders == ()


def test_a_corrected_order_ends_the_doubt_and_goes_to_the_gateways(world: World, hub: Hub, wang: Viewer, li: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    through = orders.orders_for_site(hub, SITE, 0).through
    conflict_id = the_doubt(hub, li)
    identity_settling.correct_order(hub, li, conflict_id, PersonOfOrder("张伟", None, "F"), "查过身份证")
    assert world.case(case_id).identity_doubted_at is not None  # the sex is still another one
    identity_settling.correct_order(hub, li, conflict_id, FITS, "查过身份证")
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    (held,) = orders.orders_for_site(hub, SITE, through).orders
    assert (held.patient_name, held.sex, held.version) == ("张伟", "M", 3)
    (doubt,) = doubts(hub, li)
    assert (doubt.settlement, doubt.reason) == (Settlement.CORRECTED, "查过身份证")


def test_a_correction_that_contradicts_itself_is_refused_in_words(world: World, hub: Hub, wang: Viewer, li: Viewer):
    hand_in(hub, order(**OTHER))
    world.arrive()
    wrong = PersonOfOrder("张伟", date(1960, 5, 1), "M", IdentityKind.RESIDENT, "110105194912310021")
    with pytest.raises(Invalid, match="last character"):
        identity_settling.correct_order(hub, li, the_doubt(hub, li), wrong, "typed")


def test_an_order_that_the_clinic_corrects_ends_the_doubt_by_itself(world: World, hub: Hub, wang: Viewer, li: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    hand_in(hub, order(version=2))
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    assert doubts(hub, li)[0].settlement is Settlement.AGREED


def test_an_order_that_moves_to_another_study_takes_its_doubt_along(world: World, hub: Hub, wang: Viewer, li: Viewer):
    hand_in(hub, order(**OTHER))
    case_id = world.arrive()
    hand_in(hub, order(**OTHER, version=2, accession_number="A7"))
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]
    assert doubts(hub, li)[0].settlement is Settlement.AGREED


def test_only_who_follows_the_case_settles_its_doubt_and_only_with_a_reason(
    world: World, hub: Hub, wang: Viewer, li: Viewer
):
    stranger = add_account(hub, "stranger", Role.TECHNICIAN, CITY, site_id="elsewhere")
    hand_in(hub, order(**OTHER))
    world.arrive()
    conflict_id = the_doubt(hub, li)
    with pytest.raises(NotFound):
        identity_settling.confirm_identity(hub, stranger, conflict_id, "mine")
    with pytest.raises(Invalid):
        identity_settling.confirm_identity(hub, li, conflict_id, "  ")
    identity_settling.confirm_identity(hub, li, conflict_id, "checked")
    with pytest.raises(WrongState):
        identity_settling.unlink_order(hub, li, conflict_id, "no")


def test_images_whose_patient_id_is_a_broken_national_id_wait_without_any_order(
    world: World, hub: Hub, wang: Viewer, li: Viewer
):
    with hub.transaction() as session:
        session.execute(update(Patient).values(patient_number="110105194912310021"))  # the last should be an X
    case_id = world.arrive()
    (doubt,) = doubts(hub, li)
    assert (doubt.mismatches, doubt.in_order) == ((Mismatch.ID_CHECKSUM,), None)
    with pytest.raises(Invalid):
        identity_settling.unlink_order(hub, li, doubt.conflict_id, "no")
    identity_settling.confirm_identity(hub, li, doubt.conflict_id, "登记号抄错")
    world.run_jobs()
    assert world.offered_to(case_id, wang) == ["wang"]


def test_nobody_signs_over_a_doubt_that_came_up_while_reading(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = world.arrive()
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    hand_in(hub, order(**OTHER))
    assert world.case(case_id).state == CaseState.READING
    reading.acknowledge_orders(hub, wang, task_id, world.told(case_id))
    with pytest.raises(IdentityUnconfirmed):
        reading.submit(hub, wang, task_id, TEXT)
    reading.submit(hub, wang, task_id, TEXT, confirm_identity=True)
    assert world.case(case_id).identity_doubted_at is not None  # the verifier is asked as well
    world.run_jobs()
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    with pytest.raises(IdentityUnconfirmed):
        reading.sign(hub, zhao, review_id, None, confirm=True)
    reading.sign(hub, zhao, review_id, None, confirm_identity=True)
    assert audited(hub).count("signed_over_identity") == 2
    with hub.transaction() as session:
        (row,) = session.scalars(select(IdentityConflict))
    assert (row.settlement, row.ended_by) == (Settlement.SIGNED, "zhao")
    assert world.case(case_id).identity_doubted_at is None


def test_an_emergencys_author_submits_at_once_and_its_verifier_confirms(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer
):
    hand_in(hub, order(**OTHER, lane="stat"))
    case_id = world.arrive()
    world.submit(wang, case_id)
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    with pytest.raises(IdentityUnconfirmed):
        reading.sign(hub, zhao, review_id, None)
    reading.sign(hub, zhao, review_id, None, confirm_identity=True)
    assert world.case(case_id).state == CaseState.FINAL
