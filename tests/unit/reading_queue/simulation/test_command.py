"""`counterpart-hub simulate` as an administrator runs it; and that the page of its keys tells the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from reading_queue.simulation import Demand, parse_demand

ROOT = Path(__file__).parents[4]
NETWORK = ROOT / "deploy" / "demo" / "network.yaml"


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reading_queue", "simulate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)


def without_the_county_hospital_at_night(folder: Path) -> Path:
    network = yaml.safe_load(NETWORK.read_text(encoding="utf-8"))
    for person in network["physicians"]:
        person["duty"] = [{"starts_at": "2026-03-02T08:00:00+08:00", "ends_at": "2026-03-02T18:00:00+08:00"}]
    for person in network["physicians"][::2]:
        person["duty"] = {"weekly": {"mon": ["08:00-18:00"]}}
    network["simulation"] = {"studies_per_site_per_day": {"township": 10}}
    file = folder / "day-alone.yaml"
    file.write_text(yaml.safe_dump(network, allow_unicode=True), encoding="utf-8")
    return file


def test_demonstration_network_is_told_in_both_languages():
    english = simulate(str(NETWORK), "--days", "1", "--from", "2026-03-02")
    assert english.returncode == 0, english.stderr
    assert "1 day, 23 sites, 10 physicians" in english.stdout
    assert "10 physicians are on duty around the clock" in english.stdout
    assert "Qinghe County People's Hospital" in english.stdout
    chinese = simulate(str(NETWORK), "--days", "1", "--from", "2026-03-02", "--language", "zh")
    assert "10 名医师标为全天候值班" in chinese.stdout
    assert "清河县人民医院" in chinese.stdout


def test_two_rosters_are_given_the_same_studies_and_shown_side_by_side(tmp_path: Path):
    gap = without_the_county_hospital_at_night(tmp_path)
    words = (str(NETWORK), "--against", str(gap), "--days", "1", "--from", "2026-03-02")
    both = json.loads(simulate(*words, "--json").stdout)
    ours, theirs = both[str(NETWORK)], both[str(gap)]
    assert ours["all"]["cases"] == theirs["all"]["cases"] > 150
    assert ours["gaps"] == []
    assert {(one["from"], one["until"]) for one in theirs["gaps"]} == {("18:00", "00:00"), ("00:00", "08:00")}
    assert ours["lanes"]["stat"]["share_met"] > theirs["lanes"]["stat"]["share_met"]
    assert "Two rosters, the same studies" in simulate(*words).stdout


def test_mistakes_are_refused_with_file_line_and_field(tmp_path: Path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("physicians:\n  - {login: a}", encoding="utf-8")
    refused = simulate(str(NETWORK), "--against", str(wrong), "--language", "zh")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "wrong.yaml 第 2 行，physicians[0].title：" in refused.stderr
    wrong.write_text("simulation: {decline_rate: 3}", encoding="utf-8")
    refused = simulate(str(wrong))
    assert (refused.returncode, "wrong.yaml line 1, simulation.decline_rate: " in refused.stderr) == (1, True)
    wrong.write_text("# of a day\ndecline_rate: 3", encoding="utf-8")
    assert "wrong.yaml line 2, decline_rate: " in simulate(str(NETWORK), "--demand", str(wrong)).stderr
    assert simulate(str(tmp_path / "no.yaml")).stderr == f"{tmp_path / 'no.yaml'}: there is no such file or folder\n"
    assert simulate().returncode == 2


def test_page_of_the_keys_has_every_key_with_its_default():
    keys = yaml.safe_load((ROOT / "deploy" / "hub" / "simulation.yaml").read_text(encoding="utf-8"))
    assert set(keys) == set(Demand.model_fields)
    assert parse_demand(keys) == Demand()
