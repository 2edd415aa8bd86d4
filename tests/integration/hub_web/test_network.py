"""Importing a network: the same document twice changes nothing, a wrong one changes nothing at all."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from reading_queue.db.network_tables import AgreementVersion, DutyPeriod
from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.services.access.accounts import login
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import agreements_as_of
from reading_queue.services.network.network import load_network
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_versions import network_as_of
from reading_queue.services.routing.routing_facts import SharedFacts
from storage.ledger.tables import AuditEvent, Site
from tests.integration.hub_web.county import CHEAP, PASSWORD, read_document
from tests.support.clock import SteerableClock

SHANGHAI = ZoneInfo("Asia/Shanghai")
TABLES = (Organisation, Site, Agreement, AgreementVersion, Account, Physician, DutyPeriod)


def counts(hub: Hub) -> list[int]:
    with hub.transaction() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


def test_demonstration_is_shaped_like_the_county(hub: Hub) -> None:
    loaded = load_network(hub, read_document(), hasher=CHEAP)
    assert (loaded.organisations, loaded.sites, loaded.passwords) == (27, 23, {})
    with hub.transaction() as session:
        kinds = dict(session.execute(select(Organisation.kind, func.count()).group_by(Organisation.kind)).all())
        hospitals = session.scalar(select(func.count(Physician.organisation_id.distinct())))
    assert kinds == {"township": 23, "county": 2, "municipal": 1, "provincial": 1}
    assert hospitals == 4
    login(hub, "coordinator", PASSWORD, "browser")


def test_second_import_changes_nothing_but_the_end_of_duty(hub: Hub, hub_clock: SteerableClock) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    before = counts(hub)
    hub_clock.advance(3600)
    load_network(hub, read_document(), hasher=CHEAP)
    assert counts(hub) == before
    with hub.transaction() as session:
        assert (session.scalars(select(DutyPeriod.ends_at)).first() - hub_clock.now).days == 366


def test_account_keeps_its_password_and_a_new_one_without_gets_a_random_one(hub: Hub) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    changed = dict(document["coordinators"][0], password="another-password")
    fresh = {"login": "second", "name": "第二", "organisation": "qinghe-renmin"}
    document["coordinators"] = [changed, fresh]
    loaded = load_network(hub, document, hasher=CHEAP)
    assert set(loaded.passwords) == {"second"}
    login(hub, "coordinator", PASSWORD, "browser")
    login(hub, "second", loaded.passwords["second"], "browser")
    assert loaded.passwords["second"] not in repr(loaded)


def test_all_mistakes_are_told_together_with_their_paths_and_nothing_is_changed(hub: Hub) -> None:
    document: dict[str, Any] = read_document()
    document["organisations"][4]["parent"] = "nowhere"
    document["agreements"][0]["assisting"] = "nobody"
    document["technicians"][0]["organisation"] = "qinghe-renmin"
    document["administrators"][0]["login"] = "coordinator"
    with pytest.raises(NetworkInvalid) as refused:
        load_network(hub, document, hasher=CHEAP)
    paths = {problem.split(":")[0] for problem in refused.value.problems}
    assert paths == {
        "organisations[4].parent",
        "agreements[0].assisting",
        "technicians[0].organisation",
        "administrators[0].login",
    }
    assert counts(hub) == [0] * len(TABLES)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        pytest.param("physicians[0].title", lambda d: d["physicians"][0].update(title="wizard"), id="title"),
        pytest.param("organisations[0].kind", lambda d: d["organisations"][0].pop("kind"), id="missing"),
        pytest.param("surprise", lambda d: d.update(surprise=1), id="unknown-key"),
        pytest.param("agreements[0].stage", lambda d: d["agreements"][0].update(stage=0), id="stage"),
        pytest.param("organisations[4].site", lambda d: d["organisations"][4].update(site="../x"), id="site"),
    ],
)
def test_mistake_in_form_is_told_by_its_path(hub: Hub, path: str, change: Any) -> None:
    document = read_document()
    change(document)
    with pytest.raises(NetworkInvalid) as refused:
        load_network(hub, document, hasher=CHEAP)
    assert refused.value.problems[0].startswith(f"{path}: ")


def test_organisation_cannot_stand_below_itself(hub: Hub) -> None:
    document = read_document()
    document["organisations"][0]["parent"] = "qinghe-t01"
    with pytest.raises(NetworkInvalid, match="would stand below itself"):
        load_network(hub, document, hasher=CHEAP)


def test_old_case_is_judged_by_the_agreement_of_its_day(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    day_of_the_case = hub_clock.now
    hub_clock.advance(3600)
    document["agreements"][0].update(time_limits_min={"stat": 30}, requesting=["qinghe-t01"])
    load_network(hub, document, hasher=CHEAP)
    agreement_id = f"{document['agreements'][0]['id']}:qinghe-t01"
    with hub.transaction() as session:
        then, now = (
            {one.agreement_id: one for one in agreements_as_of(session, moment)}
            for moment in (day_of_the_case, hub_clock.now)
        )
        assert then.keys() == now.keys()
        assert (then[agreement_id].number, then[agreement_id].time_limits_min["stat"]) == (1, 60)
        assert (now[agreement_id].number, now[agreement_id].time_limits_min) == (2, {"stat": 30})
        assert {one for one in then if then[one].number != now[one].number} == {agreement_id}
        changes = select(AuditEvent.detail).where(AuditEvent.object_kind == "agreement", AuditEvent.action == "U")
        assert session.scalars(changes).all() == [{"version": 2, "changed": ["time_limits_min"]}]


@pytest.mark.parametrize(
    ("change", "overlaps"),
    [
        ({}, True),
        ({"requesting": ["qinghe-t02", "qinghe-t01"], "modalities": ["CT"]}, True),
        ({"requesting": ["qinghe-t02", "qinghe-t03"], "stage": 3}, False),
        ({"valid_from": "2100-01-01", "valid_until": "2100-12-31"}, False),
    ],
    ids=["same", "one-modality-of-all", "other-stage", "other-days"],
)
def test_agreements_for_the_same_work_on_the_same_days_are_refused(
    hub: Hub, change: dict[str, Any], overlaps: bool
) -> None:
    document = read_document()
    document["agreements"].append({**document["agreements"][0], "id": "again", **change})
    if not overlaps:
        load_network(hub, document, hasher=CHEAP)
        return
    with pytest.raises(NetworkInvalid, match="again and renmin-first cover the same work of qinghe-t01 at") as refused:
        load_network(hub, document, hasher=CHEAP)
    assert len(refused.value.problems) == 1
    assert counts(hub) == [0] * len(TABLES)


def test_hospital_without_anybody_on_duty_is_told_though_its_file_has_no_weekly_roster(hub: Hub) -> None:
    document = read_document()
    hospital = document["physicians"][0]["organisation"]
    for one in document["physicians"]:
        one["duty"] = [] if one["organisation"] == hospital else "always"
    (told,) = load_network(hub, document, hasher=CHEAP).roster_gaps
    assert f"({hospital}): nobody is on duty from 09:00 to 09:00 7 days later (168 h): Mon 2026-03-02" in told


def test_weekly_roster_takes_the_place_of_other_duty_and_tells_its_gaps(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    for colleague in document["physicians"][1:]:
        colleague["duty"] = []
    load_network(hub, document, hasher=CHEAP)
    login_name = document["physicians"][0]["login"]
    organisation = document["physicians"][0]["organisation"]
    document["physicians"] = [document["physicians"][0]]
    document["physicians"][0]["duty"] = {"weekly": {"mon": ["20:00-08:00"]}}
    hub_clock.advance(3600)
    first, again = (load_network(hub, document, hasher=CHEAP) for _ in range(2))
    assert first.roster_gaps == again.roster_gaps
    assert 1 <= len(first.roster_gaps) <= 2
    assert all(f"({organisation}): nobody is on duty from " in words for words in first.roster_gaps)
    periods = (
        select(DutyPeriod.starts_at, DutyPeriod.ends_at)
        .join(Physician, Physician.physician_id == DutyPeriod.physician_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Account.login == login_name, DutyPeriod.ends_at > hub_clock.now)
    )
    with hub.transaction() as session:
        nights = [tuple(moment.astimezone(SHANGHAI) for moment in row) for row in session.execute(periods)]
    assert len(nights) >= 52
    assert {(f"{start:%a %H:%M}", f"{end:%a %H:%M}") for start, end in nights} == {("Mon 20:00", "Tue 08:00")}


def test_shift_that_is_no_time_of_day_is_refused(hub: Hub) -> None:
    document = read_document()
    document["physicians"][0]["duty"] = {"weekly": {"mon": ["20:00-25:00"]}}
    with pytest.raises(NetworkInvalid, match="weekly"):
        load_network(hub, document, hasher=CHEAP)


def test_every_change_of_the_network_is_a_version_with_its_moment_and_an_audit_line(
    hub: Hub, hub_clock: SteerableClock
) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    before = hub_clock.now
    hub_clock.advance(3600)
    document["organisations"][0]["name"] = "清河县第一人民医院"
    document["physicians"][0].update(wip_max=9, also_at=["qinghe-zhongyi"], duty={"weekly": {"mon": ["08:00-12:00"]}})
    load_network(hub, document, hasher=CHEAP)
    with hub.transaction() as session:
        physician_id = session.scalar(select(Physician.physician_id).where(Physician.wip_max == 9))
        for kind, subject, changed in (
            (Kind.ORGANISATION, "qinghe-renmin", ["name"]),
            (Kind.PHYSICIAN, physician_id, ["also_at", "wip_max"]),
            (Kind.DUTY, physician_id, ["duty"]),
        ):
            then, now = (network_as_of(session, kind, moment)[subject] for moment in (before, hub_clock.now))
            assert sorted(name for name in now if now[name] != then[name]) == changed
            lines = select(AuditEvent.detail).where(AuditEvent.object_kind == kind, AuditEvent.action == "U")
            assert session.scalars(lines).all() == [{"version": 2, "changed": changed}]
        assert network_as_of(session, Kind.DUTY, before)[physician_id] == {"duty": "always"}


def test_physician_is_asked_by_each_of_their_hospitals(hub: Hub) -> None:
    document = read_document()
    document["physicians"][0]["also_at"] = ["jianglan-sheng"]
    load_network(hub, document, hasher=CHEAP)
    with hub.transaction() as session:
        shared = SharedFacts(session, hub.clock(), hub.policy.workload_points)
        found = {name: shared.physicians(frozenset({name})) for name in ("qinghe-renmin", "jianglan-sheng")}
        own = session.scalar(select(Physician.physician_id).where(Physician.licence_number == "DEMO-0001"))
    assert all(own in {one.physician_id for one in physicians} for physicians in found.values())
    assert next(one for one in found["jianglan-sheng"] if one.physician_id == own).hospitals == (
        "qinghe-renmin",
        "jianglan-sheng",
    )
