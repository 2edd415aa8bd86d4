"""Why not me, and why late: told from what was decided, to whom it concerns."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from reading_queue.db.tables import Account, Agreement, Physician
from reading_queue.domain.lateness import Span
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Reason
from reading_queue.errors import Forbidden, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import presence
from reading_queue.services.network.agreements import TERMS, record_agreement
from reading_queue.services.network.network_versions import record_person, record_physician
from reading_queue.services.reading import reading
from reading_queue.services.routing import decisions, explaining
from storage.contract.lanes import Lane
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def test_a_physician_is_told_why_a_case_is_not_with_them(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
):
    away = world.add_physician("fang", duty_s=1)
    stranger = world.add_physician("gao", organisation=COUNTY)
    hub_clock.advance(60)
    case_id = world.arrive()
    (told,) = explaining.why_not_me(hub, away, " A1 ")
    assert (told.case_id, told.offered, told.considered, told.own_offer, told.place) == (case_id, 1, 2, None, None)
    assert told.words == ("不在班",)
    (offered,) = explaining.why_not_me(hub, wang, "A1")
    assert (offered.own_offer, offered.place, offered.of, offered.words) == ("open", 1, 1, ())
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    (taken,) = explaining.why_not_me(hub, away, "A1")
    assert (taken.place, taken.words, taken.held_by_viewer) == (None, (), False)
    assert explaining.why_not_me(hub, stranger, "A1") == (), "their hospital does not read for this site"
    assert explaining.why_not_me(hub, wang, "A2") == explaining.why_not_me(hub, wang, " ") == ()


def rewrite_network(hub: Hub, name: str) -> None:
    """Let a hospital end its agreement, a physician be renamed, given other terms, sent away and closed."""
    now = hub.clock()
    with hub.transaction() as session:
        row = session.get_one(Agreement, "agreement-city")
        terms = {one: getattr(row, one) for one in TERMS}
        record_agreement(session, "agreement-city", {**terms, "stage": 7, "modalities": ["MR"]}, now)
        physician, account = session.get_one(Physician, f"physician-{name}"), session.get_one(Account, name)
        physician.wip_max, physician.modalities, physician.licence_valid_until = 1, ["US"], date(2020, 1, 1)
        account.display_name, account.disabled_at = "Renamed", now
        session.flush()
        record_physician(session, physician, now)
        record_person(session, account, now)


def test_an_old_decision_made_again_comes_to_the_same_whatever_the_network_says_by_now(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, zhao: Viewer
):
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    off, busy = world.add_physician("fang", duty_s=1), world.add_physician("gu", wip_max=1)
    with hub.transaction() as session:
        for name in ("wang", "zhao", "fang", "gu"):
            record_person(session, session.get_one(Account, name), hub.clock())
            record_physician(session, session.get_one(Physician, f"physician-{name}"), hub.clock())
    hub_clock.advance(60)
    reading.claim(hub, busy, world.open_task(world.arrive("1.2.1")).reading_task_id)
    hub_clock.advance(60)
    world.submit(zhao, world.arrive("1.2.2"))  # so that zhao knows the patient, and has worked
    case_id = world.arrive("1.2.3")
    world.hub = replace(hub, policy=replace(hub.policy, workload_points={"other": 1}, offer_width=1))
    hub_clock.advance(60)
    reading.decline(hub, wang, world.open_task(case_id).reading_task_id, "110530")
    world.submit(zhao, case_id)
    hub_clock.advance(1)
    reading.claim(hub, wang, world.open_task(case_id).reading_task_id)
    presence.go_away(hub, zhao, "physician-zhao", hub.clock() + timedelta(days=1), "")
    rewrite_network(world.hub, "zhao")
    hub_clock.advance(3600)
    found = decisions.list_decisions(world.hub, coordinator, case_id)
    first = decisions.list_decisions(world.hub, coordinator, case_id, found.decisions[-1].decision_id)
    told = {one.physician_id.removeprefix("physician-"): one for one in first.then}
    assert first.is_exact
    assert [(one, told[one].place) for one in ("zhao", "wang", "fang", "gu")] == [
        ("zhao", 1),
        ("wang", 2),
        ("fang", None),
        ("gu", None),
    ]
    assert (told["zhao"].name, told["zhao"].stage, told["zhao"].workload_points) == ("Zhao", 2, 100)
    assert (told["zhao"].read_this_patient, told["zhao"].offered, told["wang"].offered) == (True, True, True)
    assert (told["fang"].reasons, told["gu"].reasons) == ((Reason.OFF_DUTY,), (Reason.WORK_IN_PROGRESS_FULL,))
    for one in found.decisions:
        assert decisions.list_decisions(hub, coordinator, case_id, one.decision_id).is_exact
    (asked,) = (one for one in explaining.why_not_me(hub, off, "A1") if one.case_id == case_id)
    assert (asked.is_past, asked.place, asked.words[0]) == (True, None, "不在班"), (
        "of the verification, which came last"
    )
    with pytest.raises(NotFound):
        decisions.list_decisions(hub, coordinator, world.arrive("1.2.4"), found.decisions[0].decision_id)


def test_a_coordinator_is_told_where_the_time_went(world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer):
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    stranger = replace(coordinator, organisation_id="nowhere")
    case_id = world.arrive(lane=Lane.URGENT)
    reading.decline(hub, wang, world.open_task(case_id).reading_task_id, "110530")
    world.run_jobs()
    hub_clock.advance(3 * 3600)
    zhao = world.add_physician("zhao")
    hub_clock.advance(120)
    world.run_jobs()
    reading.claim(hub, zhao, world.open_task(case_id).reading_task_id)
    found = explaining.why_late(hub, coordinator, case_id)
    assert found.late_by is not None
    assert found.late_by > timedelta(hours=1)
    assert found.longest is not None
    assert (found.longest.span, found.declined, found.nobody) == (Span.TO_CLAIM, 1, 1)
    with pytest.raises(NotFound):
        explaining.why_late(hub, stranger, case_id)
    with pytest.raises(Forbidden):
        explaining.why_late(hub, wang, case_id)
