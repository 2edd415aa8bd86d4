"""One read that answers several orders of one study: only where a person says so, they agree, and it is not signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Report
from reading_queue.domain.report import ReportContent
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.orders.further_orders import find_ordered_studies
from reading_queue.services.orders.order_entry import (
    OrdersContradict,
    ReportSigned,
    StudyHasOrder,
    StudyOfOtherPatient,
    Wanted,
    enter_order,
    show_order,
)
from reading_queue.services.orders.order_matching import confirm_match
from reading_queue.services.orders.unmatched import list_unmatched
from reading_queue.services.reading import desk_views, reading
from storage.contract.lanes import Lane
from storage.contract.orders import Order
from tests.integration.hub_reading.test_identity_doubts import chen, li
from tests.integration.hub_reading.test_orders import FIELDS, hand_in, order
from tests.integration.hub_reading.world import SITE, World

__all__ = ["chen", "li"]

pytestmark = pytest.mark.postgres

STUDY, SECOND = "1.2.3", "b" * 32


def abdomen(**changed: object) -> Order:
    """Return an order of the same patient for another region, without images of its own."""
    given = {"order_id": SECOND, "accession_number": "A2", "study_uid": "2.25.88", "procedure_name": "腹部平扫"}
    return order(**given | {"question": "排除阑尾炎"} | changed)


@pytest.fixture
def case_id(world: World, hub: Hub, wang: Viewer, zhao: Viewer) -> str:
    hand_in(hub, order(), abdomen())
    return world.arrive(STUDY)


def test_one_read_answers_both_orders_and_the_signed_report_names_them(
    world: World, hub: Hub, li: Viewer, wang: Viewer, zhao: Viewer, case_id: str
):
    (study,) = find_ordered_studies(hub, li, SECOND)
    assert (study.study_uid, [one.question for one in study.orders]) == (STUDY, ["排除肺炎"])
    with pytest.raises(StudyHasOrder):
        confirm_match(hub, li, SECOND, STUDY, 1)
    for _ in range(2):  # twice is the same
        confirm_match(hub, li, SECOND, STUDY, 1, further=True)
    assert show_order(hub, li, SECOND).study_uid == STUDY
    assert list_unmatched(hub, li).orders == ()
    shown = desk_views.case_view(hub, wang, case_id).orders
    assert {one.question for one in shown} == {"排除肺炎", "排除阑尾炎"}
    world.submit(wang, case_id)
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    reading.sign(hub, zhao, review_id, None)
    with hub.transaction() as session:
        content = ReportContent.from_json(session.scalars(select(Report.content)).one())
    assert content.format == "counterpart-report/6"
    assert content.accession_numbers == ["A1", "A2"]
    assert [(one.order_id, one.study_uid, one.question) for one in content.orders] == [
        ("a" * 32, STUDY, "排除肺炎"),
        (SECOND, STUDY, "排除阑尾炎"),
    ]
    assert [one.accession_number for one in content.further_studies] == ["A2"]


def test_a_report_whose_studies_name_its_orders_is_written_as_older_gateways_read_it(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, case_id: str
):
    world.submit(wang, case_id)
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    reading.sign(hub, zhao, review_id, None)
    with hub.transaction() as session:
        content = ReportContent.from_json(session.scalars(select(Report.content)).one())
    assert (content.format, content.orders) == ("counterpart-report/2", ())


def test_a_more_urgent_further_order_hurries_the_read_and_its_reader_is_told(
    world: World, hub: Hub, li: Viewer, wang: Viewer, case_id: str
):
    hand_in(hub, abdomen(version=2, lane="urgent"))
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    confirm_match(hub, li, SECOND, STUDY, 2, further=True)
    assert world.case(case_id).lane == Lane.URGENT
    assert [one.whole for one in desk_views.case_view(hub, wang, case_id).order_news] == ["order_added"]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"birth_date": "1961-05-01"}, ("birth_date",)),
        ({"sex": "F"}, ("sex",)),
        ({"modality": "MR"}, ("modality",)),
        ({"modality": "MR", "sex": "F"}, ("modality", "sex")),
    ],
)
def test_contradictory_orders_are_refused_and_the_words_name_the_fields(
    world: World, hub: Hub, li: Viewer, wang: Viewer, changed: dict[str, str], fields: tuple[str, ...]
):
    hand_in(hub, order(), abdomen(**changed))
    world.arrive(STUDY)
    assert find_ordered_studies(hub, li, SECOND) == ()
    with pytest.raises(OrdersContradict) as refused:
        confirm_match(hub, li, SECOND, STUDY, 1, further=True)
    assert refused.value.fields == fields
    assert all(name in str(refused.value) for name in fields)


def test_an_order_of_another_patient_is_refused_whatever_is_said(world: World, hub: Hub, li: Viewer, wang: Viewer):
    hand_in(hub, order(), abdomen(patient_number="P2", patient_name="李四", birth_date="1990-01-01"))
    world.arrive(STUDY)
    with pytest.raises(StudyOfOtherPatient):
        confirm_match(hub, li, SECOND, STUDY, 1, further=True)


def test_a_gateways_order_that_contradicts_another_of_its_study_is_refused_in_words(
    world: World, hub: Hub, wang: Viewer, case_id: str
):
    (refusal,) = hand_in(hub, abdomen(order_id="c" * 32, accession_number="A3", study_uid=STUDY, sex="F")).refused
    assert refusal.code == "orders_contradict"
    fine = abdomen(order_id="d" * 32, accession_number="A4", study_uid=STUDY)
    assert hand_in(hub, fine).accepted == ("d" * 32,)


def test_a_further_order_is_made_at_the_desk_for_a_study_that_has_one(
    world: World, hub: Hub, li: Viewer, wang: Viewer, zhao: Viewer, case_id: str
):
    names = ("patient_number", "patient_name", "sex", "birth_date", "modality", "history", "question")
    fields = {name: FIELDS[name] for name in names} | {"procedure_name": "盆腔平扫"}
    wanted = Wanted(SITE, fields, study_uid=STUDY, confirmed=("consent",))
    with pytest.raises(StudyHasOrder):
        enter_order(hub, li, wanted)
    made = enter_order(hub, li, replace(wanted, further=True))
    assert {one.order_id for one in desk_views.case_view(hub, wang, case_id).orders} == {"a" * 32, made.order_id}
    world.submit(wang, case_id)
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    reading.sign(hub, zhao, review_id, None)
    with pytest.raises(ReportSigned):
        enter_order(hub, li, replace(wanted, further=True, fields=fields | {"procedure_name": "颅脑平扫"}))
    with pytest.raises(ReportSigned):
        confirm_match(hub, li, SECOND, STUDY, 1, further=True)
