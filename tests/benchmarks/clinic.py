"""A clinic behind a poor line: the whole hub on its embedded default, and a gateway as its own process.

Everything between the two goes over the line, presigned addresses included: the line's end is the hub's public address.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from storage.contract.hops import Hop
from tests.support.faulty_line import FaultyLine, Line
from tests.support.network import (
    ASSETS,
    COUNTY,
    SITE,
    TOOLS,
    ClinicPacs,
    RunningNetwork,
    hub_command,
    run_command,
    stop_process,
)
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
CALLING = "BENCH"
QUIET_PERIOD_S = 1.0
STUDY_WITHIN_S = 240


@dataclass
class Clinic:
    """The running clinic. The hub is asked about a study beside the line, so that asking costs nothing on it."""

    network: RunningNetwork
    line: FaultyLine

    @property
    def log(self) -> Path:
        return self.network.gateway.log_path

    def send(self, folder: Path, calling: str = CALLING) -> float:
        """Send a folder to the gateway as a scanner does; return when its last instance was acknowledged."""
        argv = [sys.executable, "-m", "tests.benchmarks.sender", "--port", str(self.network.dicom_port)]
        argv += ["--calling", calling, "--called", "COUNTERPART", str(folder)]
        told = json.loads(subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        if told["problems"] or told["refused"]:
            raise RuntimeError(f"the gateway did not take everything: {told}")
        return time.time()

    def wait_until_committed(self, study_uid: str) -> float:
        """Return when the hub accepted the commit of the study's last pack, by this machine's clock."""
        path = f"/studies/{study_uid}/custody?site_id={SITE}"

        def committed() -> float:
            if Hop.COMMITTED not in self.network.hops(study_uid):
                raise AssertionError(f"{study_uid} is not committed")
            ledger = self.network.api("coordinator").call("GET", path)["custody"]
            return max(moment(line) for line in ledger if line["hop"] == Hop.COMMITTED)

        return eventually(committed, STUDY_WITHIN_S, every_s=0.2, logs=[self.network.gateway])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the gateway's log events of this name, in order."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if name in line and line.startswith("{")]
        return [event for event in found if event["event"] == name]


def moment(line: dict[str, Any]) -> float:
    """Return when a ledger line was written, as seconds since 1970."""
    at = line.get("at") or line.get("occurred_at") or line["recorded_at"]
    return datetime.fromisoformat(at).timestamp()


def event_time(event: dict[str, Any]) -> float:
    """Return when a log event was written, as seconds since 1970."""
    return datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()


@dataclass(frozen=True)
class Resent:
    """What a cut cost: the packs and parts that were on the line at that moment, and what was begun again after it."""

    in_flight: int
    again: int  # of those that were in flight
    others_again: int  # of all others: nothing of them should be

    @property
    def per_stream(self) -> float:
        """Return the packs sent again for each that was in flight; above 1 whenever another one was, too."""
        return self.again / max(self.in_flight, 1) + self.others_again


def resent_after(cut_at: float, begun: list[dict[str, Any]], uploaded: list[dict[str, Any]]) -> Resent:
    """Return what the log says of a cut. Pure.

    In flight is what had been begun and was not noted as uploaded. `begun` and `uploaded` are the log's events.
    """
    before = {_name(event) for event in begun if event_time(event) <= cut_at}
    done = {_name(event) for event in uploaded if event_time(event) <= cut_at}
    later = Counter(_name(event) for event in begun if event_time(event) > cut_at)
    in_flight = before - done
    times = {name: count if name in before else count - 1 for name, count in later.items()}
    again = sum(count for name, count in times.items() if name in in_flight)
    return Resent(len(in_flight), again, sum(times.values()) - again)


def _name(event: dict[str, Any]) -> tuple[str, int | None]:
    return event["pack_sha256"], event.get("part")


@contextlib.contextmanager
def running_clinic(folder: Path, line: Line, *, settings: str = "", objects: str = "") -> Iterator[Clinic]:
    """Start everything under `folder`; stop everything in the end. `objects`: the hub's, when it is no directory."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        between = stack.enter_context(FaultyLine(line))
        pacs = ClinicPacs(folder / "pacs")
        stack.callback(pacs.stop)
        (folder / "hub.toml").write_text(
            f'public_url = "{between.url}"\ndata_dir = "{folder / "hub"}"\nassets_dir = "{ASSETS}"\n'
            '[web]\nhost = "127.0.0.1"\nport = 0\n[network]\nname = "清河县远程影像诊断网络"\naudience = "qinghe"\n'
            + objects,
            encoding="utf-8",
        )
        hub = RunningProcess(
            [TOOLS / "counterpart-hub", "--config", folder / "hub.toml", "serve"],
            log_path=folder / "log" / "hub.log",
            name="hub",
        )
        stack.callback(stop_process, hub)
        hub.wait_until((folder / "hub" / "run" / "ready").exists, within_s=90)
        hub_command(folder, "network", "load", str(COUNTY))
        port = int((folder / "hub" / "run" / "web.port").read_text())
        between.lead_to(port)
        gateway = start_gateway(folder, between.url, settings)
        stack.callback(stop_process, gateway)
        gateway.wait_until((folder / "gateway" / "dicom.port").exists, within_s=30)
        county = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))
        yield Clinic(RunningNetwork(folder, f"http://127.0.0.1:{port}", pacs, hub, gateway, county), between)


def start_gateway(folder: Path, hub_url: str, settings: str) -> RunningProcess:
    """Enrol a gateway over the line and start it."""
    own = folder / "gateway"
    own.mkdir()
    config = own / "gateway.toml"
    config.write_text(
        f'spool_dir = "{own / "spool"}"\nport_file = "{own / "dicom.port"}"\n'
        f"quiet_period_s = {QUIET_PERIOD_S}\n{settings}"
        f'[hub]\nurl = "{hub_url}"\n'
        f'[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["{CALLING}", "STAT"]\n'
        'lanes = { STAT = "stat" }\n',
        encoding="utf-8",
    )
    code = hub_command(folder, "site", "enrol", SITE).strip().splitlines()[-1]
    run_command([TOOLS / "counterpart-gateway", "--config", config, "enrol", "--code", code])
    command = [TOOLS / "counterpart-gateway", "--config", config, "serve"]
    return RunningProcess(command, log_path=folder / "log" / "gateway.log", name="gateway")
