"""Which of many offers a physician takes, and which of many events comes next."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reading_queue.domain.routing import Phase
from reading_queue.simulation.demand import Study
from reading_queue.simulation.life import SimulatedCase, SimulatedTask, number_of
from reading_queue.simulation.offer_queue import OfferQueue
from reading_queue.simulation.staff import Staff
from reading_queue.simulation.timeline import FINISHED, OTHER, Timeline
from storage.contract.lanes import Lane


def task_of(number: int, lane: Lane, due_s: float) -> SimulatedTask:
    study = Study(0.0, "clinic-1", "CT", lane, 0, 0.0, 1.0, 1.0, False, False, 0.0)
    return SimulatedTask(SimulatedCase(number, study, due_s), Phase.INTERPRETATION)


@dataclass(frozen=True)
class Step:
    """One offer, and what happens then: time passes, an offer ends or is made anew, somebody takes the most urgent."""

    lane: Lane
    due_s: int
    fits: bool
    passes_s: int
    which: int
    happens: str


steps = st.builds(
    Step,
    lane=st.sampled_from(Lane),
    due_s=st.integers(0, 5),
    fits=st.booleans(),
    passes_s=st.integers(0, 2),
    which=st.integers(0, 9),
    happens=st.sampled_from(["nothing", "ended", "offered anew", "taken"]),
)


@given(st.lists(steps, max_size=40))
def test_most_urgent_offer_is_the_one_found_by_looking_at_all(course: list[Step]):
    queue, tasks = OfferQueue(), [task_of(number, step.lane, step.due_s) for number, step in enumerate(course)]
    fits = {task for task, step in zip(tasks, course, strict=True) if step.fits}
    open_until: dict[SimulatedTask, float] = {}
    now_s = 0.0

    def find(urgency: int) -> SimulatedTask | None:
        task = tasks[number_of(urgency)]
        return task if task in open_until else None

    for task, step in zip(tasks, course, strict=True):
        now_s += step.passes_s
        open_until = {one: until_s for one, until_s in open_until.items() if until_s > now_s}
        open_until[task] = now_s + 20
        queue.add(task.case.urgency, now_s + 20)
        one = list(open_until)[step.which % len(open_until)]
        if step.happens == "ended":
            del open_until[one]
        elif step.happens == "offered anew":
            open_until[one] = now_s + 20
            queue.add(one.case.urgency, now_s + 20)
        expected = min(fits & open_until.keys(), key=lambda task: task.case.urgency, default=None)
        assert queue.first(now_s, find, fits.__contains__) is expected
        if expected is not None and step.happens == "taken":
            del open_until[expected]


def test_nothing_less_urgent_is_looked_at_once_nothing_else_can_fit():
    queue, looked_at = OfferQueue(), []
    for number in range(5):
        queue.add(task_of(number, Lane.ROUTINE, 60.0).case.urgency, 900.0)
    assert queue.first(0.0, number_of, looked_at.append) is None
    assert looked_at == [0]


def test_urgency_orders_by_lane_then_limit_then_number_and_changes_with_the_limit():
    ranked = [task_of(3, Lane.STAT, 9e6), task_of(2, Lane.URGENT, 1.5), task_of(0, Lane.URGENT, 2.0)]
    ranked += [task_of(1, Lane.URGENT, 2.0), task_of(4, Lane.ROUTINE, 0.0)]
    urgencies = [task.case.urgency for task in ranked]
    assert urgencies == sorted(urgencies)
    assert [number_of(one) for one in urgencies] == [3, 2, 0, 1, 4]
    last = task_of(5, Lane.URGENT, 7200.0).case
    assert last.tighten(30, datetime(2026, 3, 2, tzinfo=UTC))
    assert last.urgency < task_of(1, Lane.URGENT, 3600.0).case.urgency


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
