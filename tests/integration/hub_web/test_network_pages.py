"""The network edited on the coordinator's desk: what is saved counts, is dated and audited, never written over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views, presence
from reading_queue.services.network.agreements import agreements_as_of
from reading_queue.services.network.network_editing import (
    AgreementOverlaps,
    BelowItself,
    FieldsInvalid,
    NameTaken,
    NotYours,
    StaleVersion,
)
from reading_queue.services.network.network_versions import network_as_of
from storage.ledger.tables import AuditEvent, Site
from tests.integration.hub_web.county import ADMINISTRATOR, AUTHOR, COORDINATOR, County
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

HOSPITAL, CLINIC = "qinghe-renmin", "qinghe-t01"
FIRST = f"renmin-first:{CLINIC}"
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def coordinator(county: County) -> Viewer:
    return county.viewer(COORDINATOR)


@pytest.fixture
def administrator(county: County) -> Viewer:
    return county.viewer(ADMINISTRATOR)


def terms_of(found: network_views.AgreementView, **changes: object) -> dict[str, object]:
    same = ("stage", "modalities", "body_regions", "services", "cases_per_day_max", "time_limits_min")
    days = {"valid_from": found.valid_from, "valid_until": found.valid_until, "assisting": found.assisting_id}
    return {**{name: getattr(found, name) for name in same}, **days, **changes}


def physician_id(hub: Hub, login: str) -> str:
    with hub.transaction() as session:
        own = select(Physician.physician_id).join(Account, Account.account_id == Physician.account_id)
        return session.scalars(own.where(Account.login == login)).one()


def test_a_change_from_a_day_to_come_leaves_today_as_it_was_agreed(
    hub: Hub, coordinator: Viewer, hub_clock: SteerableClock
) -> None:
    before = network_views.view_agreement(hub, coordinator, FIRST)
    changed = terms_of(before, cases_per_day_max={"all": 40}, time_limits_min={"stat": 30})
    saved = network_editing.save_agreement(hub, coordinator, FIRST, changed, before.version, date(2026, 4, 1))
    assert saved == f"renmin-first-v2:{CLINIC}"
    old, new = (network_views.view_agreement(hub, coordinator, one) for one in (FIRST, saved))
    assert (old.valid_until, old.time_limits_min["stat"]) == (date(2026, 3, 31), 60)
    assert (new.valid_from, new.cases_per_day_max) == (date(2026, 4, 1), {"all": 40})
    assert [line.number for line in old.history] == [2, 1]
    assert [one.name for one in old.history[0].differences] == ["valid_until"]
    assert old.history[0].by == coordinator.display_name


def test_a_change_from_today_counts_at_once_and_the_old_terms_are_kept(
    hub: Hub, coordinator: Viewer, hub_clock: SteerableClock
) -> None:
    before = network_views.view_agreement(hub, coordinator, FIRST)
    then = hub_clock.now
    hub_clock.advance(60)
    changed = terms_of(before, modalities=["CT"], services=["interpretation", "consultation"])
    assert network_editing.save_agreement(hub, coordinator, FIRST, changed, before.version) == FIRST
    with hub.transaction() as session:
        assert session.get_one(Agreement, FIRST).modalities == ["CT"]
        kept = {one.agreement_id: one for one in agreements_as_of(session, then)}
        assert kept[FIRST].modalities == []
        lines = select(AuditEvent).where(AuditEvent.object_id == FIRST, AuditEvent.action == "U")
        assert session.scalars(lines).one().account_id == coordinator.account_id


def test_what_somebody_has_changed_meanwhile_is_not_written_over(hub: Hub, coordinator: Viewer) -> None:
    seen = network_views.view_agreement(hub, coordinator, FIRST)
    network_editing.save_agreement(hub, coordinator, FIRST, terms_of(seen, stage=3), seen.version)
    with pytest.raises(StaleVersion):
        network_editing.save_agreement(hub, coordinator, FIRST, terms_of(seen, stage=4), seen.version)
    with pytest.raises(StaleVersion):
        network_editing.end_agreement(hub, coordinator, FIRST, date(2026, 3, 2), seen.version)
    assert network_views.view_agreement(hub, coordinator, FIRST).stage == 3


def test_an_agreement_ends_yesterday_at_the_earliest_and_keeps_its_history(hub: Hub, coordinator: Viewer) -> None:
    seen = network_views.view_agreement(hub, coordinator, FIRST)
    for wrong in (date(2026, 2, 28), date(2100, 1, 1)):
        with pytest.raises(FieldsInvalid):
            network_editing.end_agreement(hub, coordinator, FIRST, wrong, seen.version)
    network_editing.end_agreement(hub, coordinator, FIRST, date(2026, 3, 1), seen.version)
    assert network_views.view_agreement(hub, coordinator, FIRST).is_over


def test_an_agreement_that_overlaps_another_is_refused_with_its_name(hub: Hub, coordinator: Viewer) -> None:
    seen = network_views.view_agreement(hub, coordinator, FIRST)
    with pytest.raises(AgreementOverlaps) as refused:
        network_editing.save_agreement(hub, coordinator, f"again:{CLINIC}", terms_of(seen), 0)
    assert refused.value.other == FIRST
    later = terms_of(seen, stage=7)
    network_editing.save_agreement(hub, coordinator, f"again:{CLINIC}", later, 0)
    with pytest.raises(NameTaken):
        network_editing.save_agreement(hub, coordinator, f"again:{CLINIC}", later, 0)
    for wrong, name in (
        (terms_of(seen, stage=0), "stage"),
        (terms_of(seen, cases_per_day_max={"all": "?"}), "cases_per_day_max"),
    ):
        with pytest.raises(FieldsInvalid) as bad:
            network_editing.save_agreement(hub, coordinator, f"new:{CLINIC}", wrong, 0)
        assert bad.value.fields == (name,)


def test_organisations_are_added_below_ones_own_and_never_below_themselves(
    hub: Hub, coordinator: Viewer, administrator: Viewer
) -> None:
    new = {"kind": "township", "name": "新村卫生院", "parent": HOSPITAL, "site": "qinghe-t99"}
    network_editing.save_organisation(hub, coordinator, "qinghe-t99", new, 0)
    with hub.transaction() as session:
        assert session.get_one(Site, "qinghe-t99").name == "新村卫生院"
        assert network_as_of(session, Kind.ORGANISATION, hub.clock())["qinghe-t99"]["parent"] == HOSPITAL
    for code, facts, refusal in (
        ("qinghe-t99", new, NameTaken),
        ("elsewhere", {**new, "site": None, "parent": "linlan-diyi"}, NotYours),
        ("top", {**new, "site": None, "parent": None}, NotYours),
        ("odd", {**new, "site": None, "parent": "nowhere"}, NotYours),
        ("other", {**new, "site": CLINIC}, NameTaken),
        ("Wrong Id", new, FieldsInvalid),
    ):
        with pytest.raises(refusal):
            network_editing.save_organisation(hub, coordinator, code, facts, 0)
    facts = {"kind": "county", "name": "清河县人民医院", "parent": CLINIC}
    with pytest.raises(BelowItself):
        network_editing.save_organisation(hub, administrator, HOSPITAL, facts, 1)
    with hub.transaction() as session:
        assert session.get_one(Organisation, HOSPITAL).parent_id is None


def test_a_coordinator_changes_their_own_and_looks_at_the_others(hub: Hub, coordinator: Viewer) -> None:
    listed = {one.organisation_id: one for one in network_views.list_network(hub, coordinator)}
    assert (listed[CLINIC].depth, listed[CLINIC].editable) == (1, True)
    assert not listed["linlan-diyi"].editable, "who reads for them is shown"
    theirs = network_views.view_organisation(hub, coordinator, "linlan-diyi").physicians[0].physician_id
    seen = network_views.view_physician(hub, coordinator, theirs)
    assert not seen.editable
    with pytest.raises(NotYours):
        network_editing.save_physician(hub, coordinator, theirs, dict(seen.facts), seen.version)


def test_licence_and_limits_of_a_physician_are_changed_and_the_old_ones_kept(
    hub: Hub, coordinator: Viewer, hub_clock: SteerableClock
) -> None:
    own = physician_id(hub, AUTHOR)
    seen = network_views.view_physician(hub, coordinator, own)
    then = hub_clock.now
    hub_clock.advance(60)
    changed = {**seen.facts, "licence_valid_until": "2027-01-01", "weekly_rvu_max": "120", "title": "chief"}
    network_editing.save_physician(hub, coordinator, own, changed, seen.version)
    with pytest.raises(StaleVersion):
        network_editing.save_physician(hub, coordinator, own, changed, seen.version)
    with hub.transaction() as session:
        row = session.get_one(Physician, own)
        assert (row.licence_valid_until, row.weekly_rvu_max, row.title) == (date(2027, 1, 1), 120, "chief")
        assert network_as_of(session, Kind.PHYSICIAN, then)[own]["weekly_rvu_max"] is None
    names = {one.name for one in network_views.view_physician(hub, coordinator, own).history[0].differences}
    assert names == {"licence_valid_until", "weekly_rvu_max", "title"}
    with pytest.raises(FieldsInvalid):
        network_editing.save_physician(hub, coordinator, own, {**changed, "wip_max": 0}, seen.version + 1)


def test_nights_holidays_and_absences_show_as_gaps_of_the_hospital(hub: Hub, coordinator: Viewer) -> None:
    for one in network_views.view_duty(hub, coordinator, HOSPITAL).physicians:
        seen = network_views.view_physician(hub, coordinator, one.physician_id)
        duty = (
            {"weekly": {"mon": ["08:00-20:00", "20:00-08:00"], "tue": ["08:00-17:00"]}, "days_off": ["2026-03-10"]}
            if seen.login == AUTHOR
            else {}
        )
        network_editing.save_duty(hub, coordinator, one.physician_id, duty, seen.duty_version)
    shown = network_views.view_duty(hub, coordinator, HOSPITAL, date(2026, 3, 9))
    monday, tuesday = shown.days[:2]
    assert monday.gaps == ((_at("2026-03-09T00:00"), _at("2026-03-09T08:00")),)
    assert tuesday.gaps == ((_at("2026-03-10T08:00"), _at("2026-03-11T00:00")),), "the night goes on, the day is off"
    own = physician_id(hub, AUTHOR)
    presence.go_away(hub, coordinator, own, _at("2026-03-09T12:00"), "外出会诊")
    (gap,) = network_views.view_duty(hub, coordinator, HOSPITAL, date(2026, 3, 9)).days[0].gaps
    assert gap == (_at("2026-03-09T00:00"), _at("2026-03-09T12:00"))
    with pytest.raises(FieldsInvalid) as refused:
        network_editing.save_duty(hub, coordinator, own, {"weekly": {"mon": ["8-17"]}}, 2)
    assert refused.value.fields == ("weekly",)


def _at(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=SHANGHAI)


def test_every_page_opens_and_a_refusal_keeps_what_was_typed(
    county: County, browser_of: Callable[[str], Visitor], hub: Hub
) -> None:
    browser, own = browser_of(COORDINATOR), physician_id(hub, AUTHOR)
    for path in (
        "/coordinator/network",
        f"/coordinator/network/organisations/{HOSPITAL}",
        f"/coordinator/network/organisations/{HOSPITAL}/duty?from=2026-03-09",
        f"/coordinator/network/agreements/{FIRST}",
        f"/coordinator/network/physicians/{own}",
    ):
        assert browser.get(path).status == 200, path
    form = {
        "version": "1",
        "title": "chief",
        "licence_number": "DEMO-0001",
        "licence_valid_until": "2031-01-01",
        "modalities": "CT, MR",
        "specialties": "神经，胸部",
        "also_at": "",
        "wip_max": "99",
        "weekly_rvu_max": "",
    }
    page = f"/coordinator/network/physicians/{own}"
    refused = browser.post(page, None, **form)
    assert refused.status == 422
    assert "在办任务上限" in refused.text
    assert 'value="CT, MR"' in refused.text
    assert browser.post(page, None, **{**form, "wip_max": "9"}).status == 303
    stale = browser.post(page, None, **{**form, "wip_max": "8"})
    assert stale.status == 409
    assert "您打开后已有人修改过" in stale.text
    saved = browser.get(page).text
    assert "神经、胸部" in saved
    assert "第 2 版" in saved
    duty = {"version": "1", "mode": "weekly", "mon": "08:00-17:00，20:00-08:00", "extra": "2026-10-02 08:00-12:00"}
    assert browser.post(f"{page}/duty", None, **duty).status == 303
    assert "周一 08:00-17:00+20:00-08:00" in browser.get(page).text


def test_an_agreement_is_made_changed_and_ended_in_the_browser(
    county: County, browser_of: Callable[[str], Visitor]
) -> None:
    browser = browser_of(COORDINATOR)
    clinic = f"/coordinator/network/organisations/{CLINIC}"
    form = {
        "code": "province-mr",
        "assisting": "jianglan-sheng",
        "stage": "5",
        "modalities": "MR",
        "body_regions": "",
        "services": "interpretation",
        "cases_per_day_max": "all=20，MR＝5",
        "limit_stat": "45",
        "valid_from": "2026-03-02",
        "valid_until": "2027-03-01",
    }
    browser.get(clinic)
    bad = browser.post(f"{clinic}/agreements", None, **{**form, "cases_per_day_max": "twenty"})
    assert bad.status == 422
    assert "每日例数上限" in bad.text
    made = browser.post(f"{clinic}/agreements", None, **form)
    assert made.status == 303, made.text
    page = f"/coordinator/network/agreements/province-mr:{CLINIC}"
    assert made.headers["Location"] == f"{page}?done=saved"
    assert "MR 5、合计 20" in browser.get(page).text
    changed = browser.post(page, None, **{**form, "version": "1", "from_day": "2026-05-01", "stage": "4"})
    assert changed.headers["Location"].startswith(f"/coordinator/network/agreements/province-mr-v2:{CLINIC}")
    assert browser.post(f"{page}/end", version="2", last_day="2026-03-02").status == 303
    assert "2026-03-02 – 2026-03-02" in browser.get(page).text


def test_forms_of_agreements_propose_the_day_where_the_clinic_is(
    county: County, browser_of: Callable[[str], Visitor], hub_clock: SteerableClock
) -> None:
    hub_clock.advance(18 * 3600)  # the third of March, three in the morning at the clinic
    browser = browser_of(COORDINATOR)
    page = browser.get(f"/coordinator/network/agreements/{FIRST}").text
    assert page.count('value="2026-03-03"') == 2, "from_day and last_day"
    assert 'value="2026-03-03"' in browser.get(f"/coordinator/network/organisations/{CLINIC}").text, "valid_from"


def test_programs_read_and_change_the_network_and_hear_of_stale_versions_and_wrong_fields(
    county: County, program_of: Callable[[str], Visitor], hub: Hub
) -> None:
    program, own = program_of(COORDINATOR), physician_id(hub, AUTHOR)
    listed = program.call("GET", "/network/organisations").json()["organisations"]
    assert CLINIC in {one["organisation_id"] for one in listed}
    seen = program.call("GET", f"/network/agreements/{FIRST}").json()["agreement"]
    names = ("stage", "modalities", "body_regions", "services", "time_limits_min", "valid_from", "valid_until")
    facts = {**{name: seen[name] for name in names}, "assisting": HOSPITAL, "cases_per_day_max": {"all": 9}}
    change = {"facts": facts, "version": seen["version"], "from_day": "2026-05-01"}
    saved = program.call("PUT", f"/network/agreements/{FIRST}", change)
    assert saved.json() == {"agreement_id": f"renmin-first-v2:{CLINIC}"}
    stale = program.call("POST", f"/network/agreements/{FIRST}/end", {"last_day": "2026-03-02", "version": 1})
    assert (stale.status, stale.json()["code"]) == (409, "stale_version")
    assert (
        program.call("POST", f"/network/agreements/{FIRST}/end", {"last_day": "2026-03-02", "version": 2}).status == 204
    )
    person = program.call("GET", f"/network/physicians/{own}").json()["physician"]
    wrong = {"facts": {**person["facts"], "wip_max": 0}, "version": person["version"]}
    refused = program.call("PUT", f"/network/physicians/{own}", wrong)
    assert (refused.status, refused.json()["code"], refused.json()["detail"]) == (
        422,
        "fields_invalid",
        "look at: wip_max",
    )
    wrong["facts"]["wip_max"] = 7
    assert program.call("PUT", f"/network/physicians/{own}", wrong).status == 204
    roster = {"duty": {"weekly": {"mon": ["08:00-17:00"]}}, "version": person["duty_version"]}
    assert program.call("PUT", f"/network/physicians/{own}/duty", roster).status == 204
    week = program.call("GET", f"/network/organisations/{HOSPITAL}/duty?from=2026-03-09").json()["duty"]
    assert len(week["days"]) == 7
    clinic = program.call("GET", f"/network/organisations/{CLINIC}").json()["organisation"]
    renamed = {"facts": {**clinic["facts"], "name": "双桥镇卫生院"}, "version": clinic["version"]}
    assert program.call("PUT", f"/network/organisations/{CLINIC}", renamed).status == 204
    again = program.call("GET", f"/network/organisations/{CLINIC}").json()["organisation"]
    assert [one["name"] for one in again["history"][0]["differences"]] == ["name"]
