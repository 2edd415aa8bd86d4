"""What the hub says of its dependencies."""

from __future__ import annotations

import pytest

from reading_queue.services.health import OUTBOX_LATE_S, Unhealthy, check_database, check_objects, check_outbox
from reading_queue.services.hub import Hub, launch
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_all_is_well_on_a_fresh_hub(hub: Hub) -> None:
    assert check_database(hub) == "answers"
    assert check_objects(hub) == "answers"
    assert check_outbox(hub) == "nothing waits"


def test_a_launch_that_waits_too_long_is_a_failure_in_words(hub: Hub, hub_clock: SteerableClock) -> None:
    with hub.transaction() as session:
        launch(session, hub.clock(), "cases.route", reading_task_id="t1")
    hub_clock.advance(OUTBOX_LATE_S)
    assert check_outbox(hub).startswith("1 launches wait")
    hub_clock.advance(1)
    with pytest.raises(Unhealthy, match="is the scheduler running"):
        check_outbox(hub)


def test_a_launch_that_is_not_due_does_not_count(hub: Hub, hub_clock: SteerableClock) -> None:
    later = hub_clock.now.replace(year=hub_clock.now.year + 1)
    with hub.transaction() as session:
        launch(session, hub.clock(), "cases.route", due_at=later, reading_task_id="t1")
    assert check_outbox(hub) == "nothing waits"
