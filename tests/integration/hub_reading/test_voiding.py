"""A report about the wrong patient: one person says so, a second decides, and nothing that was signed is touched."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Offer, ReadingTask, Report
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden, Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.clinic import study_view
from reading_queue.services.corrections.voiding import SecondPersonNeeded, ask_to_void, decide_voiding
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reports.addenda import find_open_addendum
from storage.contract.hops import Hop
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person, signed
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World

pytestmark = pytest.mark.postgres

WHY = "影像属于另一名患者"


@pytest.fixture
def coordinator(world: World) -> Viewer:
    return person(world, "coordinator", Role.COORDINATOR, COUNTY)


def reports(hub: Hub) -> list[bytes]:
    with hub.transaction() as session:
        return list(session.scalars(select(Report.content)))


def test_two_people_declare_a_report_void_which_stays_as_it_was_signed(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer
):
    case_id = signed(world, wang, zhao)
    before = reports(hub)
    for _ in range(2):
        ask_to_void(hub, wang, case_id, WHY)
    with pytest.raises(SecondPersonNeeded):
        decide_voiding(hub, wang, case_id, is_void=True)
    assert world.case(case_id).state == CaseState.FINAL
    decide_voiding(hub, coordinator, case_id, is_void=True)
    assert world.case(case_id).state == CaseState.ENTERED_IN_ERROR
    assert reports(hub) == before
    assert world.hops(case_id)[-2:] == [Hop.VOID_ASKED, Hop.VOIDED]
    shown = study_view(hub, coordinator, SITE, "1.2.3").voiding
    assert shown is not None
    assert (shown.is_void, shown.reason, shown.asked_by) == (True, WHY, "Wang")


def test_a_void_report_is_neither_amended_nor_declared_void_again(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = signed(world, wang, zhao)
    ask_to_void(hub, wang, case_id, WHY)
    with pytest.raises(WrongState):
        reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "写错")
    decide_voiding(hub, zhao, case_id, is_void=True)
    world.catalogue("1.2.3", revision=2)
    assert world.case(case_id).state == CaseState.ENTERED_IN_ERROR
    for again in (
        lambda: ask_to_void(hub, wang, case_id, WHY),
        lambda: decide_voiding(hub, zhao, case_id, is_void=True),
        lambda: reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "写错"),
    ):
        with pytest.raises(WrongState):
            again()


def test_a_second_person_may_say_why_the_report_counts(world: World, hub: Hub, wang: Viewer, zhao: Viewer):
    case_id = signed(world, wang, zhao)
    ask_to_void(hub, wang, case_id, WHY)
    with pytest.raises(Invalid):
        decide_voiding(hub, zhao, case_id, is_void=False)
    decide_voiding(hub, zhao, case_id, is_void=False, reason="已与申请机构核对，患者无误")
    view = reading.case_view(hub, wang, case_id)
    assert view.voiding is not None
    assert (view.summary.state, view.voiding.refusal) == (CaseState.FINAL, "已与申请机构核对，患者无误")
    ask_to_void(hub, zhao, case_id, WHY)
    decide_voiding(hub, wang, case_id, is_void=True)


def test_nobody_else_says_so_and_nothing_unsigned_is_void(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer
):
    case_id = world.arrive()
    with pytest.raises(WrongState):
        ask_to_void(hub, coordinator, case_id, WHY)
    world.submit(wang, case_id)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, task_id)
    reading.sign(hub, zhao, task_id, None)
    technician = person(world, "li", Role.TECHNICIAN, SITE)
    for viewer, why in ((technician, Forbidden), (world.add_physician("other"), NotFound)):
        with pytest.raises(why):
            ask_to_void(hub, viewer, case_id, WHY)
    for viewer, forged, why in ((wang, "forged", NotFound), (wang, case_id, WrongState)):
        with pytest.raises(why):
            decide_voiding(hub, viewer, forged, is_void=True)
    with pytest.raises(Invalid):
        ask_to_void(hub, wang, case_id, " ")


@pytest.mark.parametrize("how_far", [CaseState.AMENDING, CaseState.AMENDMENT_PENDING, CaseState.AMENDMENT_REVIEWING])
def test_a_report_that_is_being_amended_is_declared_void_and_its_amendment_ends(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, coordinator: Viewer, how_far: CaseState
):
    case_id = signed(world, wang, zhao)
    before = reports(hub)
    task_id = reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "左右写反").reading_task_id
    if how_far is not CaseState.AMENDING:
        reading.submit(hub, wang, task_id, TEXT)
        world.run_jobs()
        task_id = world.open_task(case_id).reading_task_id
    if how_far is CaseState.AMENDMENT_REVIEWING:
        reading.claim(hub, zhao, task_id)
    assert world.case(case_id).state == how_far
    ask_to_void(hub, wang, case_id, WHY)
    decide_voiding(hub, zhao, case_id, is_void=False, reason="患者无误")
    assert world.case(case_id).state == how_far, "it is amended as before"
    ask_to_void(hub, wang, case_id, WHY)
    if how_far is CaseState.AMENDMENT_REVIEWING:
        with pytest.raises(WrongState, match="void"):
            reading.sign(hub, zhao, task_id, None)
    decide_voiding(hub, coordinator, case_id, is_void=True)
    assert world.case(case_id).state == CaseState.ENTERED_IN_ERROR
    with hub.transaction() as session:
        task = session.get_one(ReadingTask, task_id)
        open_offers = session.scalar(select(Offer.offer_id).where(Offer.state == "open").limit(1))
        assert (task.state, open_offers, find_open_addendum(session, case_id)) == ("canceled", None, None)
    assert reports(hub) == before
    assert Hop.AMENDMENT_CLOSED in world.hops(case_id)
