"""Mistakes as a coordinator makes them by hand: each is told with file, line and field, in words that help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reading_queue.commands.networking import read_network
from reading_queue.services.network.network_document import NetworkInvalid, parse, parse_network
from reading_queue.services.network.network_files import read_files
from reading_queue.services.network.network_parts import NetworkDocument

COUNTY = """\
organisations:
  - id: qinghe-renmin
    kind: county
    name: 清河县人民医院
  - id: qinghe-t01
    kind: township
    name: 双桥卫生院
    parent: qinghe-renmin
    site: qinghe-t01
agreements:
  - id: own
    requesting: [qinghe-t01]
    assisting: qinghe-renmin
    stage: 1
    valid_from: 2026-01-01
    valid_until: 2026-12-31
physicians:
  - login: zhou.wei
    name: 周伟
    organisation: qinghe-renmin
    title: attending
    licence_number: "110"
    licence_valid_until: 2030-01-01
    duty:
      weekly:
        mon: ["08:00-17:00"]
"""
NO_YAML = "is not YAML: "
ORGANISATIONS, DUTY = "id,kind,name,parent\r\n", "login,day,shift,starts_at,ends_at\r\n"
AGREEMENTS = "id,requesting,assisting,stage,valid_from,valid_until\r\n"


def understand(files: Mapping[str, bytes]) -> NetworkDocument:
    document, places, faults = read_files(files)
    if faults:
        raise NetworkInvalid([*faults, *parse(document).faults], places)
    return parse_network(document, places)


def told(files: Mapping[str, bytes], language: str = "en") -> list[str]:
    """Return what is wrong with the files."""
    with pytest.raises(NetworkInvalid) as refused:
        understand(files)
    return list(refused.value.told(language))


def test_the_county_of_the_mistakes_has_none() -> None:
    assert understand({"n.yaml": COUNTY.encode("utf-16")}).organisations


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("    name: 双桥", "\tname: 双桥", f"7: {NO_YAML}it has a tab; indent with spaces"),
        ("kind: county", "kind:county", f"3: {NO_YAML}this line has no colon with a space after it; a full-width"),
        ("kind: county", "kind：county", f"3: {NO_YAML}this line has no colon with a space after it; a full-width"),
        ("    kind: county", "   kind: county", f"3: {NO_YAML}it does not go on with the part that begins in line 2"),
        ("    kind: county", "     kind: county", f"3: {NO_YAML}it is not indented as the lines around it"),
        ("name: 周伟", "name: 周伟: 主任", f"19: {NO_YAML}it is not indented as the lines around it, or has a colon"),
        ("[qinghe-t01]", "[qinghe-t01", f"13: {NO_YAML}the bracket that opens in line 12 is not closed"),
        ('["08:00-17:00"]', '["08:00-17:00]', f"26: {NO_YAML}the quotation mark that opens in line 26 is not closed"),
        ('"110"', "*110", f"22: {NO_YAML}* refers to a name that is not there"),
        ('"110"', "!110", f"22: {NO_YAML}tags, which begin with !, are not taken"),
        ('"110"', "@110", f"22: {NO_YAML}a text cannot begin with this sign"),
        ("双桥", "双\x07桥", f"7: {NO_YAML}it has a control character"),
        ("physicians:", "---\nphysicians:", f"17: {NO_YAML}one file holds one network"),
        ("    kind: county", "    kind: county\n    kind: county", "4, organisations[0].kind: kind is given twice"),
        ("stage: 1", "stage: yes", "14, agreements[0].stage: must be a whole number"),
        ("stage: 1", "stage: .inf", "14, agreements[0].stage: must be a whole number"),
        ("valid_from: 2026-01-01", "valid_from:", "15, agreements[0].valid_from: is missing"),
        ("name: 周伟", 'name: ""', "19, physicians[0].name: is missing"),
        ("name: 周伟", "name:", "19, physicians[0].name: is missing"),
        ("[qinghe-t01]", "[双桥]", "12, agreements[0].requesting[0]: must be a code"),
        (
            '\n      weekly:\n        mon: ["08:00-17:00"]',
            " weekdays",
            "24, physicians[0].duty: must be always, a weekly roster or a list of periods",
        ),
        (
            "    title: attending",
            "    title: attending\n    password: abc",
            "22, physicians[0].password: must have at least 8 characters",
        ),
    ],
)
def test_mistake_in_yaml_is_told_with_its_line_and_what_to_do(right: str, wrong: str, words: str) -> None:
    assert right in COUNTY
    files = {"n.yaml": COUNTY.replace(right, wrong, 1).encode()}
    [only] = told(files)
    assert only.startswith(f"n.yaml line {words}")
    [chinese] = told(files, "zh")
    line, _, problem = chinese.partition("：")
    assert line.startswith(f"n.yaml 第 {words.partition(':')[0].partition(',')[0]} 行")
    assert not any(word in problem for word in ("found", "expected", "must", "not"))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "organisations.csv",
            ORGANISATIONS + 'a,county,"甲,\r\nb,county,乙,\r\n',
            "2: is not CSV: a quotation mark that",
        ),
        ("organisations.csv", ORGANISATIONS + 'a,county,"甲"乙,\r\n', "2: is not CSV: a quotation mark within a cell"),
        ("organisations.csv", "", "1: is empty; not even the header is there"),
        ("organisations.csv", ORGANISATIONS + "a,县级,甲,\r\n", "2, kind: must be one of township"),
        ("agreements.csv", AGREEMENTS + "x,a、b,b,1,2026-01-01,2026-12-31\r\n", "2, requesting: must be a code"),
        (
            "duty.csv",
            DUTY + "zhou.wei,礼拜一,08:00-17:00,,\r\n",
            "2, day: must be a weekday (mon to sun), a day such as",
        ),
        ("duty.csv", DUTY + "zhou.wei,,08:00-17:00,,\r\n", "2, day: is missing"),
        ("duty.csv", DUTY + ",mon,08:00-17:00,,\r\n", "2, login: is missing"),
        ("duty.csv", DUTY + "zhou.wei,mon,,,\r\n", "2, shift: must be a shift such as 20:00-08:00"),
        ("duty.csv", DUTY + "zhou.wei,周一,8:00-17:00,,\r\n", "2, shift: must be a shift such as 20:00-08:00"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_mistake_in_a_table_is_told_with_its_row_and_column(file: str, text: str, words: str, encoding: str) -> None:
    [first, *_] = told({file: text.encode(encoding)})
    assert first.startswith(f"{file} line {words}")


def test_weekday_of_a_table_may_be_chinese() -> None:
    document, _, faults = read_files({"duty.csv": (DUTY + "zhou.wei,星期日,08:00-17:00,,\r\n").encode()})
    assert (document["rosters"][0]["duty"]["weekly"], faults) == ({"sun": ["08:00-17:00"]}, [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a:\n  " + b"[" * 200_000, "n.yaml line 2: is nested more than 64 levels deep"),
        (b"a: [\n" + b"1," * 1_600_000 + b"1]", "n.yaml line 2: is too large, as it is written"),
    ],
    ids=["deep", "wide"],
)
def test_file_that_would_take_all_memory_or_stack_is_refused_before_it_does(data: bytes, words: str) -> None:
    [only] = told({"n.yaml": data})
    assert only.startswith(words)


def test_what_is_no_text_is_told_to_be_none() -> None:
    assert told({"n.xls": b"\xd0\xcf\x11\xe0\xa1"}) == [
        "n.xls line 1: is a spreadsheet's own format; save each sheet as CSV"
    ]


def test_file_that_is_not_there_is_told_so_and_not_by_a_line(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "the folder has none of the tables"),
    ):
        with pytest.raises(NetworkInvalid) as refused:
            read_network(path)
        assert refused.value.problems[0].startswith(f"{path}: {words}")
        assert refused.value.told("zh")[0].startswith(f"{path}：")
