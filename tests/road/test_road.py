"""The whole road, in whole processes: `make demo ONCE=1`, twice on one state, and with things killed on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drills.road import ROOT, Drill, lost_instances, unfinished_studies, wrong_reports

pytestmark = [pytest.mark.road, pytest.mark.timeout(900)]


def demonstrate(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy/demo/run.py"), "--once", "--port", "0", "--data", str(folder)]
    command += ["--json", str(folder / "timeline.json")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.xdist_group("road")
def test_every_report_comes_home_and_a_second_run_on_the_same_state_sends_new_studies(tmp_path):
    sent: list[str] = []
    for _ in range(2):
        done = demonstrate(tmp_path / "demo")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert unfinished_studies(tmp_path / "demo") == []
        assert lost_instances(tmp_path / "demo") == []
        assert wrong_reports(tmp_path / "demo") == []
        studies = json.loads((tmp_path / "demo" / "timeline.json").read_text(encoding="utf-8"))["studies"]
        for study in studies:
            assert set(study) == {"study_uid", "site", "modality", "home", "hops"}
            assert [hop["name"] for hop in study["hops"]][-1] == "acknowledged"
        sent += [study["study_uid"] for study in studies]
    assert len(sent) == len(set(sent)) >= 26


@pytest.mark.xdist_group("road")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_or_doubled_when_gateway_web_and_worker_are_killed(tmp_path, seed):
    drill = Drill(seed, tmp_path / "demo").run()
    assert drill.kills, "the drill killed nothing"
    assert drill.problems == [], drill.kills
