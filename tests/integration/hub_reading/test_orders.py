"""Orders of the clinics: kept once, joined to the case of their study, shown to its reader."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from reading_queue.db.tables import ClinicOrder
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.orders import orders
from reading_queue.services.reading import desk_views
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.orders import Order
from storage.contract.wire import OrderBatch, OrdersAnswer
from tests.integration.hub_reading.world import SITE, World

pytestmark = pytest.mark.postgres

GATEWAY = GatewayIdentity(gateway_id="gateway-1", site_id=SITE)
NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
FIELDS: dict[str, Any] = {
    "order_id": "a" * 32,
    "version": 1,
    "site_id": SITE,
    "accession_number": "A1",  # of the study that `world.arrive` brings
    "study_uid": "2.25.77",
    "origin": "console",
    "patient_number": "P1",
    "patient_name": "张伟",
    "sex": "M",
    "birth_date": date(1960, 5, 1),
    "modality": "CT",
    "procedure_name": "胸部平扫",
    "history": "咳嗽2周",
    "question": "排除肺炎",
    "scheduled_at": NOW,
    "entered_by": "t1",
    "entered_at": NOW,
    "changed_at": NOW,
}


def order(**changed: Any) -> Order:
    return Order.model_validate(FIELDS | changed)


def hand_in(hub: Hub, *given: Order, gateway: GatewayIdentity = GATEWAY) -> OrdersAnswer:
    return orders.accept_orders(hub, gateway, OrderBatch(orders=given))


def differs(hub: Hub) -> list[str] | None:
    with hub.transaction() as session:
        return session.get_one(ClinicOrder, "a" * 32).differs


def test_an_order_handed_in_again_is_kept_once(world: World, hub: Hub):
    for _ in range(2):
        assert hand_in(hub, order()).accepted == ("a" * 32,)
    page = orders.orders_for_site(hub, SITE, 0)
    assert page.orders == (order(),)
    assert orders.orders_for_site(hub, SITE, page.through).orders == ()


def test_an_older_version_never_replaces_a_newer_one(world: World, hub: Hub):
    hand_in(hub, order(version=2, history="new"))
    assert hand_in(hub, order(version=1, history="old")).accepted == ("a" * 32,)
    assert orders.orders_for_site(hub, SITE, 0).orders[0].history == "new"


def test_another_text_of_the_same_version_is_refused_in_words(world: World, hub: Hub):
    hand_in(hub, order())
    (refusal,) = hand_in(hub, order(history="someone else's")).refused
    assert (refusal.code, refusal.version) == ("changed_elsewhere", 1)
    assert orders.orders_for_site(hub, SITE, 0).orders[0].history == FIELDS["history"]


def test_one_refused_order_holds_up_no_other(world: World, hub: Hub):
    hand_in(hub, order())
    taken = order(order_id="b" * 32)
    foreign = order(order_id="c" * 32, site_id="elsewhere", accession_number="A3")
    fine = order(order_id="d" * 32, accession_number="A4")
    answer = hand_in(hub, taken, foreign, fine)
    assert answer.accepted == ("d" * 32,)
    assert [one.code for one in answer.refused] == ["accession_taken", "other_site"]


def test_a_site_sees_and_changes_its_own_orders_only(world: World, hub: Hub):
    hand_in(hub, order())
    stranger = GatewayIdentity(gateway_id="gateway-2", site_id="elsewhere")
    assert orders.orders_for_site(hub, "elsewhere", 0).orders == ()
    (refusal,) = hand_in(hub, order(version=2, site_id="elsewhere"), gateway=stranger).refused
    assert refusal.code == "other_site"


@pytest.mark.parametrize("order_first", [True, False])
def test_the_reader_sees_history_and_question(world: World, hub: Hub, wang: Viewer, *, order_first: bool):
    if order_first:
        hand_in(hub, order())
    case_id = world.arrive()
    if not order_first:
        hand_in(hub, order())
    (view,) = desk_views.case_view(hub, wang, case_id).orders
    assert (view.history, view.question, view.differs) == ("咳嗽2周", "排除肺炎", ())
    assert world.hops(case_id).count(Hop.ORDER_MATCHED) == 1


@pytest.mark.parametrize("order_first", [True, False])
def test_an_urgent_order_hurries_its_case(world: World, hub: Hub, wang: Viewer, *, order_first: bool):
    urgent = order(lane="urgent")
    if order_first:
        hand_in(hub, urgent)
    case_id = world.arrive()
    if not order_first:
        hand_in(hub, urgent)
        world.run_jobs()
    case = world.case(case_id)
    assert (case.lane, case.state) == (Lane.URGENT, CaseState.OFFERED)
    assert case.due_at - case.exam_started_at == timedelta(minutes=90)


def test_a_routine_order_slows_no_stat_case_down(world: World, hub: Hub, wang: Viewer):
    case_id = world.arrive(lane=Lane.STAT)
    hand_in(hub, order())
    assert world.case(case_id).lane == Lane.STAT


def test_what_does_not_agree_is_shown_and_holds_nothing_up(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(patient_number="P9", patient_name="李四", sex="F", birth_date=date(1961, 5, 1), lane="stat"))
    case_id = world.arrive()
    assert world.case(case_id).state == CaseState.OFFERED
    (view,) = desk_views.case_view(hub, wang, case_id).orders
    assert view.differs == ("patient_number", "patient_name", "birth_date", "sex")


def test_what_one_side_does_not_know_is_no_difference(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(patient_name_latin="ZHANG^WEI", birth_date=None, sex=""))
    world.arrive()
    assert differs(hub) == []


def test_the_given_uid_finds_the_study_when_the_scanner_lost_the_number(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(accession_number="A2", study_uid="1.2.3"))
    case_id = world.arrive()
    assert len(desk_views.case_view(hub, wang, case_id).orders) == 1


def test_an_order_that_takes_an_imported_studys_uid_later_finds_it(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(accession_number="A2"))
    case_id = world.arrive()
    assert desk_views.case_view(hub, wang, case_id).orders == ()
    hand_in(hub, order(accession_number="A2", study_uid="1.2.3", version=2, state="done", patient_number="P9"))
    (view,) = desk_views.case_view(hub, wang, case_id).orders
    assert view.differs == ("patient_number",)


def test_a_cancelled_order_is_not_shown_and_hurries_nothing(world: World, hub: Hub, wang: Viewer):
    hand_in(hub, order(state="cancelled", state_reason="重复", lane="urgent"))
    case_id = world.arrive()
    assert world.case(case_id).lane == Lane.ROUTINE
    assert desk_views.case_view(hub, wang, case_id).orders == ()


def test_a_changed_order_is_told_to_every_gateway_of_the_site_again(world: World, hub: Hub):
    hand_in(hub, order(), order(order_id="b" * 32, accession_number="A2"))
    through = orders.orders_for_site(hub, SITE, 0).through
    hand_in(hub, order(version=2, history="more"))
    assert [one.order_id for one in orders.orders_for_site(hub, SITE, through).orders] == ["a" * 32]


EXAMINED = {
    "state": "done",
    "exam_started_at": NOW + timedelta(minutes=5),
    "exam_ended_at": NOW + timedelta(minutes=9),
    "expected_instances": 120,
}


@pytest.mark.parametrize("exam_first", [True, False])
@pytest.mark.parametrize("text_version", [2, 3])
def test_the_scanners_report_and_a_change_of_the_text_never_take_each_other_back(
    world: World, hub: Hub, text_version: int, *, exam_first: bool
) -> None:
    hand_in(hub, order())
    examined = order(version=2, **EXAMINED)
    typed = order(version=text_version, history="发热3天")
    for one in (examined, typed) if exam_first else (typed, examined):
        assert hand_in(hub, one).accepted == ("a" * 32,)
    (held,) = orders.orders_for_site(hub, SITE, 0).orders
    assert (held.state, held.expected_instances, held.exam_ended_at) == ("done", 120, EXAMINED["exam_ended_at"])
    assert (held.history, held.version) == ("发热3天", text_version + 1)
    for one in (examined, typed):  # again: nothing changes any more
        assert hand_in(hub, one).accepted == ("a" * 32,)
    assert orders.orders_for_site(hub, SITE, 0).orders == (held,)


def test_an_order_that_was_cancelled_while_it_was_examined_was_examined(world: World, hub: Hub) -> None:
    hand_in(hub, order(), order(version=2, **EXAMINED))
    hand_in(hub, order(version=3, state="cancelled", state_reason="no show"))
    (held,) = orders.orders_for_site(hub, SITE, 0).orders
    assert (held.state, held.state_reason, held.version) == ("done", "", 4)
