"""A physician puts a case on the hospital's list for a conference, and what came of it is written once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reading_queue.errors import Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import mdt
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_a_case_is_put_on_the_list_and_its_outcome_is_written_once(world: World, hub: Hub, wang: Viewer) -> None:
    case_id, today = world.arrive(), hub.clock().date()
    colleague = world.add_physician("fang")
    stranger = world.add_physician("gao", organisation=COUNTY)
    with pytest.raises(Invalid):
        mdt.put_on_list(hub, wang, case_id, "手术还是新辅助？", today - timedelta(days=1))
    with pytest.raises(NotFound):
        mdt.put_on_list(hub, stranger, case_id, "?", today)
    mdt_id = mdt.put_on_list(hub, wang, case_id, "手术还是新辅助？", today)
    (seen,) = mdt.list_mdt(hub, colleague).entries
    assert (seen.question, seen.case_id, seen.outcome_at) == ("手术还是新辅助？", None, None)
    assert mdt.list_mdt(hub, wang).entries[0].case_id == case_id
    assert mdt.list_mdt(hub, stranger).entries == ()
    with pytest.raises(NotFound):
        mdt.note_outcome(hub, stranger, mdt_id, "x", "y")
    mdt.note_outcome(hub, colleague, mdt_id, "胸外科 王; 肿瘤科 李", "先行新辅助治疗")
    (over,) = mdt.list_mdt(hub, wang).entries
    assert (over.outcome, over.participants, over.outcome_at) == (
        "先行新辅助治疗",
        "胸外科 王; 肿瘤科 李",
        hub.clock(),
    )
    with pytest.raises(WrongState):
        mdt.note_outcome(hub, wang, mdt_id, "x", "y")


def test_the_day_of_a_conference_is_the_hospitals_own(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
) -> None:
    hub_clock.now = hub_clock.now.replace(hour=17)  # after midnight in the hospital's zone, Asia/Shanghai
    case_id, there = world.arrive(), hub.clock().date() + timedelta(days=1)
    with pytest.raises(Invalid):
        mdt.put_on_list(hub, wang, case_id, "?", there - timedelta(days=1))
    mdt.put_on_list(hub, wang, case_id, "?", there)
    assert mdt.list_mdt(hub, wang).today == there
