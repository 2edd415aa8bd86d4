"""Importing and exporting a network on a real database, as an administrator does it with the command."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Account, Agreement, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.network_telling import tell_changes
from reading_queue.services.access.accounts import login
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_editing, network_views
from reading_queue.services.network.network import (
    NetworkChanged,
    end_of_day,
    export_network,
    load_network,
    plan_import,
)
from reading_queue.services.network.network_csv import read_csv_set, write_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_parts import WEEKDAYS
from reading_queue.services.network.network_versions import network_as_of
from reading_queue.services.network.network_yaml import read_yaml, write_yaml
from storage.ledger.tables import AuditEvent
from tests.integration.hub_network.conftest import Command
from tests.integration.hub_web.county import CHEAP, PASSWORD, County, read_document
from tests.support.clock import SteerableClock
from tests.support.networks import networks
from tests.support.statements import statements

pytestmark = pytest.mark.postgres


def write(folder: Path, document: dict[str, Any]) -> str:
    file = folder / "county.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return str(file)


def test_what_was_exported_changes_nothing_when_it_is_imported(hub: Hub) -> None:
    numbers = itertools.count()

    @given(st.data())
    @settings(max_examples=12)
    def holds(data: st.DataObject) -> None:
        document = data.draw(networks(f"n{next(numbers)}"))
        load_network(hub, document, hasher=CHEAP)
        assert plan_import(hub, document).changes == ()
        exported = export_network(hub)
        from_yaml, _ = read_yaml("network.yaml", write_yaml(exported))
        from_csv, _, faults = read_csv_set(write_csv_set(exported, "zh"))
        for again in (from_yaml, from_csv):
            assert plan_import(hub, again, faults=faults, whole=True).changes == ()
            load_network(hub, again, whole=True, hasher=CHEAP)
        assert export_network(hub) == exported

    holds()


def test_command_says_what_changes_and_changes_nothing_before_it_is_asked_to(
    hub: Hub, network: Command, tmp_path: Path
) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    same = network("import", write(tmp_path, document), "--dry-run")
    assert same.stdout.splitlines() == ["Nothing would change.", "136 left as they are."], same.stderr
    document["organisations"].append({"id": "new", "kind": "county", "name": "新县医院"})
    document["physicians"][0].update(
        wip_max=9, licence_valid_until="2098-12-31", duty={"weekly": {"fri": ["20:00-08:00"]}}
    )
    document["agreements"][3]["valid_until"] = "2026-01-31"
    file = write(tmp_path, document)
    told = network("import", file, "--dry-run", "--language", "zh")
    lines = told.stdout.splitlines()
    assert lines[:4] == [
        "新增 1 项：",
        "  机构 new：新县医院",
        "变更 1 项：",
        "  医师 zhou.wei：执业证书有效期 2099-12-31 → 2098-12-31；在办上限 6 → 9；值班 always → (fri 20:00-08:00)",
    ], told.stderr
    assert lines[4] == "终止 23 项："
    assert lines[5] == "  协议 jianglan-third:qinghe-t01：结束日期 2099-12-31 → 2026-01-31"
    assert lines[-2:] == ["保持不变：112 项。", "以上只是预演，没有任何修改。去掉 --dry-run 即可导入。"]
    assert network("import", write(tmp_path, read_document()), "--dry-run").stdout.startswith("Nothing would change.")
    done = network("import", write(tmp_path, document))
    assert done.stdout.splitlines()[:2] == ["1 added:", "  organisation new: 新县医院"], done.stderr
    assert (
        "  physician zhou.wei: licence_valid_until 2099-12-31 -> 2098-12-31; wip_max 6 -> 9; duty always -> "
        in done.stdout
    )
    assert network("load", file).stdout.startswith("Nothing would change.")


def test_what_was_done_is_told_in_the_language_that_was_asked_for(network: Command, tmp_path: Path, hub: Hub) -> None:
    document = read_document()
    document["coordinators"].append({"login": "second", "name": "第二", "organisation": "qinghe-renmin"})
    told = network("import", write(tmp_path, document), "--language", "zh")
    *_, counted, password = told.stdout.splitlines()
    assert counted == "文件共有 27 个机构、23 个站点、92 份协议、17 个账号。", told.stderr
    login(hub, "second", password.removeprefix("新账号 second：初始密码 "), "browser")


def test_exported_folder_is_taken_back_after_a_spreadsheet_has_changed_it(
    hub: Hub, network: Command, tmp_path: Path
) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    folder = tmp_path / "县域网络"
    exported = network("export", str(folder), "--language", "zh")
    assert len(exported.stdout.splitlines()) == 6, exported.stderr
    assert network("import", str(folder), "--dry-run", "--whole").stdout.startswith("Nothing would change.")
    table = folder / "duty.csv"
    text = table.read_text(encoding="utf-8-sig")
    table.write_bytes(
        text.replace("zhou.wei,always", "zhou.wei,sat").replace("lin.shu,always", "lin.shu,never").encode("gb18030")
    )
    refused = network("import", str(table), "--language", "zh")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "duty.csv 第 11 行，班次：班次写作 20:00-08:00\n"
    table.write_bytes(text.replace("zhou.wei,always,", "zhou.wei,sat,20:00-08:00").encode("gb18030"))
    done = network("import", str(table))
    assert done.stdout.splitlines()[:2] == ["1 changed:", "  physician zhou.wei: duty always -> (sat 20:00-08:00)"], (
        done.stderr
    )
    assert network("export", str(tmp_path / "network.yaml")).returncode == 0
    written = yaml.safe_load((tmp_path / "network.yaml").read_text(encoding="utf-8"))
    assert written["physicians"][-1]["duty"]["weekly"] == {"sat": ["20:00-08:00"]}


def test_network_is_exported_as_it_was_on_a_day(
    hub: Hub, hub_clock: SteerableClock, network: Command, tmp_path: Path
) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    then, day = export_network(hub), hub_clock.now.date()
    hub_clock.advance(timedelta(days=2).total_seconds())
    document = read_document()
    document["organisations"][0]["name"] = "清河县第一人民医院"
    document["agreements"][0]["time_limits_min"] = {"stat": 30}
    document["physicians"][0].update(wip_max=9, duty=[])
    load_network(hub, document, hasher=CHEAP)
    file = tmp_path / "then.yaml"
    written = network("export", str(file), "--as-of", day.isoformat())
    assert written.stdout == f"{file}\n", written.stderr
    assert file.read_bytes() == write_yaml(then)
    assert write_yaml(export_network(hub)) != write_yaml(then)


@pytest.mark.parametrize(
    ("zones", "named", "is_there"),
    [
        pytest.param(("Asia/Urumqi", "Asia/Urumqi", "Asia/Shanghai"), "", True, id="the day of most"),
        pytest.param(("Asia/Urumqi", "Asia/Shanghai", "Asia/Shanghai"), "", False, id="the day of most is Shanghai's"),
        pytest.param(("Asia/Urumqi", "Asia/Shanghai", "Asia/Shanghai"), "Asia/Urumqi", True, id="a named zone"),
    ],
)
def test_day_ends_in_the_zone_of_most_organisations_or_the_named_one(
    hub: Hub, hub_clock: SteerableClock, zones: tuple[str, ...], named: str, *, is_there: bool
) -> None:
    def said(name: str) -> dict[str, Any]:
        own = [
            {"id": f"o{number}", "kind": "county", "name": name, "time_zone": zone} for number, zone in enumerate(zones)
        ]
        return {"organisations": own}

    load_network(hub, said("before"), hasher=CHEAP)
    day = date(2026, 3, 2)
    hub_clock.now = datetime(2026, 3, 2, 17, 30, tzinfo=UTC)  # 23:30 in Urumqi, 01:30 of the next day in Shanghai
    load_network(hub, said("after"), hasher=CHEAP)
    then = export_network(hub, end_of_day(hub, day, named))
    assert {one["name"] for one in then["organisations"]} == {"after" if is_there else "before"}


def test_command_exports_a_day_of_a_named_zone_and_refuses_one_that_is_none(network: Command, tmp_path: Path) -> None:
    file = str(tmp_path / "then.yaml")
    told = network("export", file, "--as-of", "2026-10-01", "--zone", "Asia/Urumqi")
    assert told.stderr == "The network as it was at 2026-10-02 00:00 (Asia/Urumqi).\n"
    refused = network("export", file, "--as-of", "2026-10-01", "--zone", "Urumqi")
    assert (refused.returncode, "no time zone is called Urumqi" in refused.stderr) == (1, True), refused.stderr
    far = network("export", file, "--as-of", "9999-12-31")
    assert "no day after 9999-12-31" in far.stderr, far.stderr


def test_import_takes_as_many_statements_for_many_as_for_few(hub: Hub) -> None:
    first = read_document()["physicians"][0]
    load_network(hub, read_document(), hasher=CHEAP)

    def staff(prefix: str, count: int, wip_max: int) -> dict[str, Any]:
        weekly = {"weekly": {"mon": ["08:00-20:00"]}}
        return {
            "organisations": [
                {"id": f"{prefix}{number}", "kind": "county", "name": prefix, "site": f"{prefix}{number}"}
                for number in range(count)
            ],
            "physicians": [
                {**first, "login": f"{prefix}.{number}", "licence_number": f"{prefix}{number}"}
                | {"wip_max": wip_max, "duty": weekly}
                for number in range(count)
            ],
        }

    def needed(prefix: str, count: int, wip_max: int) -> int:
        with statements(hub) as said:
            load_network(hub, staff(prefix, count, wip_max), hasher=CHEAP)
        return len(said)

    assert needed("many", 40, 3) == needed("few", 2, 3)
    assert needed("many", 40, 4) == needed("few", 2, 4)
    assert needed("many", 40, 4) == needed("few", 2, 4)  # as they are


def test_whole_network_ends_what_it_does_not_name(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    document["agreements"].append(
        {
            **document["agreements"][0],
            "id": "not-yet",
            "stage": 5,
            "valid_from": "2027-01-01",
            "valid_until": "2027-12-31",
        }
    )
    load_network(hub, document, hasher=CHEAP)
    gone = document["physicians"].pop(0)["login"]
    document["agreements"] = document["agreements"][:3]
    del document["technicians"]
    assert plan_import(hub, document).changes == ()
    load_network(hub, document, whole=True, hasher=CHEAP)
    with hub.transaction() as session:
        ended = session.scalars(select(Agreement).where(Agreement.valid_until < hub_clock.now.date())).all()
        assert {row.agreement_id.partition(":")[0] for row in ended} == {"jianglan-third"}
        never = select(Agreement.agreement_id).where(Agreement.valid_until < Agreement.valid_from)
        assert {one.partition(":")[0] for one in session.scalars(never)} == {"not-yet"}
        closed = session.scalars(select(Account.login).where(Account.disabled_at.is_not(None))).all()
        assert closed == [gone]  # the document has no section of technicians, so none of them ends
        assert network_as_of(session, Kind.PERSON, hub_clock.now - timedelta(seconds=1)) == {}
    assert plan_import(hub, document, whole=True).changes == ()
    assert plan_import(hub, export_network(hub), whole=True).changes == ()
    old, document["agreements"][0]["id"] = document["agreements"][0]["id"], "renamed"
    renamed = plan_import(hub, document, whole=True).changes
    assert {(one.action, one.subject.partition(":")[0]) for one in renamed} == {("add", "renamed"), ("end", old)}
    document["administrators"] = []
    with pytest.raises(NetworkInvalid, match="no account of an administrator would be left open"):
        plan_import(hub, document, whole=True)


def test_closed_account_stays_closed_until_the_file_says_that_it_is_open(hub: Hub) -> None:
    document = read_document()
    document["coordinators"][0]["disabled"] = True
    load_network(hub, document, hasher=CHEAP)
    load_network(hub, read_document(), hasher=CHEAP)
    with hub.transaction() as session:
        assert session.scalar(select(Account.disabled_at).where(Account.login == "coordinator")) is not None
    document["coordinators"][0]["disabled"] = False
    load_network(hub, document, hasher=CHEAP)
    login(hub, "coordinator", PASSWORD, "browser")


def test_faults_with_what_the_hub_holds_are_told_with_those_of_the_file(hub: Hub) -> None:
    load_network(hub, read_document(), hasher=CHEAP)
    before = export_network(hub)
    first = before["agreements"][0]
    document = {
        "organisations": [
            {"id": "qinghe-renmin", "kind": "county", "name": "清河县人民医院", "parent": "qinghe-t01"},
            {"id": "new", "kind": "township", "name": "新院", "site": "qinghe-t02", "parent": "linlan-diyi"},
            {"id": "qinghe-t05", "kind": "township", "name": "无站", "parent": "linlan-diyi"},
        ],
        "agreements": [
            {**first, "id": "again", "requesting": ["qinghe-t03"], "modalities": ["CT"]},
            {**first, "id": "upwards", "requesting": ["new"]},
        ],
        "physicians": [
            {**before["physicians"][0], "licence_valid_until": "2026-03-01"},
            {**before["physicians"][1], "login": "second.name"},
        ],
        "technicians": [{"login": "zhou.wei2", "name": "周", "organisation": "nowhere"}],
        "coordinators": [{"login": "lin.shu", "name": "林舒", "organisation": "qinghe-renmin"}],
        "rosters": [{"login": "nobody", "duty": "always"}],
    }
    with pytest.raises(NetworkInvalid) as refused:
        load_network(hub, document, hasher=CHEAP)
    whom, other = before["physicians"][0]["login"], before["physicians"][1]
    assert list(refused.value.problems) == [
        "organisations[0].parent: qinghe-renmin would stand below itself: qinghe-renmin → qinghe-t01 → qinghe-renmin",
        "organisations[1].site: the site qinghe-t02 is already that of qinghe-t02",
        "organisations[2].site: the site qinghe-t05 of qinghe-t05 cannot be given up, nobody would see its studies; "
        "write site: qinghe-t05",
        f"agreements[0].valid_from: again and {first['id']} cover the same work of qinghe-t03 at {first['assisting']} "
        "in stage "
        + str(first["stage"])
        + " on the same days; end one before the other begins, or give it another stage",
        f"physicians[0].licence_valid_until: the licence of {whom} has expired on 2026-03-01",
        f"physicians[1].licence_number: the licence {other['licence_number']} is that of {other['login']}; "
        "who reads for several hospitals has one account, and also_at",
        "technicians[0].organisation: no organisation has the id nowhere",
        "coordinators[0].login: lin.shu is a physician and stays one; close the account and make another",
        "rosters[0].login: no physician has the login nobody",
    ]
    assert export_network(hub) == before


def test_licence_that_ran_out_since_is_a_warning_and_no_refusal(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    document["physicians"][0]["licence_valid_until"] = "2026-03-10"
    load_network(hub, document, hasher=CHEAP)
    hub_clock.advance(timedelta(days=30).total_seconds())
    plan = plan_import(hub, document)
    assert plan.changes == ()
    assert plan.told_warnings("zh") == ["physicians[0].licence_valid_until：zhou.wei 的执业证书已于 2026-03-10 到期"]


def test_import_that_is_no_longer_what_was_told_is_not_done(hub: Hub) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    document["organisations"][0]["name"] = "甲"
    told = plan_import(hub, document)
    load_network(hub, {"organisations": [{**document["organisations"][0], "name": "乙"}]}, hasher=CHEAP)
    with pytest.raises(NetworkChanged):
        load_network(hub, document, told=told.fingerprint, hasher=CHEAP)
    assert export_network(hub)["organisations"][2]["name"] != "甲"


def test_duty_that_goes_on_is_not_interrupted_and_past_duty_stays(hub: Hub, hub_clock: SteerableClock) -> None:
    document = read_document()
    load_network(hub, document, hasher=CHEAP)
    began = hub_clock.now
    hub_clock.advance(3600)
    document["physicians"][0]["duty"] = {"weekly": {"mon": ["08:00-20:00"]}}  # it is Monday, 10 o'clock
    load_network(hub, document, hasher=CHEAP)
    hub_clock.advance(3600)
    document["physicians"][0]["duty"] = []
    load_network(hub, document, hasher=CHEAP)
    duty = (
        select(DutyPeriod.starts_at, DutyPeriod.ends_at)
        .join(Physician, Physician.physician_id == DutyPeriod.physician_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Account.login == document["physicians"][0]["login"])
    )
    with hub.transaction() as session:
        assert session.execute(duty).all() == [(began, hub_clock.now)]
        lines = select(AuditEvent.detail).where(AuditEvent.object_kind == "network").order_by(AuditEvent.at.desc())
        assert session.scalars(lines).first() == {"duty_change": 1}


def test_a_hospital_in_another_time_zone_has_its_rosters_there(hub: Hub) -> None:
    county, document = County(hub).build(), read_document()
    first = next(one for one in document["physicians"] if one["organisation"] == "qinghe-renmin")
    weekly = {"weekly": {day: ["08:00-12:00"] for day in WEEKDAYS}}
    load_network(hub, {"physicians": [{**first, "duty": weekly}]}, hasher=CHEAP)
    coming = (
        select(DutyPeriod.starts_at)
        .join(Physician, Physician.physician_id == DutyPeriod.physician_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Account.login == first["login"], DutyPeriod.starts_at > hub.clock() + timedelta(days=1))
        .order_by(DutyPeriod.starts_at)
        .limit(1)
    )

    def hour() -> int:
        with hub.transaction() as session:
            return session.scalars(coming).one().hour

    assert hour() == 0
    facts = next(one for one in export_network(hub)["organisations"] if one["id"] == "qinghe-renmin")
    load_network(hub, {"organisations": [{**facts, "time_zone": "Asia/Urumqi"}]}, hasher=CHEAP)
    assert hour() == 2
    given = {**facts, "time_zone": "Asia/Tokyo"}
    del given["id"]
    network_editing.save_organisation(hub, county.viewer("admin"), "qinghe-renmin", given, 2)
    assert hour() == 23


def test_what_the_desk_has_changed_is_exported_and_no_older_file_undoes_it_unsaid(hub: Hub) -> None:
    county = County(hub).build()
    older, coordinator = export_network(hub), county.viewer("coordinator")
    first = "renmin-first:qinghe-t01"
    seen = network_views.view_agreement(hub, coordinator, first)
    terms = {name: getattr(seen, name) for name in ("stage", "modalities", "body_regions", "services", "valid_until")}
    terms |= {"assisting": seen.assisting_id, "valid_from": seen.valid_from, "time_limits_min": {"stat": 30}}
    network_editing.save_agreement(hub, coordinator, first, terms, seen.version, date(2026, 4, 1))
    with hub.transaction() as session:
        licence = Physician.licence_number == "DEMO-0001"
        physician_id = session.scalars(select(Physician.physician_id).where(licence)).one()
    duty = {"weekly": {"tue": ["13:00-20:00", "08:00-12:00"]}, "days_off": [], "extra": {}}
    network_editing.save_duty(hub, coordinator, physician_id, duty, 1)
    exported, _ = read_yaml("network.yaml", write_yaml(export_network(hub)))
    assert plan_import(hub, exported, whole=True).changes == ()
    with pytest.raises(NetworkInvalid, match="renmin-first and renmin-first-v2 cover the same work of qinghe-t01"):
        plan_import(hub, older)
    del older["agreements"]
    assert list(tell_changes(plan_import(hub, older).changes, 0)) == [
        "1 changed:",
        "  physician zhou.wei: duty (tue 08:00-12:00, 13:00-20:00) -> always",
        "0 left as they are.",
    ]


def test_a_whole_set_ends_what_it_does_not_name_by_the_day_of_who_asks_for_reads(
    hub: Hub, hub_clock: SteerableClock
) -> None:
    hub_clock.now = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)  # 04:00 of the next day in Shanghai
    load_network(hub, read_document(), hasher=CHEAP)
    document = read_document()
    for one in document["organisations"]:
        if one["id"] == "qinghe-t02":
            one["time_zone"] = "Europe/London"
    load_network(hub, document, hasher=CHEAP)
    document["agreements"] = []
    load_network(hub, document, whole=True, hasher=CHEAP)
    with hub.transaction() as session:
        ended = select(Agreement.requesting_organisation_id, Agreement.valid_until)
        last_days = dict(session.execute(ended).all())
    assert (last_days["qinghe-t02"], last_days["qinghe-t01"]) == (date(2026, 3, 1), date(2026, 3, 2))
