"""A county asks the city for its opinion and keeps the case; the opinion is dated and of the report's record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from reading_queue.db.consult_tables import Consult
from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.consults import ConsultState
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role, Title
from reading_queue.domain.routing import Reason
from reading_queue.errors import NotFound, NotHolder, WrongState
from reading_queue.services.access.visibility import Viewer, may_see
from reading_queue.services.hub import Hub
from reading_queue.services.network.network_versions import record_person, record_physician
from reading_queue.services.reading import consults, desk_views, mdt, reading
from reading_queue.services.reading.consult_rows import ConsultView
from reading_queue.services.routing import decisions, escalating
from reading_queue.services.worklists import desk_events
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.signed_report import AmendmentKind
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def gao(world: World) -> Viewer:
    """A physician of the county, who reads first."""
    world.add_agreement("agreement-county", requesting=COUNTY, assisting=COUNTY, stage=1)
    with world.hub.transaction() as session:
        city = Agreement.agreement_id == "agreement-city"
        session.execute(update(Agreement).where(city).values(services=["verification", "consultation"]))
    return world.add_physician("gao", organisation=COUNTY)


@pytest.fixture
def lin(world: World, gao: Viewer) -> Viewer:
    """A chief of the city hospital."""
    return world.add_physician("lin", title=Title.CHIEF)


def taken(world: World, reader: Viewer, lane: Lane = Lane.ROUTINE) -> tuple[str, str]:
    case_id = world.arrive(lane=lane)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(world.hub, reader, task_id)
    return case_id, task_id


def of_case(world: World, viewer: Viewer, case_id: str) -> ConsultView:
    (found,) = desk_views.case_view(world.hub, viewer, case_id).consults
    return found


def test_who_reads_at_several_hospitals_may_ask_by_the_agreements_of_each(world: World, hub: Hub, gao: Viewer):
    with hub.transaction() as session:
        session.add(Organisation(organisation_id="other-county", kind="county", name="邻县人民医院"))
        session.add(Organisation(organisation_id="province", kind="provincial", name="省人民医院"))
    world.add_agreement("agreement-other", requesting="other-county", assisting="province", stage=1)
    with hub.transaction() as session:
        session.get_one(Agreement, "agreement-other").services = ["consultation"]
    case_id, _ = taken(world, gao)

    def asked() -> list[str]:
        return [one.organisation_id for one in desk_views.case_view(hub, gao, case_id).hospitals_to_ask]

    assert asked() == [CITY]
    with hub.transaction() as session:
        session.get_one(Physician, gao.physician_id).also_at = ["other-county"]
    assert asked() == ["province", CITY]
    with hub.transaction() as session:
        session.get_one(Physician, gao.physician_id).also_at = [CITY]
    assert asked() == [CITY], "where a colleague answers: they read this case for the county"


def test_what_people_decided_stands_with_who_why_and_whom_else_they_could_have_chosen(
    world: World, hub: Hub, hub_clock: SteerableClock, gao: Viewer
):
    coordinator = replace(person(world, "chen", Role.COORDINATOR, COUNTY), site_id=None)
    lead = world.add_physician("he", organisation=COUNTY, title=Title.CHIEF, duty_s=60)
    with hub.transaction() as session:
        for name in ("gao", "he"):
            record_person(session, session.get_one(Account, name), hub.clock())
            record_physician(session, session.get_one(Physician, f"physician-{name}"), hub.clock())
    case_id, task_id = taken(world, gao)
    hub_clock.advance(60)
    consults.ask(hub, gao, task_id, CITY, "是否需要增强？")
    hub_clock.advance(60)
    mdt.put_on_list(hub, gao, case_id, "手术还是化疗？", hub_clock.now.date())
    hub_clock.advance(60)
    reading.take_over(hub, lead, task_id, "交班")
    found = decisions.list_decisions(hub, coordinator, case_id)
    assert [(one.act, one.decided_by, one.reason, one.offered_to, one.could_be_asked) for one in found.decisions] == [
        ("taken_over", "He", "交班", ("He",), ()),
        ("listed", "Gao", "手术还是化疗？", ("清河县人民医院",), ()),
        ("consulted", "Gao", "是否需要增强？", ("市第一人民医院",), ("市第一人民医院",)),
        ("routed", "", "", ("Gao", "He"), ()),
    ]
    assert found.is_exact
    assert found.shown is found.decisions[0]
    assert [(one.name, one.offered, one.reasons) for one in found.then if one.name in {"Gao", "He"}] == [
        ("Gao", False, ()),
        ("He", True, (Reason.OFF_DUTY,)),
    ]


def sees_images(world: World, viewer: Viewer) -> bool:
    with world.hub.transaction() as session:
        return bool(session.scalar(select(may_see(viewer, SITE, "1.2.3", world.hub.clock()))))


def test_an_opinion_comes_back_dated_and_the_case_stays_with_who_asked(
    world: World, hub: Hub, hub_clock: SteerableClock, gao: Viewer, lin: Viewer
):
    case_id, task_id = taken(world, gao)
    (hospital,) = desk_views.case_view(hub, gao, case_id).hospitals_to_ask
    assert (hospital.organisation_id, hospital.agreement_id) == (CITY, "agreement-city")
    assert not sees_images(world, lin)
    consult_id = consults.ask(hub, gao, task_id, CITY, "是否需要增强？")
    assert [one.consult_id for one in consults.consults_of(hub, lin)] == [consult_id]
    assert sees_images(world, lin)
    consults.accept(hub, lin, consult_id)
    hub_clock.advance(300)
    consults.answer(hub, lin, consult_id, "建议增强扫描。")
    seen = of_case(world, gao, case_id)
    assert (seen.state, seen.words, seen.consultant, seen.ended_at) == (
        ConsultState.ANSWERED,
        "建议增强扫描。",
        "Lin",
        hub.clock(),
    )
    assert world.open_task(case_id).holder_id == gao.physician_id
    assert sees_images(world, lin), "who gave an opinion may follow what became of it"
    hops = world.hops(case_id)
    assert [hop for hop in hops if hop.value.startswith("consult")] == [
        Hop.CONSULT_ASKED,
        Hop.CONSULT_ACCEPTED,
        Hop.CONSULT_ANSWERED,
    ]


def test_nobody_signs_while_an_opinion_is_awaited_and_the_report_has_it_on_record(
    world: World, hub: Hub, gao: Viewer, lin: Viewer
):
    case_id, task_id = taken(world, gao)
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    with pytest.raises(consults.ConsultOpen):
        reading.submit(hub, gao, task_id, TEXT)
    consults.accept(hub, lin, consult_id)
    consults.answer(hub, lin, consult_id, "同意。")
    reading.submit(hub, gao, task_id, TEXT)
    world.run_jobs()
    review = world.open_task(case_id).reading_task_id
    reading.claim(hub, lin, review)
    report_id = reading.sign(hub, lin, review, None)
    with hub.transaction() as session:
        assert session.get_one(Consult, consult_id).report_id == report_id


def test_it_expires_by_its_own_clock_and_another_may_be_asked(
    world: World, hub: Hub, hub_clock: SteerableClock, gao: Viewer, lin: Viewer
):
    case_id, task_id = taken(world, gao, Lane.STAT)
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    due_at = world.case(case_id).due_at
    assert of_case(world, gao, case_id).due_at == hub.clock() + timedelta(minutes=hub.policy.consult_limit_min["stat"])
    consults.accept(hub, lin, consult_id)
    hub_clock.advance(hub.policy.consult_limit_min["stat"] * 60)
    reading_lease = reading.heartbeat(hub, gao, task_id)
    assert reading_lease > hub.clock()
    assert consults.expire_consults(hub) == 1
    assert consults.expire_consults(hub) == 0
    assert of_case(world, gao, case_id).state is ConsultState.EXPIRED
    assert world.case(case_id).due_at == due_at, "the case's own limit runs on"
    with pytest.raises(WrongState):
        consults.answer(hub, lin, consult_id, "zu spät")
    assert consults.ask(hub, gao, task_id, CITY, "again") != consult_id


def escalations(world: World, case_id: str) -> list[str]:
    with world.hub.transaction() as session:
        is_open = EscalationRow.case_id == case_id, EscalationRow.ended_at.is_(None)
        return list(session.scalars(select(EscalationRow.kind).where(*is_open).order_by(EscalationRow.raised_at)))


def test_who_oversees_is_told_when_two_thirds_and_all_of_its_time_have_passed(
    world: World, hub: Hub, hub_clock: SteerableClock, gao: Viewer, lin: Viewer
):
    case_id, task_id = taken(world, gao)
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    limit_s = hub.policy.consult_limit_min["routine"] * 60
    lease = timedelta(seconds=hub.policy.lease_s)
    assert consults.hurry_consults(hub) == 0
    until = hub.clock() + timedelta(seconds=limit_s * 2 / 3)
    while hub.clock() < until:
        hub_clock.advance(min(lease, until - hub.clock()).total_seconds())
        reading.heartbeat(hub, gao, task_id)
    assert (consults.hurry_consults(hub), consults.hurry_consults(hub)) == (1, 0)
    escalating.escalate_due(hub)
    assert Escalation.CONSULT_WAITS in escalations(world, case_id), "the case's own clock does not settle it"
    hub_clock.advance(limit_s / 3)
    assert consults.expire_consults(hub) == 1
    assert Escalation.CONSULT_WAITS not in escalations(world, case_id)
    assert Escalation.CONSULT_EXPIRED in escalations(world, case_id)
    assert [one.state for one in consults.consults_of(hub, gao)] == [ConsultState.EXPIRED], "who asked sees it"
    reading.heartbeat(hub, gao, task_id)
    assert consults.ask(hub, gao, task_id, CITY, "again") != consult_id
    assert Escalation.CONSULT_EXPIRED not in escalations(world, case_id)


def test_answer_stays_on_the_desk_of_who_asked_while_they_hold_the_case(
    world: World, hub: Hub, gao: Viewer, lin: Viewer
):
    _, task_id = taken(world, gao)
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    consults.accept(hub, lin, consult_id)
    assert [one.consult_id for one in consults.consults_of(hub, lin)] == [consult_id]
    consults.answer(hub, lin, consult_id, "同意。")
    assert consults.consults_of(hub, lin) == ()
    (shown,) = consults.consults_of(hub, gao)
    assert (shown.state, shown.words) == (ConsultState.ANSWERED, "同意。")
    reading.submit(hub, gao, task_id, TEXT)
    assert consults.consults_of(hub, gao) == ()


def test_a_hospital_says_no_and_who_asked_may_take_the_question_back(world: World, hub: Hub, gao: Viewer, lin: Viewer):
    case_id, task_id = taken(world, gao)
    first = consults.ask(hub, gao, task_id, CITY, "?")
    with pytest.raises(WrongState):
        consults.ask(hub, gao, task_id, CITY, "?")
    consults.decline(hub, lin, first, "今日无神经影像医师")
    assert (of_case(world, gao, case_id).state, of_case(world, gao, case_id).words) == (
        ConsultState.DECLINED,
        "今日无神经影像医师",
    )
    assert not sees_images(world, lin)
    second = consults.ask(hub, gao, task_id, CITY, "?")
    consults.withdraw(hub, gao, second)
    with pytest.raises(WrongState):
        consults.accept(hub, replace(gao), second)


def test_giving_the_case_back_ends_the_question(world: World, hub: Hub, gao: Viewer, lin: Viewer):
    case_id, task_id = taken(world, gao)
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    start = desk_events.find_end(hub)
    reading.release(hub, gao, task_id, "110526")
    assert world.hops(case_id).count(Hop.CONSULT_ENDED) == 1
    ended = [told for told in desk_events.read_events(hub, start) if told.kind == Hop.CONSULT_ENDED]
    assert [lin.physician_id in told.physician_ids for told in ended] == [True], "it leaves the desk that was asked"
    with hub.transaction() as session:
        assert session.get_one(Consult, consult_id).state == ConsultState.WITHDRAWN
    assert consults.consults_of(hub, lin) == ()


def test_giving_the_text_back_or_leaving_the_report_as_it_is_ends_the_question_too(
    world: World, hub: Hub, gao: Viewer, lin: Viewer
):
    with hub.transaction() as session:
        session.execute(update(Agreement).values(services=["interpretation", "verification", "consultation"]))
    case_id = world.arrive()
    for returned in (True, False):
        world.submit(gao, case_id)
        reading.claim(hub, lin, world.open_task(case_id).reading_task_id)
        if returned:
            consults.ask(hub, lin, world.open_task(case_id).reading_task_id, COUNTY, "?")
            reading.return_to_author(hub, lin, world.open_task(case_id).reading_task_id, "请修改")
    reading.sign(hub, lin, world.open_task(case_id).reading_task_id, None)
    for _ in range(2):  # a question that nobody can take back any more would stand before the next signature
        task_id = reading.open_addendum(hub, lin, case_id, AmendmentKind.APPENDED, "补充").reading_task_id
        consults.ask(hub, lin, task_id, COUNTY, "?")
        reading.nothing_to_amend(hub, lin, task_id, "无须补充")
    assert world.hops(case_id).count(Hop.CONSULT_ENDED) == 3
    assert not any(one.is_open for one in desk_views.case_view(hub, lin, case_id).consults)


def test_only_who_holds_the_case_asks_only_under_an_agreement_and_only_that_hospital_answers(
    world: World, hub: Hub, gao: Viewer, lin: Viewer
):
    resident = world.add_physician("bai", title=Title.RESIDENT)
    county_colleague = world.add_physician("hu", organisation=COUNTY)
    _, task_id = taken(world, gao)
    with pytest.raises(NotHolder):
        consults.ask(hub, lin, task_id, CITY, "?")
    with pytest.raises(consults.MayNotBeConsulted):
        consults.ask(hub, gao, task_id, COUNTY, "?")
    consult_id = consults.ask(hub, gao, task_id, CITY, "?")
    for stranger in (resident, county_colleague):
        with pytest.raises(NotFound):
            consults.accept(hub, stranger, consult_id)
        assert not sees_images(world, stranger)
    with hub.transaction() as session:
        session.execute(update(Agreement).values(services=["interpretation", "verification"]))
    consults.withdraw(hub, gao, consult_id)
    with pytest.raises(consults.MayNotBeConsulted):
        consults.ask(hub, gao, task_id, CITY, "?")
