"""An order changed at the hub or by the clinic: guarded by its version, kept, told to its reader, and then no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.order_tables import OrderNews
from reading_queue.db.tables import ClinicOrder
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Invalid, NotFound, OrderChangeUnseen
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.order_book import HubBook
from reading_queue.services.orders import order_entry, orders
from reading_queue.services.orders.order_changing import OrderChange, ReportSigned, change_order, note_order
from reading_queue.services.orders.order_entry import (
    OrderGapsUnconfirmed,
    OrderNotAcceptable,
    OrderNotOpen,
    StaleOrder,
    StudyOfOtherPatient,
    cancel_order,
    show_order,
)
from reading_queue.services.reading import desk_views, reading
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.orders import Order
from storage.hl7.faults import OrderFaulty
from storage.hl7.order_message import Control, OrderRequest
from storage.ledger.tables import AuditEvent, CustodyEvent
from tests.integration.hub_reading.test_identity_doubts import chen, li
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import SITE, TEXT, World, make_study

__all__ = ["chen", "li"]

pytestmark = pytest.mark.postgres

ORDER = "a" * 32


def change(hub: Hub, viewer: Viewer, version: int, **fields: Any) -> Order:
    return change_order(hub, viewer, ORDER, version, OrderChange(fields))


@pytest.fixture
def case_id(world: World, hub: Hub, wang: Viewer, zhao: Viewer) -> str:
    """A case with its order, offered to two physicians."""
    hand_in(hub, order(consent_recorded=True))
    return world.arrive()


def sign(world: World, hub: Hub, author: Viewer, verifier: Viewer, case_id: str) -> None:
    world.submit(author, case_id)
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, verifier, review_id)
    reading.sign(hub, verifier, review_id, None)


def test_a_change_is_the_next_version_and_every_version_is_kept(world: World, hub: Hub, li: Viewer, case_id: str):
    changed = change(hub, li, 1, question="排除肺栓塞", history="咳嗽2周，咯血1天")
    assert (changed.version, changed.question, changed.patient_name) == (2, "排除肺栓塞", "张伟")
    hand_in(hub, changed.model_copy(update={"version": 3, "contact_phone": "0371-1"}))
    sheet = show_order(hub, li, ORDER)
    told = [(one.version, one.by, [(two.name, two.before, two.after) for two in one.changes]) for one in sheet.versions]
    assert told == [
        (3, "", [("contact_phone", "", "0371-1")]),
        (2, "Li", [("history", "咳嗽2周", "咳嗽2周，咯血1天"), ("question", "排除肺炎", "排除肺栓塞")]),
        (1, "", []),
    ]
    page = orders.orders_for_site(hub, SITE, 0)
    assert page.orders[0].version == 3, "the site's gateways fetch it"
    with hub.transaction() as session:
        detail = session.scalars(
            select(AuditEvent.detail).where(AuditEvent.object_id == ORDER, AuditEvent.action == "U")
        ).one()
        lines = session.scalars(
            select(CustodyEvent).where(CustodyEvent.hop == Hop.ORDER_CHANGED).order_by(CustodyEvent.event_id)
        ).all()
    assert detail == {"event": "order_changed", "version": 2, "fields": ["history", "question"]}
    assert [(line.actor, line.detail["fields"]) for line in lines] == [
        ("li", ["history", "question"]),
        (None, ["contact_phone"]),
    ]


def test_a_stale_version_is_refused_and_the_same_again_changes_nothing(
    world: World, hub: Hub, li: Viewer, chen: Viewer
):
    hand_in(hub, order(consent_recorded=True))
    first = change(hub, li, 1, question="排除肺栓塞")
    assert change(hub, li, 1, question="排除肺栓塞") == first, "a second click"
    with pytest.raises(StaleOrder):
        change(hub, chen, 1, question="排除骨折")
    assert change(hub, chen, 2, question="排除骨折").version == 3


def test_wrong_fields_are_named_and_what_a_scanner_reports_is_nobodys_to_type(world: World, hub: Hub, li: Viewer):
    hand_in(hub, order(consent_recorded=True))
    with pytest.raises(OrderNotAcceptable) as refused:
        change(hub, li, 1, sex="X", modality="ZZ")
    assert {fault.field for fault in refused.value.faults} == {"sex", "modality"}
    with pytest.raises(OrderGapsUnconfirmed):
        change(hub, li, 1, question="")
    assert change(hub, li, 1, accession_number="A9", study_uid="1.2.9", state="done").version == 1


def test_the_reader_is_told_and_signs_only_what_they_have_seen(
    world: World, hub: Hub, li: Viewer, wang: Viewer, zhao: Viewer, case_id: str
):
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    change(hub, li, 1, contact_phone="0371-2")
    assert desk_views.case_view(hub, wang, case_id).order_news == (), "nothing to read by"
    change(hub, li, 2, question="排除肺栓塞")
    (news,) = desk_views.case_view(hub, wang, case_id).order_news
    assert [(one.name, one.before, one.after) for one in news.changes] == [("question", "排除肺炎", "排除肺栓塞")]
    with pytest.raises(OrderChangeUnseen):
        reading.submit(hub, wang, task_id, TEXT)
    change(hub, li, 3, question="排除骨折")
    reading.acknowledge_orders(hub, wang, task_id, [(news.order_id, news.order_version)])
    (news,) = desk_views.case_view(hub, wang, case_id).order_news
    assert news.changes[0].after == "排除骨折", "it came after the reader was shown the case"
    with pytest.raises(OrderChangeUnseen):
        reading.submit(hub, wang, task_id, TEXT)
    reading.acknowledge_orders(hub, wang, task_id, [(news.order_id, news.order_version)])
    assert desk_views.case_view(hub, wang, case_id).order_news == ()
    reading.submit(hub, wang, task_id, TEXT)
    world.run_jobs()
    hand_in(hub, show_order(hub, li, ORDER).order.model_copy(update={"version": 5, "history": "高热"}))
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    with pytest.raises(OrderChangeUnseen):
        reading.sign(hub, zhao, review_id, None)
    reading.acknowledge_orders(hub, zhao, review_id, world.told(case_id))
    reading.sign(hub, zhao, review_id, None)
    with hub.transaction() as session:
        seen = session.scalars(select(OrderNews.seen_by).order_by(OrderNews.order_version)).all()
    assert seen == ["wang", "wang", "zhao"]


def test_a_cancelled_order_and_one_that_comes_late_are_told_to_the_reader(
    world: World, hub: Hub, li: Viewer, wang: Viewer
):
    case_id = world.arrive()
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    hand_in(hub, order())
    cancel_order(hub, li, ORDER, 1, "开错")
    assert [one.whole for one in desk_views.case_view(hub, wang, case_id).order_news] == [
        "order_added",
        "order_cancelled",
    ]


def test_a_change_before_the_claim_needs_nobodys_confirmation(
    world: World, hub: Hub, li: Viewer, wang: Viewer, case_id: str
):
    change(hub, li, 1, question="排除肺栓塞")
    world.submit(wang, case_id)
    assert world.case(case_id).state == CaseState.PENDING_REVIEW


def test_a_more_urgent_order_hurries_its_case_and_routes_it_anew(
    world: World, hub: Hub, li: Viewer, wang: Viewer, case_id: str
):
    before, routed = world.case(case_id), len(world.routed)
    change(hub, li, 1, lane="urgent")
    world.run_jobs()
    case = world.case(case_id)
    assert (case.lane, len(world.routed)) == (Lane.URGENT, routed + 1)
    assert case.due_at < before.due_at
    change(hub, li, 2, lane="routine")
    assert world.case(case_id).lane == Lane.URGENT, "what was hurried is not slowed down"


def test_the_limit_counts_from_the_start_that_the_order_alone_says(world: World, hub: Hub, wang: Viewer):
    study = make_study("1.2.3", hub.clock())
    study.exam_started_at = None
    with hub.transaction() as session:
        session.add(study)
    case_id = world.arrive()
    before = world.case(case_id)
    started = before.first_instance_at - timedelta(minutes=20)
    ended = started + timedelta(minutes=5)
    hand_in(hub, order(state="done", exam_started_at=started, exam_ended_at=ended, expected_instances=2))
    world.catalogue("1.2.3", revision=2)
    case = world.case(case_id)
    assert (before.exam_started_at, case.exam_started_at) == (None, started)
    assert case.due_at == before.due_at - timedelta(minutes=20)


def test_another_person_on_the_order_holds_its_case_until_it_agrees_again(
    world: World, hub: Hub, li: Viewer, wang: Viewer, case_id: str
):
    change(hub, li, 1, birth_date="1990-01-01")
    world.run_jobs()
    assert world.case(case_id).identity_doubted_at is not None
    assert world.offered_to(case_id, wang) == []
    change(hub, li, 2, birth_date="1960-05-01")
    world.run_jobs()
    assert world.case(case_id).identity_doubted_at is None
    assert world.offered_to(case_id, wang) == ["wang"]


def test_no_change_makes_two_orders_of_one_study_those_of_two_patients(
    world: World, hub: Hub, li: Viewer, case_id: str
):
    hand_in(hub, order(order_id="b" * 32, accession_number="A7", study_uid="1.2.3", procedure_name="腹部平扫"))
    with pytest.raises(StudyOfOtherPatient):
        change(hub, li, 1, patient_number="P2", patient_name="李四")


def test_after_the_signature_there_is_only_a_note(
    world: World, hub: Hub, li: Viewer, chen: Viewer, wang: Viewer, zhao: Viewer, case_id: str
):
    with pytest.raises(OrderNotOpen):
        note_order(hub, li, ORDER, "过早")
    sign(world, hub, wang, zhao, case_id)
    sheet = show_order(hub, li, ORDER)
    assert (sheet.is_changeable, sheet.is_reported) == (False, True)
    with pytest.raises(ReportSigned):
        change(hub, li, 1, question="排除肺栓塞")
    (refusal,) = hand_in(hub, order(version=2, consent_recorded=True, question="排除肺栓塞")).refused
    assert refusal.code == "report_signed"
    late = order(version=2, consent_recorded=True, state="done", expected_instances=2)
    assert hand_in(hub, late).accepted == (ORDER,), "what the scanner reports is no change"
    with pytest.raises(Invalid):
        note_order(hub, li, ORDER, " ")
    note_order(hub, chen, ORDER, "患者补述：对碘过敏")
    (view,) = desk_views.case_view(hub, wang, case_id).orders
    assert [(note.by, note.words) for note in view.notes] == [("Chen", "患者补述：对碘过敏")]
    assert Hop.ORDER_NOTED in world.hops(case_id)


def test_a_his_that_changes_an_order_at_the_hub_after_the_signature_is_told_so(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, case_id: str
):
    sign(world, hub, wang, zhao, case_id)
    asked = OrderRequest(1, Control.CHANGE, "P1", "HIS", "", "", "", {}, {})
    changed = order(version=2, consent_recorded=True, question="排除肺栓塞")
    with hub.transaction() as session, pytest.raises(OrderFaulty, match="is signed"):
        HubBook(hub, session, SITE, 1, "HIS", hub.clock()).replace(changed, asked, "order_changed")
    done = order(version=2, consent_recorded=True, state="done")
    with hub.transaction() as session:
        HubBook(hub, session, SITE, 1, "HIS", hub.clock()).replace(done, asked, "order_changed")


def test_who_may_not_see_an_order_may_not_change_it(world: World, hub: Hub, li: Viewer):
    hand_in(hub, order())
    stranger = order_entry.Viewer(**{name: getattr(li, name) for name in Viewer.__slots__} | {"site_id": None})
    with hub.transaction() as session:
        assert session.get_one(ClinicOrder, ORDER).order_version == 1
    for act in (lambda: change(hub, stranger, 1, question="x"), lambda: note_order(hub, stranger, ORDER, "x")):
        with pytest.raises(NotFound):
            act()
