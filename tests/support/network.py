"""A whole small network as real processes on the embedded default: the hub, one clinic's gateway, the clinic's PACS.

The county is the demonstration's. Everything listens on ports that the system chose. What survives is what the real
programs keep under the folder; `running_network` stops every process when its block ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from storage.contract.hops import Hop
from tests.support.processes import RunningProcess
from tests.support.waiting import PATIENCE_S, eventually

CHECKOUT = Path(__file__).parents[2]
COUNTY = CHECKOUT / "deploy" / "demo" / "network.yaml"
ASSETS = CHECKOUT / "build" / "web"
TOOLS = Path(sys.executable).parent
SITE = "qinghe-t01"
SCANNER_AE, GATEWAY_AE, PACS_AE = "SCANNER", "COUNTERPART", "CLINIC_PACS"
SUCCESS = 0x0000


class Refused(AssertionError):
    """The hub answered with a refusal."""


@dataclass
class ApiClient:
    """One person's use of the hub's JSON API."""

    url: str
    token: str
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=60))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON, None without one. Raises Refused."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = self.http.request(method, f"{self.url}/api/v1{path}", headers=headers, json=body)
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {answer.data.decode()}")
        return json.loads(answer.data) if answer.data else None


class ClinicPacs:
    """The clinic's PACS: a real DICOM listener that keeps what it receives in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=PACS_AE)
        entity.supported_contexts = AllStoragePresentationContexts
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)])
        self.port: int = self._server.server_address[1]

    def _keep(self, event: Event) -> int:
        (self.folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return SUCCESS

    def received(self) -> list[Path]:
        """Return the files received so far."""
        return sorted(self.folder.glob("*.dcm"))

    def stop(self) -> None:
        self._server.shutdown()


def password_in(county: Mapping[str, Any], login: str) -> str:
    """Return the password that a county's document gives a person."""
    people = (one for kind in ("physicians", "technicians", "coordinators") for one in county[kind])
    return next(str(one["password"]) for one in people if one["login"] == login)


@dataclass
class RunningNetwork:
    """The running programs, and what a test does to them from outside."""

    folder: Path
    url: str
    pacs: ClinicPacs
    hub: RunningProcess
    gateway: RunningProcess
    county: dict[str, Any]
    _clients: dict[str, ApiClient] = field(default_factory=dict)

    @property
    def dicom_port(self) -> int:
        """The port of the gateway's DICOM listener."""
        return int((self.folder / "gateway" / "dicom.port").read_text())

    @property
    def console_url(self) -> str:
        """The address of the clinic's own page."""
        return f"http://127.0.0.1:{(self.folder / 'gateway' / 'console.port').read_text().strip()}"

    def password_of(self, login: str) -> str:
        """Return the password that the county's document gives this person."""
        return password_in(self.county, login)

    def api(self, login: str) -> ApiClient:
        """Return this person's API client, logged in."""
        if login not in self._clients:
            body = {"login": login, "password": self.password_of(login)}
            token = ApiClient(self.url, "").call("POST", "/session", body)["token"]
            self._clients[login] = ApiClient(self.url, token)
        return self._clients[login]

    def send(self, files: Sequence[Path], port: int | None = None) -> None:
        """Send Part 10 files over one DICOM association, to another gateway's `port`; every one must be accepted."""
        entity = AE(ae_title=SCANNER_AE)
        metas = [read_file_meta_info(file) for file in files]
        kinds = sorted({(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas})
        entity.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
        association = entity.associate("127.0.0.1", port or self.dicom_port, ae_title=GATEWAY_AE)
        assert association.is_established, f"the gateway refused the association\n{self.gateway.log()[-4000:]}"
        try:
            statuses = [association.send_c_store(file).get("Status") for file in files]
        finally:
            association.release()
        assert statuses == [SUCCESS] * len(files)

    def hops(self, study_uid: str, site: str = SITE) -> set[str]:
        """Return the hops that the hub's ledger has of a study; none while the hub does not know it."""
        path = f"/studies/{study_uid}/custody?site_id={site}"
        try:
            return {line["hop"] for line in self.api("coordinator").call("GET", path)["custody"]}
        except Refused:
            return set()

    def wait_for(self, study_uid: str, hop: Hop, within_s: float = PATIENCE_S, site: str = SITE) -> None:
        """Return when the study has this hop."""

        def has_hop() -> None:
            hops = self.hops(study_uid, site)
            assert hop in hops, f"{study_uid} has {sorted(hops)}"

        eventually(has_hop, within_s, every_s=0.2, logs=[self.hub, self.gateway])


@contextlib.contextmanager
def running_network(folder: Path) -> Iterator[RunningNetwork]:
    """Start everything under `folder`, with one gateway enrolled for SITE; stop everything in the end."""
    with contextlib.ExitStack() as stack:
        pacs = ClinicPacs(folder / "pacs")
        stack.callback(pacs.stop)
        hub = _start_hub(folder)
        stack.callback(stop_process, hub)
        ready = folder / "hub" / "run" / "ready"
        hub.wait_until(ready.exists, within_s=240)
        hub_command(folder, "network", "load", str(COUNTY))
        url = f"http://127.0.0.1:{(folder / 'hub' / 'run' / 'web.port').read_text().strip()}"
        gateway = start_gateway(folder, url, pacs.port)
        stack.callback(stop_process, gateway)
        gateway.wait_until((folder / "gateway" / "dicom.port").exists)
        gateway.wait_until((folder / "gateway" / "console.port").exists)
        county = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))
        yield RunningNetwork(folder, url, pacs, hub, gateway, county)


