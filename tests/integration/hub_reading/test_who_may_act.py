"""What only some may do, or only at some time, tried otherwise: each act is refused, and nothing comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Physician
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.report import ReportText
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import LicenceNotValid, NotFound, NotHolder, TextNotAcceptable, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases import holds, joining, separating, site_returns, withdrawals
from reading_queue.services.hub import Hub
from reading_queue.services.orders import order_changing, order_entry, order_matching
from reading_queue.services.reading import consults, reading
from storage.catalogue.tables import Patient, Study
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_consults import gao, lin
from tests.integration.hub_reading.test_course import HISTORY, held, person, stranger, technician
from tests.integration.hub_reading.test_joining import ABDOMEN, CHEST, arrive, arrive_abdomen, studies_of
from tests.integration.hub_reading.test_orders import hand_in, order
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, TEXT, World

__all__ = ["gao", "lin", "stranger", "technician"]

pytestmark = pytest.mark.postgres

ORDER = "a" * 32
QUALITY = DiscontinuationReason.INSUFFICIENT_QUALITY


def refused(why: type[Exception], *acts: Callable[[], object]) -> None:
    for act in acts:
        with pytest.raises(why):
            act()


@contextmanager
def without_licence(world: World, who: Viewer) -> Iterator[None]:
    """Let what is done meanwhile be done by somebody whose licence has run out, which must be refused."""
    world.end_licence(who)
    with pytest.raises(LicenceNotValid):
        yield
    with world.hub.transaction() as session:
        own = update(Physician).where(Physician.physician_id == who.physician_id)
        session.execute(own.values(licence_valid_until=date(2030, 1, 1)))


def test_only_who_holds_a_task_acts_on_it_and_only_as_its_phase_has_it(
    world: World, hub: Hub, wang: Viewer, zhao: Viewer, technician: Viewer
):
    case_id, task_id = held(world, wang)
    withdrawals.withdraw(hub, technician, case_id, "患者转院")
    holds.ask_site(hub, wang, task_id, HISTORY, "病史？")
    refused(
        NotHolder,
        lambda: reading.heartbeat(hub, zhao, task_id),
        lambda: reading.acknowledge_images(hub, zhao, task_id, world.shown(case_id)),
        lambda: reading.acknowledge_orders(hub, zhao, task_id, world.told(case_id)),
        lambda: reading.save_draft(hub, zhao, task_id, TEXT, None),
        lambda: reading.resume(hub, zhao, task_id),
        lambda: reading.release(hub, zhao, task_id, "110513"),
        lambda: reading.answer_withdrawal(hub, zhao, task_id, accept=True),
    )
    assert world.case(case_id).state == CaseState.ON_HOLD
    reading.answer_withdrawal(hub, wang, task_id, accept=False, reason="急")
    reading.resume(hub, wang, task_id)
    refused(WrongState, lambda: reading.sign(hub, wang, task_id, TEXT))
    reading.submit(hub, wang, task_id, TEXT)
    world.run_jobs()
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, zhao, review_id)
    refused(NotHolder, lambda: reading.return_to_author(hub, wang, review_id, "?"))
    refused(
        WrongState,
        lambda: reading.submit(hub, zhao, review_id, TEXT),
        lambda: reading.nothing_to_amend(hub, zhao, review_id, "?"),
    )
    refused(TextNotAcceptable, lambda: reading.sign(hub, zhao, review_id, ReportText(findings="____", impression="")))
    reading.sign(hub, zhao, review_id, None)
    addendum_id = reading.open_addendum(hub, wang, case_id, AmendmentKind.CORRECTED, "左右").reading_task_id
    refused(NotHolder, lambda: reading.nothing_to_amend(hub, zhao, addendum_id, "?"))
    refused(WrongState, lambda: reading.return_to_author(hub, wang, addendum_id, "?"))
    assert world.case(case_id).state == CaseState.AMENDING


def test_nothing_counts_that_somebody_does_whose_licence_has_run_out(world: World, hub: Hub, gao: Viewer, lin: Viewer):
    lead = world.add_physician("hu", organisation=COUNTY, title=Title.CHIEF)
    case_id, task_id = held(world, gao)
    with without_licence(world, lead):
        reading.take_over(hub, lead, task_id, "交班")
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    with without_licence(world, lin):
        consults.accept(hub, lin, consult_id)
    consults.accept(hub, lin, consult_id)
    with without_licence(world, lin):
        consults.answer(hub, lin, consult_id, "良性")
    consults.answer(hub, lin, consult_id, "良性")
    with without_licence(world, gao):
        reading.submit(hub, gao, task_id, TEXT)
    reading.submit(hub, gao, task_id, TEXT)
    world.run_jobs()
    review_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, lead, review_id)
    with without_licence(world, lead):
        reading.sign(hub, lead, review_id, None)
    reading.sign(hub, lead, review_id, None)
    with without_licence(world, gao):
        reading.open_addendum(hub, gao, case_id, AmendmentKind.CORRECTED, "左右")
    assert world.case(case_id).state == CaseState.FINAL


def test_no_other_site_and_nobody_who_oversees_another_touches_a_case(
    world: World, hub: Hub, wang: Viewer, technician: Viewer, stranger: Viewer
):
    elsewhere = replace(person(world, "far", Role.COORDINATOR, COUNTY), organisation_id="nowhere")
    hand_in(hub, order(accession_number="A9"))
    chest = world.arrive(CHEST)
    abdomen = arrive_abdomen(world)
    refused(
        NotFound,
        lambda: joining.join_cases(hub, stranger, chest, abdomen, "?"),
        lambda: joining.partners_of(hub, stranger, chest),
        lambda: order_matching.confirm_match(hub, stranger, ORDER, CHEST, 1),
        lambda: order_matching.reject_match(hub, stranger, ORDER, CHEST, "?"),
        lambda: order_entry.cancel_order(hub, stranger, ORDER, 1, "?"),
    )
    joining.join_cases(hub, technician, chest, abdomen, "一次扫描")
    refused(
        NotFound,
        lambda: separating.separate_study(hub, stranger, chest, ABDOMEN, "?"),
        lambda: site_returns.return_to_site(hub, elsewhere, chest, QUALITY, "?"),
    )
    world.run_jobs()
    reading.claim(hub, wang, world.open_task(chest).reading_task_id)
    refused(WrongState, lambda: separating.separate_study(hub, technician, chest, ABDOMEN, "?"))  # a draft may be there
    site_returns.return_to_site(hub, wang, chest, QUALITY, "请重新扫描")
    refused(NotFound, lambda: site_returns.resubmit(hub, stranger, chest, "?"))
    assert (world.case(chest).state, studies_of(hub, chest)) == (CaseState.RETURNED, [CHEST, ABDOMEN])


@pytest.mark.parametrize("other", [{"patient_id": "patient-2"}, {"modalities": ["MR"]}])
def test_one_order_never_joins_studies_of_two_patients_or_modalities(
    world: World, hub: Hub, wang: Viewer, other: dict[str, object]
):
    with hub.transaction() as session:
        session.add(Patient(patient_id="patient-2", site_id=SITE, patient_number="P2", name="李四", sex="F"))
    hand_in(hub, order())
    first = world.arrive(CHEST)
    arrive(world, ABDOMEN, **other)  # under the same accession number
    assert studies_of(hub, first) == [CHEST]


def test_a_case_takes_no_more_studies_than_one_may_have(
    world: World, hub: Hub, wang: Viewer, technician: Viewer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(joining, "STUDIES_MAX", 1)
    chest, abdomen = world.arrive(CHEST), arrive_abdomen(world)
    refused(joining.MayNotBeJoined, lambda: joining.join_cases(hub, technician, chest, abdomen, "?"))


def test_nobody_signs_about_studies_that_turn_out_to_be_of_two_patients(
    world: World, hub: Hub, wang: Viewer, technician: Viewer
):
    chest, abdomen = world.arrive(CHEST), arrive_abdomen(world)
    joining.join_cases(hub, technician, chest, abdomen, "一次扫描")
    world.run_jobs()
    task_id = world.open_task(chest).reading_task_id
    reading.claim(hub, wang, task_id)
    with hub.transaction() as session:
        session.add(Patient(patient_id="patient-2", site_id=SITE, patient_number="P2", name="李四", sex="F"))
        session.flush()
        session.execute(update(Study).where(Study.study_uid == ABDOMEN).values(patient_id="patient-2"))
    with pytest.raises(WrongState, match="exactly one patient"):
        reading.submit(hub, wang, task_id, TEXT)


def test_an_order_that_is_over_is_neither_cancelled_nor_given_a_study_or_a_change(
    world: World, hub: Hub, wang: Viewer, technician: Viewer
):
    hand_in(hub, order(accession_number="A9"))
    world.arrive(CHEST)
    refused(NotFound, lambda: order_matching.confirm_match(hub, technician, ORDER, "9.9", 1))
    order_matching.confirm_match(hub, technician, ORDER, CHEST, 1)
    refused(order_entry.StudyHasOrder, lambda: order_matching.reject_match(hub, technician, ORDER, CHEST, "?"))
    refused(order_entry.OrderNotOpen, lambda: order_entry.cancel_order(hub, technician, ORDER, 2, "?"))
    hand_in(hub, order(order_id="b" * 32, accession_number="A8"))
    order_entry.cancel_order(hub, technician, "b" * 32, 1, "开错")
    change = order_changing.OrderChange({"question": "?"})
    refused(
        order_entry.OrderNotOpen,
        lambda: order_matching.confirm_match(hub, technician, "b" * 32, CHEST, 2),
        lambda: order_changing.change_order(hub, technician, "b" * 32, 2, change),
    )
