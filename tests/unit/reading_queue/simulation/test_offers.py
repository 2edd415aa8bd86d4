"""Which of many offers a physician takes, and which of many events comes next."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reading_queue.domain.routing import Phase
from reading_queue.simulation.demand import Study
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedTask
from reading_queue.simulation.staff import Staff
from reading_queue.simulation.timeline import FINISHED, OTHER, Timeline
from storage.contract.lanes import Lane
from tests.unit.reading_queue.simulation.county import physician


def task_of(number: int, lane: Lane, due_s: float) -> SimulatedTask:
    study = Study(0.0, "clinic-1", "CT", lane, 0, 0.0, 1.0, 1.0, False, False, 0.0)
    return SimulatedTask(SimulatedCase(number, study, due_s), Phase.INTERPRETATION)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers(0, 5), st.booleans()), max_size=60), st.data())
def test_most_urgent_offer_is_the_one_found_by_looking_at_all(cases: list[tuple[Lane, int, bool]], data: st.DataObject):
    rostered = physician("a")
    reader = Reader(rostered, rostered.facts)
    tasks = [task_of(number, lane, due_s) for number, (lane, due_s, _) in enumerate(cases)]
    fits = {task for task, (_, _, fit) in zip(tasks, cases, strict=True) if fit}
    for task in tasks:
        reader.be_offered(task)
        if data.draw(st.integers(0, 3)) == 0:
            given_up = data.draw(st.sampled_from(list(reader.offers)))
            reader.lose_offer(given_up)
            if data.draw(st.booleans()):
                reader.be_offered(given_up)
    for _ in range(len(tasks) + 1):
        can_begin = [task for task in reader.offers if task in fits]
        expected = min(can_begin, key=lambda task: task.case.urgency, default=None)
        assert reader.most_urgent(lambda _, task: task in fits) is expected
        if expected is not None:
            reader.lose_offer(expected)
    assert reader.stat_offers == sum(task.is_stat for task in reader.offers)


def test_offer_with_a_new_limit_is_ordered_by_it():
    rostered = physician("a")
    reader = Reader(rostered, rostered.facts)
    first, second = task_of(1, Lane.URGENT, 3600.0), task_of(2, Lane.URGENT, 7200.0)
    for task in (first, second):
        reader.be_offered(task)
    assert reader.most_urgent(lambda *_: True) is first
    second.case.tighten(30)
    reader.order_anew()
    assert reader.most_urgent(lambda *_: True) is second


def test_tasks_that_the_same_people_let_pass_keep_one_set_of_them():
    staff = Staff()
    kept = staff.group(frozenset({"a"}).union({"b"}))
    assert staff.group(frozenset({"b"}).union({"a"})) is kept


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([FINISHED, OTHER]), st.integers(0, 90)), max_size=40))
def test_events_come_in_the_order_of_time_kind_and_making(events: list[tuple[int, int, int]]):
    timeline, seen, made = Timeline(datetime(2026, 3, 2, tzinfo=UTC)), [], 0

    def handle(event: tuple[float, int, int], then_s: int) -> None:
        nonlocal made
        seen.append(event)
        if then_s:
            made += 1
            later = (timeline.now_s + then_s, OTHER, made)
            timeline.at(later[0], OTHER, handle, later, 0)

    for at_s, order, then_s in events:
        made += 1
        timeline.at(at_s, order, handle, (float(at_s), order, made), then_s)
    timeline.go_on_until(1000.0)
    assert seen == sorted(seen)
    assert len(seen) == made
    assert timeline.now_s == 1000.0


def test_the_search_for_cycles_rests_during_a_run_and_goes_on_after_it_even_when_it_fails():
    timeline, seen = Timeline(datetime(2026, 3, 2, tzinfo=UTC)), []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ValueError("in the run")

    timeline.at(1.0, OTHER, fail)
    with pytest.raises(ValueError, match="in the run"):
        timeline.go_on_until(10.0)
    assert (seen, gc.isenabled()) == ([False], True)
