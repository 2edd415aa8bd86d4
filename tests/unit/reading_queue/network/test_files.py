"""A network in files: what is written is the same when it is read again, however it was saved; faults have places."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from reading_queue.domain.network_changes import Kind, State, compare, merged
from reading_queue.domain.network_checks import Proposal, check
from reading_queue.domain.network_faults import tell
from reading_queue.services.network.network_csv import FILES, read_csv_set, write_csv_set
from reading_queue.services.network.network_document import NOTHING, NetworkInvalid, parse, parse_network
from reading_queue.services.network.network_facts import document_of, facts_of
from reading_queue.services.network.network_yaml import read_yaml, write_yaml
from tests.support.networks import networks

TODAY = date(2026, 3, 2)
COUNTY = Path(__file__).parents[4] / "deploy" / "demo" / "network.yaml"


def state_of(document: Mapping[str, Any]) -> State:
    """Return the network as the hub would hold it after an import into an empty one."""
    parsed = parse(document)
    assert [fault.words() for fault in parsed.faults] == []
    return merged(NOTHING, compare(NOTHING, facts_of(parsed.network), lambda _: TODAY))


@given(networks())
@settings(max_examples=60)
def test_what_is_written_as_yaml_or_csv_is_the_same_network_again(document: dict[str, Any]):
    state = state_of(document)
    exported = document_of(state)
    again, _ = read_yaml("network.yaml", write_yaml(exported))
    assert compare(state, facts_of(parse(again).network), lambda _: TODAY) == []
    assert state_of(again) == state
    for language in ("zh", "en"):
        again, _, faults = read_csv_set(write_csv_set(exported, language))
        assert faults == []
        assert state_of(again) == state


def saved_by_excel_in_china(data: bytes) -> bytes:
    return data.decode("utf-8-sig").encode("gb18030")


def with_unix_lines_and_no_mark(data: bytes) -> bytes:
    return data.decode("utf-8-sig").replace("\r\n", "\n").encode()


def with_old_mac_lines(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\r")


def with_columns_the_other_way_round_and_empty_rows(data: bytes) -> bytes:
    import csv
    import io

    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    text = io.StringIO()
    csv.writer(text).writerows([[], *(row[::-1] for row in rows), ["", ""]])
    return text.getvalue().encode()


def with_the_days_of_excel(data: bytes) -> bytes:
    return data.replace(b"2024-01-01", b"2024/1/1").replace(b"2099-12-31", b"2099/12/31")


@pytest.mark.parametrize(
    "saved",
    [
        saved_by_excel_in_china,
        with_unix_lines_and_no_mark,
        with_old_mac_lines,
        with_columns_the_other_way_round_and_empty_rows,
        with_the_days_of_excel,
    ],
)
def test_county_is_the_same_however_a_spreadsheet_has_saved_it(saved: Callable[[bytes], bytes]):
    state = state_of(yaml.safe_load(COUNTY.read_text(encoding="utf-8")))
    files = {name: saved(data) for name, data in write_csv_set(document_of(state), "zh").items()}
    document, _, faults = read_csv_set(files)
    assert faults == []
    assert state_of(document) == state


def test_no_password_is_written():
    document = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))
    exported = document_of(state_of(document))
    written = [write_yaml(exported), *write_csv_set(exported).values()]
    assert all(b"qinghe-demo" not in data and b"password" not in data for data in written)


YAML = """\
organisations:
  - {id: county, kind: county, name: 县医院}
  - id: Clinic One
    kind: village
    parnet: county
agreements:
  - id: first
    requesting: [county, county-2]
    assisting: county
    stage: 1
    valid_from: 2026-02-30
    valid_until: 2026-12-31
physicians:
  - {login: li, name: 李, organisation: county, title: chief, licence_number: 12, licence_valid_until: 2099-12-31}
  - login: wang
    name: 王
    organisation: elsewhere
    title: chief
    licence_number: "0012"
    licence_valid_until: 2025-12-31
    duty: {weekly: {mon: ["8-17"], noday: ["08:00-17:00"]}}
