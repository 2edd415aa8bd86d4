from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset

from gateway.performed_steps.progress import (
    CHANGES,
    PerformedStep,
    StepState,
    advance,
    count_awaited,
    plausible,
)
from gateway.performed_steps.reading import ReportUnusable, read_begun, read_changed
from storage.contract.orders import Order, OrderState

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
CLINIC = ZoneInfo("Asia/Shanghai")
GOING, COMPLETED, BROKEN_OFF = StepState.IN_PROGRESS, StepState.COMPLETED, StepState.DISCONTINUED


def order(state: OrderState = OrderState.SCHEDULED) -> Order:
    return Order(
        order_id="a" * 32,
        version=1,
        site_id="qinghe",
        accession_number="QING0001",
        study_uid="2.25.1",
        state=state,
        state_reason="no show" if state is OrderState.CANCELLED else "",
        origin="console",
        patient_number="P1",
        patient_name="张三",
        modality="CT",
        procedure_name="头颅CT平扫",
        scheduled_at=NOW,
        entered_by="t",
        entered_at=NOW,
        changed_at=NOW,
    )


def step(state: StepState, *, start_min: int = 0, end_min: int | None = None, expected: int | None = None):
    ended_at = NOW + timedelta(minutes=end_min) if end_min is not None else None
    instances = frozenset(f"2.25.{start_min}.{number}" for number in range(expected or 0))
    return PerformedStep("2.25.9", state, "2.25.1", "QING0001", NOW + timedelta(minutes=start_min), ended_at, instances)


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([GOING], OrderState.IN_PROGRESS),
        ([COMPLETED], OrderState.DONE),
        ([BROKEN_OFF], OrderState.DISCONTINUED),
        ([COMPLETED, GOING], OrderState.IN_PROGRESS),
        ([BROKEN_OFF, GOING], OrderState.IN_PROGRESS),
        ([BROKEN_OFF, COMPLETED], OrderState.DONE),
    ],
)
def test_order_stands_where_its_steps_do_whatever_it_was_before(steps: list[StepState], state: OrderState):
    for before in OrderState:
        moved = advance(order(before), [step(one) for one in steps], NOW)
        assert moved is not None
        assert (moved.state, moved.version) == (state, 2)
        assert advance(moved, [step(one) for one in steps], NOW) is None


def test_exam_lasts_from_its_first_start_to_its_last_end():
    steps = [step(COMPLETED, start_min=5, end_min=9, expected=10), step(COMPLETED, start_min=1, end_min=7, expected=20)]
    moved = advance(order(), steps, NOW)
    assert moved is not None
    assert (moved.exam_started_at, moved.exam_ended_at) == (NOW + timedelta(minutes=1), NOW + timedelta(minutes=9))
    assert moved.expected_instances == 30


def test_end_before_the_start_is_no_end():
    moved = advance(order(), [step(COMPLETED, start_min=5, end_min=1)], NOW)
    assert moved is not None
    assert moved.exam_ended_at is None


def test_nothing_follows_the_end_of_a_step():
    allowed = {(GOING, GOING), (GOING, COMPLETED), (GOING, BROKEN_OFF)}
    assert {(one, other) for one, other in product(StepState, StepState) if other in CHANGES[one]} == allowed


@pytest.mark.parametrize(
    ("referenced", "held", "awaited"),
    [
        ({"1", "2"}, {}, 2),
        ({"1", "2"}, {"1": True}, 2),
        ({"1", "2"}, {"1": False}, 1),  # travels already
        ({"1", "2"}, {"1": False, "2": False}, None),
        ({"1"}, {"1": True, "9": True}, 2),  # of an earlier step, waits too
    ],
)
def test_what_waits_and_what_is_to_come_is_counted(referenced: set[str], held: dict[str, bool], awaited: int | None):
    assert count_awaited(frozenset(referenced), held) == awaited


def test_only_a_time_near_its_receipt_is_plausible():
    assert plausible(NOW, NOW) == NOW
    assert plausible(NOW - timedelta(days=8), NOW) is None
    assert plausible(NOW + timedelta(hours=2), NOW) is None
    assert plausible(None, NOW) is None


def begun() -> Dataset:
    scheduled = Dataset()
    scheduled.StudyInstanceUID = "2.25.1"
    scheduled.ScheduledProcedureStepID = "QING0001"
    dataset = Dataset()
    dataset.ScheduledStepAttributesSequence = [scheduled]
    dataset.PerformedProcedureStepStatus = "IN PROGRESS"
    dataset.PerformedProcedureStepStartDate = "20261126"
    dataset.PerformedProcedureStepStartTime = "160000.5"
    return dataset


def test_times_are_the_clinics_unless_the_scanner_says_its_offset():
    dataset = begun()
    assert read_begun(dataset, CLINIC, None).started_at == NOW
    dataset.TimezoneOffsetFromUTC = "+0900"
    assert read_begun(dataset, CLINIC, None).started_at == NOW - timedelta(hours=1)


def test_scanner_that_names_only_the_scheduled_step_names_its_order():
    assert read_begun(begun(), CLINIC, None).accession_numbers == ("QING0001",)


@pytest.mark.parametrize("value", ["2.25.", "../1", "x" * 70])
@pytest.mark.filterwarnings("ignore:.*VR UI")
def test_study_uid_that_is_none_is_refused(value: str):
    dataset = begun()
    dataset.ScheduledStepAttributesSequence[0].StudyInstanceUID = value
    with pytest.raises(ReportUnusable) as refused:
        read_begun(dataset, CLINIC, None)
    assert refused.value.status == 0x0106


def test_report_that_does_not_speak_of_images_is_not_one_of_none():
    assert read_changed(Dataset(), CLINIC, None).references is None
    dataset = Dataset()
    dataset.PerformedSeriesSequence = []
    assert read_changed(dataset, CLINIC, None).references == frozenset()
