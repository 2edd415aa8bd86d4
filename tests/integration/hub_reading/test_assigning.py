"""A coordinator sees who may read a case and why the others may not, and gives it to one of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Offer, Physician
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Reason
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden, Invalid, NotFound, NotOffered, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning, escalating, routing
from reading_queue.services.routing.assigning import MayNotBeAssigned
from storage.contract.lanes import Lane
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def coordinator(world: World) -> Viewer:
    """Who oversees the county."""
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


def give(hub: Hub, coordinator: Viewer, case_id: str, name: str) -> None:
    assigning.assign(hub, coordinator, case_id, f"physician-{name}", "熟悉此病例")


def expire_licence(hub: Hub, name: str) -> None:
    with hub.transaction() as session:
        own = update(Physician).where(Physician.physician_id == f"physician-{name}")
        session.execute(own.values(licence_valid_until=date(2020, 1, 1)))


def test_everybody_is_listed_with_their_place_or_with_every_reason(world: World, hub: Hub, coordinator: Viewer):
    for name, duty_s in (("wen", 3600), ("off", 0), ("lapsed", 0)):
        world.add_physician(name, duty_s=duty_s)
    world.add_physician("elsewhere", organisation=COUNTY)
    expire_licence(hub, "lapsed")
    case_id = world.arrive()
    found = assigning.list_candidates(hub, coordinator, case_id)
    told = {one.physician_id.removeprefix("physician-"): one for one in found.candidates}
    assert (told["wen"].place, told["wen"].offered, told["wen"].reasons) == (1, True, ())
    assert (told["off"].place, told["off"].reasons, told["off"].words) == (None, (Reason.OFF_DUTY,), ("不在班",))
    assert told["off"].assignable
    assert set(told["lapsed"].reasons) == {Reason.LICENCE_EXPIRED, Reason.OFF_DUTY}
    assert not told["lapsed"].assignable
    assert "elsewhere" not in told, "no agreement names that hospital"
    (decision,) = found.decisions
    assert decision.offered_to == ("Wen",)
    assert decision.excluded == {"off_duty": 2, "licence_expired": 1}


def test_who_is_chosen_is_asked_alone_until_the_offer_has_run_out(
    world: World, hub: Hub, hub_clock: SteerableClock, coordinator: Viewer
):
    names = ("wen", "second", "third")
    for name in names:
        world.add_physician(name)
    late = world.add_physician("late", duty_s=0)
    case_id = world.arrive()
    give(hub, coordinator, case_id, "late")
    with hub.transaction() as session:
        offer = session.scalars(select(Offer).where(Offer.state == "open")).one()
        assert (offer.physician_id, offer.why["assigned_by"]) == ("physician-late", "chen")
        assert (offer.why["reason"], offer.why["set_aside"]) == ("熟悉此病例", ["off_duty"])
    routing.route(hub, world.open_task(case_id).reading_task_id)
    assert world.offered_to(case_id, late, *map(world.viewer, names)) == ["late"]
    hub_clock.advance(1)
    give(hub, coordinator, case_id, "wen")
    with pytest.raises(NotOffered):
        reading.claim(hub, late, world.open_task(case_id).reading_task_id)
    reading.claim(hub, world.viewer("wen"), world.open_task(case_id).reading_task_id)
    assert world.case(case_id).state == CaseState.READING
    with pytest.raises(WrongState):
        give(hub, coordinator, case_id, "second")
    assert assigning.list_candidates(hub, coordinator, case_id).holder == "Wen"


def test_nobody_is_given_a_case_against_agreement_licence_or_room(world: World, hub: Hub, coordinator: Viewer):
    wen = world.add_physician("wen")
    world.add_physician("lapsed")
    world.add_physician("full", wip_max=0)
    world.add_physician("elsewhere", organisation=COUNTY)
    expire_licence(hub, "lapsed")
    case_id = world.arrive()
    for name in ("lapsed", "full", "elsewhere", "forged"):
        with pytest.raises(MayNotBeAssigned):
            give(hub, coordinator, case_id, name)
    with pytest.raises(Invalid):
        assigning.assign(hub, coordinator, case_id, "physician-wen", "  ")
    with pytest.raises(Forbidden):
        give(hub, wen, case_id, "wen")
    with pytest.raises(NotFound):
        give(hub, replace(coordinator, organisation_id="nowhere"), case_id, "wen")
    with pytest.raises(NotFound):
        assigning.list_candidates(hub, coordinator, "forged")


def test_a_case_for_which_nobody_could_be_asked_is_given_to_who_is_off_duty(
    world: World, hub: Hub, coordinator: Viewer
):
    world.add_physician("off", duty_s=0)
    case_id = world.arrive(lane=Lane.STAT)
    assert [one.kind for one in escalating.list_escalations(hub, coordinator)] == [Escalation.NOBODY]
    give(hub, coordinator, case_id, "off")
    assert escalating.list_escalations(hub, coordinator) == ()
    assert (world.case(case_id).state, world.case(case_id).unroutable_reason) == (CaseState.OFFERED, None)


def test_a_second_physician_is_chosen_for_the_verification_but_never_the_author(
    world: World, hub: Hub, coordinator: Viewer
):
    author = world.add_physician("author")
    world.add_physician("second")
    case_id = world.arrive()
    world.submit(author, case_id)
    with pytest.raises(MayNotBeAssigned):
        give(hub, coordinator, case_id, "author")
    give(hub, coordinator, case_id, "second")
    assert world.offered_to(case_id, author, world.viewer("second")) == ["second"]
    assert world.case(case_id).state == CaseState.PENDING_REVIEW