"""


def faults_in(document: Mapping[str, Any], places: Mapping[Any, Any], language: str = "en") -> list[str]:
    parsed = parse(document)
    wanted = facts_of(parsed.network)
    changes = compare(NOTHING, wanted, lambda _: TODAY)
    proposal = Proposal(NOTHING, merged(NOTHING, changes), changes, lambda _: TODAY, parsed.where, parsed.unreadable)
    return [tell(fault, places, language) for fault in (*parsed.faults, *check(proposal))]


def test_every_fault_of_a_yaml_file_is_told_with_its_line_and_field():
    document, places = read_yaml("county.yaml", YAML.encode())
    told = faults_in(document, places)
    assert told == [
        "county.yaml line 3, organisations[1].id: must be a code: lower-case letters, digits and hyphens, at most 48",
        "county.yaml line 4, organisations[1].kind: must be one of township, county, municipal, provincial",
        "county.yaml line 3, organisations[1].name: is missing",
        "county.yaml line 5, organisations[1].parnet: is not known here; check the spelling",
        "county.yaml line 11, agreements[0].valid_from: is no day; write 2026-12-31",
        "county.yaml line 14, physicians[0].licence_number: must be text; put it in quotes",
        "county.yaml line 21, physicians[1].duty.weekly.mon[0]: must be a shift such as 20:00-08:00",
        "county.yaml line 21, physicians[1].duty.weekly.noday: must be one of mon, tue, wed, thu, fri, sat, sun",
    ]
    chinese = faults_in(document, places, "zh")
    assert chinese[2] == "county.yaml 第 3 行，organisations[1].name：缺少此项"
    assert len(chinese) == len(told)


CSV = {
    "organisations.csv": "id,kind,name,parent,site\r\na,county,甲,c,one\r\nb,county,乙,a,one\r\nc,county,丙,b,\r\n",
    "agreements.csv": "编码,申请机构,帮扶医院,级,开始日期,结束日期\nfirst,a,nowhere,1,2026/12/31,2026/1/1\n"
    "second,a,b,x,2026-01-01,2026-12-31\nthird,a,b,2,2026-01-01,2026-12-31\nfourth,a,b,2,2026-06-01,2027-12-31\n",
    "physicians.csv": "login,name,organisation,title,licence_number,licence_valid_until,also_at\n"
    'li,"Li\nMing",a,chief,1,2099-12-31,\nwang,王,a,chief,2,2026-03-01,a;z\nwang,王,a,chief,2,2027-03-01,\n',
    "people.csv": "login,name,role,organisation\ntech,技师,technician,c\nboss,主任,director,c\n",
    "duty.csv": "login,day,shift,starts_at,ends_at\nwang,mon,8-17,,\nwang,always,,,\nzhao,tue,08:00-12:00,,\n",
    "rooms.csv": "x\n",
}


def test_every_fault_of_csv_files_is_told_with_file_row_and_column():
    document, places, faults = read_csv_set({name: text.encode() for name, text in CSV.items()})
    told = [tell(fault, places) for fault in faults] + faults_in(document, places)
    assert sorted(told) == sorted(
        [
            f"rooms.csv line 1: is not known; there may be {', '.join(FILES)}",
            "people.csv line 3, role: must be one of technician, coordinator, administrator",
            "duty.csv line 2, day: one physician cannot have always and duty of another kind",
            "agreements.csv line 3, 级: must be a whole number",
            "physicians.csv line 2, name: must be words, at most 120 characters, without control characters",
            "physicians.csv line 5, login: wang is given twice",
            "organisations.csv line 3, site: the site one is already that of a",
            "organisations.csv line 2, parent: a would stand below itself: a → c → b → a",
            "organisations.csv line 3, parent: b would stand below itself: b → a → c → b",
            "organisations.csv line 4, parent: c would stand below itself: c → b → a → c",
            "agreements.csv line 2, 帮扶医院: no organisation has the id nowhere",
            "agreements.csv line 2, 结束日期: is before the first day, 2026-12-31",
            "agreements.csv line 5, 开始日期: fourth and third cover the same work of a at b in stage 2 on the same "
            "days; end one before the other begins, or give it another stage",
            "people.csv line 2, organisation: c has no site, so a technician would see nothing",
            "physicians.csv line 4, licence_valid_until: the licence of wang has expired on 2026-03-01",
            "physicians.csv line 4, also_at: a is their own hospital already",
            "physicians.csv line 4, also_at: no organisation has the id z",
            "duty.csv line 4, login: no physician has the login zhao",
        ]
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: [1", "n.yaml line 1: is not YAML"),
        (b"a: 1\nb: \x00", "n.yaml line 2: is not YAML"),
        (
            b"organisations: []\nagreements: []\norganisations: []\n",
            "n.yaml line 3, organisations: organisations is given",
        ),
        (b"- 1\n", "n.yaml line 1: describes no network"),
        (b"", "n.yaml line 1: describes no network"),
        (b"a: \xff\xff\xff", "n.yaml line 1: is written in neither UTF-8 nor GB18030"),
        (b"a: &a [*a, *a]\n", ""),
        (b"a: !!python/object:os.system {}\n", "n.yaml line 1: is not YAML"),
        (
            "\n".join(
                ["a: &a0 [1]", *(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 40)}]" for n in range(1, 9))]
            ).encode(),
            "large",
        ),
    ],
)
def test_file_that_is_no_network_is_refused_with_its_line(data: bytes, words: str):
    with pytest.raises(NetworkInvalid) as refused:
        parse_network(read_yaml("n.yaml", data)[0])
    assert words in refused.value.problems[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,kind\na,county\n", "organisations.csv line 1, name: the column name is missing"),
        ("id,kind,name,colour\n", "organisations.csv line 1, colour: there is no column colour; there may be id, kind"),
        ("id,kind,name,名称\n", "organisations.csv line 1, name: the column name is there twice"),
        ('id,kind,name\na,county,甲\n"b', "organisations.csv line 3: is not CSV"),
        ("id,kind,name\na,county,甲,x\n", "organisations.csv line 2: has more cells than the header"),
    ],
)
def test_table_that_is_not_one_is_refused_with_its_line(text: str, words: str):
    _, places, faults = read_csv_set({"organisations.csv": text.encode()})
    assert [tell(fault, places).startswith(words) for fault in faults] == [True]


def test_roster_table_alone_says_the_duty_of_the_hubs_physicians():
    text = "login,day,shift,starts_at,ends_at\nli,fri,20:00-08:00,,\nli,2026-10-01,off,,\nwang,never,,,\n"
    document, _, faults = read_csv_set({"duty.csv": text.encode()})
    assert faults == []
    assert facts_of(parse(document).network)[Kind.DUTY] == {
        "li": {"duty": {"weekly": {"fri": ["20:00-08:00"]}, "days_off": ["2026-10-01"], "extra": {}}},
        "wang": {"duty": []},
    }


def test_tables_are_written_for_excel_and_run_no_formula():
    document = {"organisations": [{"id": "a", "kind": "county", "name": '=HYPERLINK("http://x")', "name_en": "-1+1"}]}
    table = write_csv_set(document, "zh")["organisations.csv"]
    assert table == (
        "\ufeff编码,级别,名称,英文名称,上级机构,站点,时区\r\n" + """a,county,"'=HYPERLINK(""http://x"")",'-1+1,,,\r\n"""
    ).encode("utf-8")


