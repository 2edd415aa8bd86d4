"""People added to the network and ended on the coordinator's desk: they log in, read, leave, and are followed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Account, Offer, Physician
from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.accounts import LoginRefused
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_people, network_views
from reading_queue.services.network.network import export_network, load_network, plan_import
from reading_queue.services.network.network_csv import read_csv_set, write_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_editing import FieldsInvalid, NameTaken, NotYours, StaleVersion
from reading_queue.services.network.network_people import LastAdministrator
from storage.ledger.tables import AuditEvent
from tests.integration.hub_web.county import (
    ADMINISTRATOR,
    AUTHOR,
    CHEAP,
    COORDINATOR,
    FIRST_SITE,
    County,
    read_document,
)
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

HOSPITAL, ELSEWHERE = "qinghe-renmin", "linlan-diyi"
NEW: dict[str, Any] = {
    "name": "新来医师",
    "organisation": HOSPITAL,
    "title": "attending",
    "licence_number": "DEMO-9001",
    "licence_valid_until": "2030-12-31",
    "modalities": ["CT"],
    "also_at": [ELSEWHERE],
    "duty": "always",
}


def version_of(hub: Hub, county: County, physician_id: str) -> int:
    return network_views.view_physician(hub, county.viewer(ADMINISTRATOR), physician_id).person_version


def test_physician_added_on_the_desk_logs_in_is_offered_cases_and_is_in_history_and_export(
    hub: Hub, county: County
) -> None:
    coordinator = county.viewer(COORDINATOR)
    added = network_people.add_person(hub, coordinator, Role.PHYSICIAN, "xin.lai", NEW, hasher=CHEAP)
    assert added.password not in repr(added)
    accounts.login(hub, "xin.lai", added.password, "browser")
    county.arrive("1.2.3.4")
    with hub.transaction() as session:
        asked = select(Offer.state).where(Offer.physician_id == added.physician_id)
        assert session.scalars(asked).all() == ["open"]
        made = select(AuditEvent.account_id).where(AuditEvent.object_id == added.account_id, AuditEvent.action == "C")
        assert session.scalars(made).first() == coordinator.account_id
    assert added.physician_id is not None
    seen = network_views.view_physician(hub, coordinator, added.physician_id)
    assert {line.by for line in seen.history} == {coordinator.display_name}
    assert ELSEWHERE in seen.facts["also_at"]
    exported = export_network(hub)
    assert {"xin.lai"} <= {one["login"] for one in exported["physicians"]}
    assert plan_import(hub, exported, whole=True).changes == ()


@pytest.mark.parametrize(
    ("changes", "refusal", "fields"),
    [
        ({"licence_valid_until": "2020-01-01"}, FieldsInvalid, ("licence_valid_until",)),
        ({"also_at": [HOSPITAL]}, FieldsInvalid, ("also_at",)),
        ({"also_at": ["nowhere"]}, FieldsInvalid, ("also_at",)),
        ({"organisation": "nowhere"}, FieldsInvalid, ("organisation",)),
        ({"organisation": ELSEWHERE, "also_at": []}, NotYours, None),
        ({"name": "", "title": "wizard"}, FieldsInvalid, ("name", "title")),
        ({"password": "chosen-by-me"}, FieldsInvalid, ("password",)),
        ({"last_day": "2026-01-01"}, FieldsInvalid, ("last_day",)),
        ({"duty": {"weekly": {"mon": ["8-17"]}}}, FieldsInvalid, ("duty",)),
    ],
)
def test_what_does_not_make_sense_is_refused_by_its_field_and_adds_nobody(
    hub: Hub, county: County, changes: dict[str, Any], refusal: type[Exception], fields: tuple[str, ...] | None
) -> None:
    with pytest.raises(refusal) as refused:
        network_people.add_person(
            hub, county.viewer(COORDINATOR), Role.PHYSICIAN, "xin.lai", {**NEW, **changes}, hasher=CHEAP
        )
    assert getattr(refused.value, "fields", None) == fields
    with hub.transaction() as session:
        assert session.scalar(select(Account).where(Account.login == "xin.lai")) is None


def test_coordinators_add_technicians_of_their_sites_and_only_administrators_add_coordinators(
    hub: Hub, county: County
) -> None:
    coordinator, administrator = county.viewer(COORDINATOR), county.viewer(ADMINISTRATOR)
    at_site, at_hospital = ({"name": "新人", "organisation": one} for one in (FIRST_SITE, HOSPITAL))
    network_people.add_person(hub, coordinator, Role.TECHNICIAN, "new.tech", at_site, hasher=CHEAP)
    for role, login, facts, refusal in (
        (Role.TECHNICIAN, "new.tech", at_site, NameTaken),
        (Role.TECHNICIAN, "other.tech", at_hospital, FieldsInvalid),
        (Role.TECHNICIAN, "Not A Login", at_site, FieldsInvalid),
        (Role.COORDINATOR, "second", at_hospital, NotYours),
        (Role.ADMINISTRATOR, "second", at_hospital, NotYours),
    ):
        with pytest.raises(refusal):
            network_people.add_person(hub, coordinator, role, login, facts, hasher=CHEAP)
    network_people.add_person(hub, administrator, Role.COORDINATOR, "second", at_hospital, hasher=CHEAP)
    own = network_views.view_organisation(hub, coordinator, HOSPITAL).people
    assert {(one.login, one.managed) for one in own} >= {("second", False)}


def test_who_ends_with_a_day_to_come_works_until_then_and_is_followed_by_others(
    hub: Hub, county: County, hub_clock: SteerableClock
) -> None:
    coordinator = county.viewer(COORDINATOR)
    added = network_people.add_person(hub, coordinator, Role.PHYSICIAN, "xin.lai", NEW, hasher=CHEAP)
    assert added.physician_id is not None
    today = network_views.view_duty(hub, coordinator, HOSPITAL).days[0].day
    version = version_of(hub, county, added.physician_id)
    last = today + timedelta(days=1)
    network_people.end_person(hub, coordinator, added.account_id, last, version)
    with pytest.raises(StaleVersion):
        network_people.end_person(hub, coordinator, added.account_id, last, version)
    with hub.transaction() as session:
        ends = select(DutyPeriod.ends_at).where(DutyPeriod.physician_id == added.physician_id)
        assert session.scalars(ends).one().isoformat() == f"{last.isoformat()}T16:00:00+00:00", "midnight in Shanghai"
    assert network_people.close_leavers(hub) == 0
    accounts.login(hub, "xin.lai", added.password, "browser")
    case_id = county.arrive("1.2.3.4")
    hub_clock.advance(timedelta(days=2).total_seconds())
    with hub.transaction() as session:
        for offer in session.scalars(select(Offer).where(Offer.physician_id == added.physician_id)):
            offer.expires_at = hub_clock.now + timedelta(hours=1)
    assert network_people.close_leavers(hub) == 1
    assert network_people.close_leavers(hub) == 0
    county.run_jobs()
    with hub.transaction() as session:
        theirs = select(Offer.state).where(Offer.physician_id == added.physician_id)
        assert session.scalars(theirs).all() == ["withdrawn"]
        others = select(Offer.state).where(
            Offer.reading_task_id == county.task(case_id), Offer.physician_id != added.physician_id
        )
        assert "open" in session.scalars(others).all()
    with pytest.raises(LoginRefused):
        accounts.login(hub, "xin.lai", added.password, "browser")
    network_people.end_person(hub, coordinator, added.account_id, None, version_of(hub, county, added.physician_id))
    accounts.login(hub, "xin.lai", added.password, "browser")


def test_a_last_day_travels_with_the_networks_files_and_one_that_is_over_is_refused(
    hub: Hub, county: County, hub_clock: SteerableClock
) -> None:
    document = read_document()
    own = next(one for one in document["physicians"] if one["login"] == AUTHOR)
    own["last_day"] = date(2026, 12, 31)
    load_network(hub, document, hasher=CHEAP)
    exported = export_network(hub)
    assert [one.get("last_day") for one in exported["physicians"] if one["login"] == AUTHOR] == [date(2026, 12, 31)]
    from_csv, _, faults = read_csv_set(write_csv_set(exported, "zh"))
    assert plan_import(hub, from_csv, faults=faults, whole=True).changes == ()
    load_network(hub, read_document(), hasher=CHEAP)
    with hub.transaction() as session:
        kept = session.scalars(select(Account.last_day).where(Account.login == AUTHOR)).one()
    assert kept == date(2026, 12, 31), "a file that does not say leaves it as it is"
    own["last_day"] = "never"
    tables = write_csv_set({"physicians": [own]})
    assert b",never\r\n" in tables["physicians.csv"]
    load_network(hub, read_csv_set({"physicians.csv": tables["physicians.csv"]})[0], hasher=CHEAP)
    with hub.transaction() as session:
        assert session.scalars(select(Account.last_day).where(Account.login == AUTHOR)).one() is None
    assert plan_import(hub, document).changes == ()
    own["last_day"] = "nevermore"
    with pytest.raises(NetworkInvalid, match=r"last_day: is no day"):
        plan_import(hub, document)
    own["last_day"] = date(2026, 1, 1)
    with pytest.raises(NetworkInvalid, match=r"last_day: the last day of zhou.wei, 2026-01-01, is over"):
        plan_import(hub, document)


def test_somebody_closed_by_a_file_is_followed_by_others_and_an_administrator_stays(hub: Hub, county: County) -> None:
    case_id = county.arrive("1.2.3.4")
    document = read_document()
    for one in document["physicians"]:
        if one["login"] == AUTHOR:
            one["disabled"] = True
    load_network(hub, document, hasher=CHEAP)
    county.run_jobs()
    with hub.transaction() as session:
        own = select(Offer.state).join(Physician, Physician.physician_id == Offer.physician_id)
        own = own.join(Account, Account.account_id == Physician.account_id).where(Account.login == AUTHOR)
        assert session.scalars(own.where(Offer.reading_task_id == county.task(case_id))).all() == ["withdrawn"]
        admin = session.scalars(select(Account).where(Account.role == Role.ADMINISTRATOR)).one()
    administrator = county.viewer(ADMINISTRATOR)
    yesterday = network_views.view_duty(hub, administrator, HOSPITAL).days[0].day - timedelta(days=1)
    with pytest.raises(LastAdministrator):
        network_people.end_person(hub, administrator, admin.account_id, yesterday, 1)


def test_a_physician_is_added_and_ended_in_the_browser_and_a_refusal_keeps_what_was_typed(
    county: County, browser_of: Callable[[str], Visitor], hub: Hub
) -> None:
    browser, page = browser_of(COORDINATOR), f"/coordinator/network/organisations/{HOSPITAL}"
    form = {
        "role": "physician",
        "name": "新来医师",
        "login": "xin.lai",
        "language": "zh",
        "title": "chief",
        "licence_number": "DEMO-9001",
        "licence_valid_until": "2020-01-01",
        "modalities": "CT, MR",
        "specialties": "神经",
        "also_at": ELSEWHERE,
        "wip_max": "",
        "weekly_rvu_max": "",
    }
    browser.get(page)
    refused = browser.post(f"{page}/people", None, **form)
    assert refused.status == 422
    assert "证书有效期至" in refused.text
    assert 'value="新来医师"' in refused.text
    added = browser.post(f"{page}/people", None, **{**form, "licence_valid_until": "2031-01-01"})
    assert added.status == 200, added.text
    assert added.headers["Cache-Control"] == "no-store"
    shown = re.findall(r"<code>([^<]+)</code>", added.text)
    assert shown[0] == "xin.lai"
    accounts.login(hub, shown[0], shown[1], "browser")
    own = re.findall(r'href="(/coordinator/network/physicians/[^"]+)"', added.text)[0]
    text = browser.get(own).text
    assert shown[1] not in text
    version, account = (re.findall(rf'name="{name}" value="([^"]+)"', text) for name in ("version", "account_id"))
    ended = browser.post(f"{own}/end", None, version=version[-1], account_id=account[0], last_day="2026-12-31")
    assert ended.status == 303, ended.text
    assert "最后工作日 2026-12-31" in browser.get(own).text
    wrong = browser.post(f"{own}/end", None, version="2", account_id=account[0], last_day="2001-01-01")
    assert wrong.status == 422
    assert browser.post(f"{page}/people", None, **{**form, "role": "wizard"}).status == 422


def test_programs_add_people_and_end_them(county: County, program_of: Callable[[str], Visitor], hub: Hub) -> None:
    program = program_of(COORDINATOR)
    new = {"role": "physician", "login": "xin.lai", "facts": NEW}
    added = program.call("POST", "/network/people", new)
    assert added.status == 201, added.text
    told = added.json()
    accounts.login(hub, "xin.lai", told["password"], "browser")
    again = program.call("POST", "/network/people", new)
    assert (again.status, again.json()["code"]) == (409, "id_taken")
    wrong = program.call("POST", "/network/people", {**new, "login": "other", "facts": {**NEW, "wip_max": 0}})
    assert (wrong.status, wrong.json()["detail"]) == (422, "look at: wip_max")
    seen = program.call("GET", f"/network/physicians/{told['physician_id']}").json()["physician"]
    end = {"last_day": "2026-12-31", "version": seen["person_version"]}
    path = f"/network/people/{told['account_id']}/end"
    assert program.call("POST", path, end).status == 204
    assert program.call("POST", path, end).json()["code"] == "stale_version"
    assert program.call("GET", f"/network/physicians/{told['physician_id']}").json()["physician"]["last_day"] == (
        "2026-12-31"
    )
    clinic = program.call("GET", f"/network/organisations/{FIRST_SITE}").json()["organisation"]
    assert {one["role"] for one in clinic["people"]} == {"technician"}
