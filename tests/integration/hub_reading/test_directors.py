"""The duty director: who it is now by dated rosters, what they are told at once, and what they do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, func, select, update

from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.network_tables import Absence
from reading_queue.db.tables import Account
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Forbidden
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing
from reading_queue.services.network.directors import find_directors, is_on_duty
from reading_queue.services.network.network_editing import FieldsInvalid, NotYours, StaleVersion
from reading_queue.services.network.network_versions import network_as_of
from reading_queue.services.routing import escalating
from reading_queue.services.routing.director_notices import tell_further
from reading_queue.services.worklists import desk_events
from reading_queue.services.worklists.desk_events import Batch, Cursor
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.lanes import Lane
from storage.ledger.tables import AuditEvent, CustodyEvent
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

SHANGHAI = ZoneInfo("Asia/Shanghai")
LIMIT_S = 90 * 60 - 30 * 60  # an urgent case of `agreement-city`, whose examination began half an hour ago
BY_DAY = {"weekly": {"mon": ["08:00-17:00"]}}  # the tests begin on a Monday at nine
BY_NIGHT = {"weekly": {"mon": ["17:00-08:00"]}}


@pytest.fixture
def administrator(world: World) -> Viewer:
    return replace(person(world, "root", Role.ADMINISTRATOR, COUNTY), site_id=None)


@pytest.fixture
def coordinator(world: World) -> Viewer:
    return replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)


@pytest.fixture
def chief(world: World) -> Viewer:
    """A physician of the county hospital who reads nothing of this case, for their duty ends at once."""
    return world.add_physician("chief", organisation=COUNTY, duty_s=1)


def roster(hub: Hub, by: Viewer, login: str, duty: Any, *, organisation: str = COUNTY, version: int = 0) -> None:
    network_editing.save_director(hub, by, organisation, login, duty, version)


def breach(world: World, clock: SteerableClock) -> str:
    """Let an urgent case arrive and pass its limit; return it."""
    case_id = world.arrive(lane=Lane.URGENT)
    clock.advance(LIMIT_S)
    escalating.escalate_due(world.hub)
    return case_id


def said(hub: Hub, case_id: str) -> dict[str, dict[str, Any]]:
    """Return what the ledger says of each escalation of the case, by its step."""
    lines = select(CustodyEvent.detail).where(CustodyEvent.case_id == case_id, CustodyEvent.hop == Hop.ESCALATED)
    with hub.transaction() as session:
        return {detail["step"]: detail for detail in session.scalars(lines)}


@pytest.mark.parametrize(
    ("duty", "local", "on_duty"),
    [
        ("always", "2026-03-02 09:00", True),
        ([], "2026-03-02 09:00", False),
        (BY_DAY, "2026-03-02 08:00", True),
        (BY_DAY, "2026-03-02 17:00", False),
        (BY_DAY, "2026-03-03 09:00", False),
        (BY_NIGHT, "2026-03-02 17:00", True),
        (BY_NIGHT, "2026-03-03 07:59", True),
        (BY_NIGHT, "2026-03-03 08:00", False),
        (BY_NIGHT, "2026-03-02 07:00", False),
        ({**BY_NIGHT, "days_off": ["2026-03-02"]}, "2026-03-03 07:59", False),
        ({"extra": {"2026-03-04": ["09:00-10:00"]}}, "2026-03-04 09:30", True),
        ([{"starts_at": "2026-03-02T00:00+08:00", "ends_at": "2026-03-02T09:00+08:00"}], "2026-03-02 08:59", True),
        ([{"starts_at": "2026-03-02T00:00+08:00", "ends_at": "2026-03-02T09:00+08:00"}], "2026-03-02 09:00", False),
    ],
)
def test_a_roster_has_nights_holidays_and_extra_shifts_in_local_time(duty: Any, local: str, on_duty: bool):
    now = datetime.fromisoformat(local).replace(tzinfo=SHANGHAI).astimezone(UTC)
    assert is_on_duty(duty, "Asia/Shanghai", now) == on_duty


def test_no_duty_counts_after_the_last_day_of_the_person():
    night = datetime(2026, 3, 3, 1, 0, tzinfo=SHANGHAI).astimezone(UTC)  # of the shift that began on Monday
    assert is_on_duty(BY_NIGHT, "Asia/Shanghai", night, date(2026, 3, 3))
    assert not is_on_duty(BY_NIGHT, "Asia/Shanghai", night, date(2026, 3, 2))


def test_a_breach_tells_the_director_on_duty_and_the_ledger_says_so(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, coordinator: Viewer, wang: Viewer
):
    chief = world.add_physician("chief", organisation=COUNTY, duty_s=1)
    night = world.add_physician("night", organisation=COUNTY, duty_s=1)
    roster(hub, administrator, "chief", BY_DAY)
    roster(hub, administrator, "night", BY_NIGHT)
    case_id = world.arrive(lane=Lane.URGENT)
    hub_clock.advance(LIMIT_S - 60)
    escalating.escalate_due(hub)
    assert escalating.list_told(hub, chief) == ()  # two thirds are no breach
    hub_clock.advance(60)
    escalating.escalate_due(hub)
    (told,) = escalating.list_told(hub, chief)
    assert (told.kind, told.case_id, told.directors, told.directors_of) == (
        Escalation.BREACHED,
        case_id,
        ("Chief",),
        "清河县人民医院",
    )
    assert escalating.list_told(hub, night) == ()
    assert said(hub, case_id)["breached"] == {
        "step": "breached",
        "told": "duty_director",
        "organisation_id": COUNTY,
        "directors": 1,
    }
    assert "told" not in said(hub, case_id)["two_thirds"]
    seen = {one.kind: one.directors for one in escalating.list_escalations(hub, coordinator)}
    assert seen == {Escalation.BREACHED: ("Chief",)}
    for _ in range(2):
        escalating.escalate_due(hub)
    with hub.transaction() as session:
        assert session.scalar(select(func.count()).select_from(DirectorNotice)) == 1


def test_when_nobody_can_be_asked_the_director_is_told_in_the_same_moment(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    roster(hub, administrator, "chief", "always")
    hub_clock.advance(10)
    case_id = world.arrive(lane=Lane.STAT)
    (told,) = escalating.list_told(hub, chief)
    assert (told.kind, told.state, told.case_id) == (Escalation.NOBODY, CaseState.READY, case_id)
    assert told.reason


def test_the_nearest_organisation_with_a_director_on_duty_is_asked_and_else_the_coordinators(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, coordinator: Viewer, chief: Viewer
):
    head = person(world, "head", Role.COORDINATOR, SITE)
    roster(hub, administrator, "head", BY_NIGHT, organisation=SITE)
    roster(hub, administrator, "chief", {"weekly": {"mon": ["17:00-23:00"]}})
    other = world.add_physician("other", organisation=CITY, duty_s=1)  # not up the line: nobody of this case's
    roster_of_city = network_editing.save_director
    with pytest.raises(NotYours):
        roster_of_city(hub, coordinator, CITY, "other", "always", 0)
    roster_of_city(hub, administrator, CITY, "other", "always", 0)
    hub_clock.advance(10)
    case_id = world.arrive(lane=Lane.STAT)
    assert said(hub, case_id)["nobody"] == {"step": "nobody", "told": "coordinators"}
    (seen,) = escalating.list_escalations(hub, coordinator)
    assert (seen.tells_director, seen.directors) == (True, ())
    assert [escalating.list_told(hub, one) for one in (head, chief, other)] == [(), (), ()]
    with hub.transaction() as session:
        evening = datetime(2026, 3, 2, 18, 0, tzinfo=SHANGHAI)
        assert find_directors(session, SITE, evening).organisation_id == SITE
        assert find_directors(session, COUNTY, evening).account_ids == ("chief",)


def test_who_comes_on_duty_is_told_of_what_nobody_has_acknowledged(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    night = world.add_physician("night", organisation=COUNTY, duty_s=1)
    roster(hub, administrator, "chief", BY_DAY)
    roster(hub, administrator, "night", BY_NIGHT)
    hub_clock.advance(10)
    case_id = world.arrive("1.2.3", lane=Lane.STAT)
    (first,) = escalating.list_told(hub, chief)
    hub_clock.advance(9 * 3600)
    escalating.escalate_due(hub)
    told = escalating.list_told(hub, night)
    assert {one.case_id for one in told} == {case_id}
    assert {one.kind for one in told} == {Escalation.NOBODY, Escalation.BREACHED}
    assert next(one for one in told if one.kind is Escalation.NOBODY).directors == ("Chief", "Night")
    for one in told:
        escalating.acknowledge(hub, night, one.escalation_id)
    hub_clock.advance(15 * 3600)  # the next morning nobody of them is on duty, and nobody is told anew
    roster(hub, administrator, "chief", "always", version=1)
    escalating.escalate_due(hub)
    assert [one.escalation_id for one in escalating.list_told(hub, chief)] == [first.escalation_id]


def test_what_a_director_does_not_acknowledge_goes_to_the_next_one_up_the_line(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, coordinator: Viewer, chief: Viewer
):
    head = person(world, "head", Role.COORDINATOR, SITE)
    roster(hub, administrator, "head", "always", organisation=SITE)
    roster(hub, administrator, "chief", "always")
    hub_clock.advance(10)
    case_id = world.arrive(lane=Lane.STAT)
    (first,) = escalating.list_told(hub, head)
    for wait_s, told in ((hub.policy.director_answer_s - 1, 0), (1, 1)):
        hub_clock.advance(wait_s)
        for _ in range(2):
            escalating.escalate_due(hub)
        assert len(escalating.list_told(hub, chief)) == told
    assert said(hub, case_id)["nobody"] == {
        "step": "nobody",
        "told": "duty_director",
        "organisation_id": COUNTY,
        "directors": 1,
    }
    (seen,) = [one for one in escalating.list_escalations(hub, coordinator) if one.kind is Escalation.NOBODY]
    assert seen.directors == ("Head", "Chief")
    escalating.acknowledge(hub, chief, first.escalation_id)
    assert escalating.list_told(hub, head)[0].acknowledged_by == "Chief"


def test_what_was_acknowledged_in_time_goes_no_further(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    head = person(world, "head", Role.COORDINATOR, SITE)
    roster(hub, administrator, "head", "always", organisation=SITE)
    roster(hub, administrator, "chief", "always")
    hub_clock.advance(10)
    world.arrive(lane=Lane.STAT)
    (told,) = escalating.list_told(hub, head)
    escalating.acknowledge(hub, head, told.escalation_id)
    hub_clock.advance(hub.policy.director_answer_s)
    escalating.escalate_due(hub)
    assert escalating.list_told(hub, chief) == ()


def test_looking_who_came_on_duty_costs_the_same_however_many_wait(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    roster(hub, administrator, "chief", BY_NIGHT)
    hub_clock.advance(10)
    for number in range(6):
        world.arrive(f"1.2.{number}", lane=Lane.STAT)
    counted: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counted.append(statement)

    event.listen(hub.engine, "before_cursor_execute", count)
    try:
        with hub.transaction() as session:
            evening = datetime(2026, 3, 2, 18, 0, tzinfo=SHANGHAI)
            assert tell_further(session, evening, hub.policy.director_answer_s) == 6
    finally:
        event.remove(hub.engine, "before_cursor_execute", count)
    assert len([one for one in counted if one.startswith("SELECT") and "pg_notify" not in one]) <= 3
    assert len([one for one in counted if "INTO director_notices" in one]) == 1
    assert len(escalating.list_told(hub, chief)) == 6


def test_of_more_than_are_looked_at_at_once_each_has_its_turn(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    roster(hub, administrator, "chief", BY_NIGHT)
    hub_clock.advance(10)
    for number in range(5):
        world.arrive(f"1.2.{number}", lane=Lane.STAT)
        hub_clock.advance(1)
    evening = datetime(2026, 3, 2, 18, 0, tzinfo=SHANGHAI)
    for sweep, told in enumerate((2, 2, 1, 0)):
        with hub.transaction() as session:
            now = evening + timedelta(seconds=sweep)
            assert tell_further(session, now, hub.policy.director_answer_s, at_once=2) == told
    assert len(escalating.list_told(hub, chief)) == 5


def test_the_director_acknowledges_and_whoever_was_not_told_may_not(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, coordinator: Viewer, chief: Viewer
):
    roster(hub, administrator, "chief", "always")
    hub_clock.advance(10)
    world.arrive(lane=Lane.STAT)
    stranger = world.viewer("chief", organisation=COUNTY)
    (told,) = escalating.list_told(hub, chief)
    other = world.add_physician("other", organisation=COUNTY, duty_s=1)
    with pytest.raises(Forbidden):
        escalating.acknowledge(hub, other, told.escalation_id)
    escalating.acknowledge(hub, stranger, told.escalation_id)
    (seen,) = escalating.list_escalations(hub, coordinator)
    assert seen.acknowledged_by == "Chief"
    acknowledged = AuditEvent.detail["event"].as_string() == "escalation_acknowledged"
    with hub.transaction() as session:
        trail = session.scalars(select(AuditEvent).where(acknowledged)).one()
    assert (trail.account_id, trail.detail["as_director"]) == ("chief", True)


@pytest.mark.parametrize("why", ["away", "closed"])
def test_who_is_away_or_whose_account_is_closed_is_not_told(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer, why: str
):
    second = world.add_physician("second", organisation=COUNTY, duty_s=1)
    roster(hub, administrator, "chief", "always")
    roster(hub, administrator, "second", "always")
    now = hub_clock()
    with hub.transaction() as session:
        if why == "closed":
            session.execute(update(Account).where(Account.login == "chief").values(disabled_at=now))
        else:
            absence = {"absence_id": new_id(), "physician_id": "physician-chief", "set_by": "chief", "reason": "会议"}
            session.add(Absence(**absence, since=now, until=now + timedelta(hours=2), ended_at=None, ended_by=None))
    hub_clock.advance(10)
    world.arrive(lane=Lane.STAT)
    assert escalating.list_told(hub, chief) == ()
    assert len(escalating.list_told(hub, second)) == 1


def test_open_desks_of_those_who_were_told_hear_of_the_case_and_others_do_not(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, chief: Viewer
):
    other = world.add_physician("other", organisation=COUNTY, duty_s=1)
    roster(hub, administrator, "chief", "always")
    hub_clock.advance(10)
    case_id = world.arrive(lane=Lane.STAT)
    told = Batch([one for one in desk_events.read_events(hub, Cursor(0, 0)) if one.case_id == case_id])
    heard = {
        viewer.account_id: bool(told.concerning(desk_events.find_audience(hub, viewer))) for viewer in (chief, other)
    }
    assert heard == {"chief": True, "other": False}


def test_a_roster_is_changed_by_who_answers_for_the_organisation_and_every_version_is_kept(
    world: World, hub: Hub, hub_clock: SteerableClock, administrator: Viewer, coordinator: Viewer, chief: Viewer
):
    person(world, "tech", Role.TECHNICIAN, SITE)
    roster(hub, coordinator, "chief", BY_DAY)
    then = hub_clock()
    hub_clock.advance(60)
    with pytest.raises(StaleVersion):
        roster(hub, coordinator, "chief", BY_NIGHT)
    roster(hub, coordinator, "chief", [], version=1)
    for login, duty, field in (
        ("tech", "always", "login"),
        ("nobody", "always", "login"),
        ("chief", {"weekly": {"mon": ["late"]}}, "weekly"),
    ):
        with pytest.raises(FieldsInvalid) as refused:
            roster(hub, coordinator, login, duty, version=2 if login == "chief" else 0)
        assert refused.value.fields == (field,)
    with pytest.raises(Forbidden):
        roster(hub, chief, "chief", "always", version=2)
    subject = f"{COUNTY}:chief"
    with hub.transaction() as session:
        assert network_as_of(session, Kind.DIRECTOR, then)[subject]["duty"]["weekly"] == {"mon": ["08:00-17:00"]}
        assert network_as_of(session, Kind.DIRECTOR, hub_clock())[subject] == {"duty": []}
        trail = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "director")).all()
        assert find_directors(session, COUNTY, hub_clock()).account_ids == ()
    assert [(one.action, one.account_id, one.object_id) for one in trail] == [
        ("C", "chen", subject),
        ("U", "chen", subject),
    ]