def in_chinese_words(table: str) -> str:
    for code, words in (("associate_chief", "副主任医师"), ("chief", "主任医师"), ("attending", "主治医师")):
        table = table.replace(f",{code},", f",{words},")
    for code, words in (("township", "乡镇"), ("county", "县"), ("technician", "技师"), ("coordinator", "协调员")):
        table = table.replace(f",{code},", f",{words},")
    return table


def with_delimiter(table: str, delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(csv.reader(io.StringIO(table)))
    return text.getvalue()


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param(lambda table: with_delimiter(table, "\t").encode("utf-16"), id="excels-unicode-text"),
        pytest.param(lambda table: with_delimiter(table, ";").encode("utf-8-sig"), id="semicolons"),
        pytest.param(lambda table: in_chinese_words(table).encode("gb18030"), id="chinese-words"),
    ],
)
def test_other_ways_in_which_spreadsheets_save_are_the_same_network(saved: Callable[[str], bytes]):
    document = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))
    state = state_of(document)
    tables = write_csv_set(document_of(state), "zh")
    again, _, faults = read_csv_set({name: saved(data.decode("utf-8-sig")) for name, data in tables.items()})
    assert faults == []
    assert compare(state, facts_of(parse(again).network), lambda _: TODAY) == []


def test_rounded_licence_number_is_refused_and_faults_name_columns_as_the_file_does():
    header = "登录名,名称,所属机构,职称,执业证书号,执业证书有效期\r\n"
    _, places, faults = read_csv_set(
        {"physicians.csv": f"{header}a.b,甲,h,主治医师,1.1E+14,2030/1/5\r\n".encode("gb18030")}
    )
    assert [tell(fault, places, "zh") for fault in faults] == [
        "physicians.csv 第 2 行，执业证书号：表格软件把号码改成了科学计数；请先把此列设为文本，再重新填写"
    ]
    _, places, faults = read_csv_set({"physicians.csv": header.replace("职称,", "").encode("gb18030")})
    assert [tell(fault, places, "zh") for fault in faults] == ["physicians.csv 第 1 行，职称：缺少 职称 这一列"]