def _start_hub(folder: Path) -> RunningProcess:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hub.toml").write_text(
        f'data_dir = "{folder / "hub"}"\nassets_dir = "{ASSETS}"\n\n[web]\nhost = "127.0.0.1"\nport = 0\n\n'
        '[network]\nname = "清河县远程影像诊断网络"\naudience = "qinghe"\n',
        encoding="utf-8",
    )
    command = [TOOLS / "counterpart-hub", "--config", folder / "hub.toml", "serve"]
    return RunningProcess(command, log_path=folder / "log" / "hub.log", name="hub")


def start_gateway(
    folder: Path, hub_url: str, pacs_port: int, *, site: str = SITE, name: str = "gateway"
) -> RunningProcess:
    """Enrol a gateway for a site with the hub of `folder`, start it under its name, and return once it is launched."""
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    config = own / "gateway.toml"
    config.write_text(
        f'spool_dir = "{own / "spool"}"\nport_file = "{own / "dicom.port"}"\nquiet_period_s = 1\n\n'
        f'[hub]\nurl = "{hub_url}"\nretry_delay_max_s = 2\ncustody_report_s = 1\n\n'
        f'[dicom]\nae_title = "{GATEWAY_AE}"\nhost = "127.0.0.1"\nport = 0\n'
        f'allowed_calling_ae_titles = ["{SCANNER_AE}"]\n\n'
        f'[console]\nhost = "127.0.0.1"\nport = 0\nport_file = "{own / "console.port"}"\n'
        f'assets_dir = "{ASSETS}"\n\n'
        f'[[targets]]\nname = "clinic"\nhost = "127.0.0.1"\nport = {pacs_port}\nae_title = "{PACS_AE}"\n',
        encoding="utf-8",
    )
    code = hub_command(folder, "site", "enrol", site).strip().splitlines()[-1]
    run_command([TOOLS / "counterpart-gateway", "--config", config, "enrol", "--code", code])
    command = [TOOLS / "counterpart-gateway", "--config", config, "serve"]
    return RunningProcess(command, log_path=folder / "log" / f"{name}.log", name=name)


def stop_process(process: RunningProcess) -> None:
    """Stop a process in order, and leave nothing of its session behind."""
    try:
        process.stop()
    finally:
        process.kill_session()


def hub_command(folder: Path, *words: str) -> str:
    """Run `counterpart-hub` with the configuration of `folder` and return what it prints; it must succeed."""
    return run_command([TOOLS / "counterpart-hub", "--config", folder / "hub.toml", *words])


def run_command(command: Sequence[str | Path]) -> str:
    """Run a command to its end and return what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}"
    return done.stdout
