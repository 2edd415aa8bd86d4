"""Duty directors in a network's file: imported, exported, told, refused in words, ended by a whole network."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.director_tables import DutyDirector
from reading_queue.domain.network_telling import tell_changes
from reading_queue.services.hub import Hub
from reading_queue.services.network.network import export_network, load_network, plan_import
from reading_queue.services.network.network_csv import read_csv_set, write_csv_set
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_yaml import read_yaml
from tests.integration.hub_web.county import CHEAP, County, read_document

pytestmark = pytest.mark.postgres

ROSTER = {"weekly": {"fri": ["20:00-08:00"]}, "days_off": ["2026-10-02"], "extra": {"2026-10-05": ["08:00-12:00"]}}


def with_directors(*directors: dict[str, Any]) -> dict[str, Any]:
    return {**read_document(), "duty_directors": list(directors)}


def director(login: str = "lin.shu", duty: Any = ROSTER, organisation: str = "qinghe-renmin") -> dict[str, Any]:
    return {"organisation": organisation, "login": login, "duty": duty}


def duties(hub: Hub) -> dict[str, Any]:
    with hub.transaction() as session:
        return {row.organisation_id: row.duty for row in session.scalars(select(DutyDirector))}


def test_a_roster_comes_with_the_file_and_goes_out_with_it_as_yaml_and_as_tables(hub: Hub) -> None:
    load_network(hub, with_directors(director(), director("admin", "always", "linlan-diyi")), hasher=CHEAP)
    assert duties(hub) == {"qinghe-renmin": ROSTER, "linlan-diyi": "always"}
    exported = export_network(hub)
    tables = write_csv_set(exported, "zh")
    again, _, faults = read_csv_set(tables)
    assert plan_import(hub, again, faults=faults, whole=True).changes == ()
    alone, _, faults = read_csv_set({"duty_directors.csv": tables["duty_directors.csv"]})
    assert plan_import(hub, alone, faults=faults).changes == ()
    rows = tables["duty_directors.csv"].decode("utf-8-sig").splitlines()
    assert rows[0] == "所属机构,登录名,日期,班次,开始时间,结束时间"
    assert "qinghe-renmin,lin.shu,fri,20:00-08:00,," in rows


def test_what_a_file_does_not_name_stays_and_a_whole_one_ends_it(hub: Hub) -> None:
    load_network(hub, with_directors(director(), director("admin", "always")), hasher=CHEAP)
    document = with_directors(director("admin", "always"))
    assert plan_import(hub, document).changes == ()
    plan = plan_import(hub, document, whole=True)
    told = list(tell_changes(plan.changes, plan.unchanged, "zh"))
    assert told[0] == "终止 1 项："
    assert told[1].startswith("  总值班 qinghe-renmin:lin.shu：值班 ")
    load_network(hub, document, whole=True, hasher=CHEAP)
    with hub.transaction() as session:
        ended = session.scalars(select(DutyDirector).where(DutyDirector.duty == [])).all()
    assert len(ended) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (director("nobody"), "nobody has the login nobody"),
        (director("tech.shuangqiao"), "tech.shuangqiao cannot be duty director"),
        (director(organisation="elsewhere"), "no organisation has the id elsewhere"),
        (director(duty={"weekly": {"mon": ["late"]}}), "must be a shift such as 20:00-08:00"),
        (director(duty="sometimes"), "must be always, a weekly roster or a list of periods"),
        ({"organisation": "qinghe-renmin", "login": "lin.shu"}, "is missing"),
    ],
)
def test_what_is_wrong_is_refused_in_words_with_its_place(hub: Hub, wrong: dict[str, Any], words: str) -> None:
    County(hub).build()
    with pytest.raises(NetworkInvalid) as refused:
        load_network(hub, with_directors(wrong), hasher=CHEAP)
    (problem,) = refused.value.problems
    assert problem.startswith("duty_directors")
    assert words in problem


def test_the_line_of_a_fault_is_told(hub: Hub) -> None:
    County(hub).build()
    text = "duty_directors:\n  - organisation: qinghe-renmin\n    login: nobody\n    duty: always\n"
    document, places = read_yaml("duty.yaml", text.encode())
    with pytest.raises(NetworkInvalid) as refused:
        plan_import(hub, document, places)
    assert refused.value.told("zh")[0].startswith("duty.yaml 第 3 行")


def test_one_person_twice_for_one_organisation_is_refused(hub: Hub) -> None:
    County(hub).build()
    with pytest.raises(NetworkInvalid, match="given twice"):
        load_network(hub, with_directors(director(), director(duty="always")), hasher=CHEAP)


def test_hours_of_the_coming_week_without_a_director_are_told_and_refuse_nothing(hub: Hub) -> None:
    nights = {"weekly": {day: ["20:00-08:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}}
    days = {"weekly": {day: ["08:00-20:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat")}}
    document = with_directors(director(duty=nights), director("he.jing", days))
    plan = plan_import(hub, document)
    assert plan.told_warnings("zh") == [
        "清河县人民医院（qinghe-renmin）无总值班：08:00 至 20:00（12 小时），周日 2026-03-08；由上级机构或协调员处理"
    ]
    assert load_network(hub, document, hasher=CHEAP).roster_gaps
