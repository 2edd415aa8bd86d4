"""Where a study is follows from what is here first, then from what the hub has told."""

from __future__ import annotations

import pytest

from gateway.console.road import Progress, Stage, StudyFacts, is_in, seconds_left, stage_of, step_of


def facts(**changes: object) -> StudyFacts:
    return StudyFacts(
        **{
            "arriving": 0,
            "transfers": ["confirmed"],
            "hub_hops": [],
            "report_here": False,
            "report_delivered": False,
            "cancelled": False,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("known", "stage"),
    [
        (facts(arriving=3, transfers=[]), Stage.ARRIVING),
        (facts(transfers=["ready"]), Stage.WAITING),
        (facts(transfers=["declared"]), Stage.UPLOADING),
        (facts(transfers=["uploaded"]), Stage.CHECKING),
        (facts(), Stage.AT_HUB),
        (facts(transfers=["confirmed", "declared"]), Stage.UPLOADING),
        (facts(transfers=["uploaded", "ready"]), Stage.WAITING),
        (facts(hub_hops=["declared", "verified", "catalogued"]), Stage.AT_HUB),
        (facts(hub_hops=["offered"]), Stage.OFFERED),
        (facts(hub_hops=["offered", "claimed"]), Stage.READING),
        (facts(hub_hops=["offered", "claimed", "released"]), Stage.AT_HUB),
        (facts(hub_hops=["unroutable"]), Stage.NOBODY),
        (facts(hub_hops=["claimed", "submitted", "review_offered", "review_claimed"]), Stage.REVIEWING),
        (facts(hub_hops=["submitted", "returned_to_author"]), Stage.READING),
        (facts(hub_hops=["signed", "rendered"]), Stage.SIGNED),
        (facts(hub_hops=["claimed", "a hop of a newer hub"]), Stage.READING),
        (facts(hub_hops=["signed"], report_here=True), Stage.REPORT_HERE),
        (facts(hub_hops=["signed"], report_here=True, report_delivered=True), Stage.DELIVERED),
        (facts(report_here=True, arriving=1), Stage.ARRIVING),
        (facts(transfers=["declared"], cancelled=True), Stage.CANCELLED),
        (facts(cancelled=True), Stage.AT_HUB),
    ],
)
def test_stage_follows_from_the_facts(known, stage):
    assert stage_of(known) is stage


def test_each_stage_is_in_exactly_one_progress():
    for stage in Stage:
        assert sum(is_in(stage, progress) for progress in Progress) == 1, stage


def test_steps_grow_along_the_road():
    assert step_of(Stage.ARRIVING) == 1
    assert step_of(Stage.OFFERED) == step_of(Stage.AT_HUB)
    assert step_of(Stage.DELIVERED) == 10
    assert step_of(Stage.CANCELLED) == 0


def test_time_left_counts_what_goes_first_and_is_unknown_without_a_measured_line():
    assert seconds_left(1000, 3000, 500.0) == 8.0
    assert seconds_left(1000, 0, None) is None
    assert seconds_left(0, 3000, 500.0) is None
