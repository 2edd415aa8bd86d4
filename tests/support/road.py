"""The network on the configuration of production: servers of its own, and every role a process, on two machines.

PostgreSQL asks for a password, RabbitMQ carries the messages, S3 holds the objects, and two web processes stand behind
a proxy. The hub never starts a server here: it is given addresses. `production` stops everything when its block ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
import yaml
from pydicom.filereader import read_file_meta_info

from gateway.clock import utc_now
from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.postgres import MAINTENANCE_DATABASE, USER, EmbeddedPostgres
from storage.objects.s3 import S3Store
from tests.support.balancer import Balancer
from tests.support.broker import rabbitmq
from tests.support.network import (
    ASSETS,
    COUNTY,
    GATEWAY_AE,
    SCANNER_AE,
    TOOLS,
    ClinicPacs,
    RunningNetwork,
    hub_command,
    start_gateway,
    stop_process,
)
from tests.support.processes import RunningProcess
from tests.support.s3_server import S3Server, running_s3_server
from tests.support.waiting import eventually

DATABASE_PASSWORD = "p@ss/word"  # with characters that an address must escape
BUCKET = "counterpart"
TEXT = {"findings": "双肺野清晰,未见明显异常。", "impression": "未见明显异常。", "recommendation": "必要时复查。"}
PROPOSE = {  # what storescu is told for files that are compressed
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.5": "-xr",
}


class Broker:
    """A RabbitMQ that can be taken away with all it holds, and comes back empty at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = contextlib.ExitStack()
        self._port: int | None = None
        self.url = ""

    def start(self) -> None:
        """Start it and return when it answers."""
        self.url = self._running.enter_context(rabbitmq(self._folder, self._port))
        self._port = urlsplit(self.url).port

    def stop(self) -> None:
        """Kill it."""
        self._running.close()

    def wipe(self) -> None:
        """Remove everything that it has kept."""
        shutil.rmtree(self._folder)


@dataclass
class Production:
    """The running network, and what a test may take from it."""

    network: RunningNetwork
    broker: Broker
    balancer: Balancer
    database: sa.Engine
    objects: S3Store
    workers: list[RunningProcess] = field(default_factory=list)

    def start_workers(self) -> None:
        """Start one worker on each machine."""
        self.workers = [start_role(self.network.folder, machine, "worker") for machine in (1, 2)]

    def stop_workers(self) -> None:
        """Stop every worker."""
        stop_together(self.workers)

    def hub(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `counterpart-hub` as an operator does."""
        command = [str(TOOLS / "counterpart-hub"), "--config", str(self.network.folder / "hub.toml"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@contextlib.contextmanager
def production(folder: Path) -> Iterator[Production]:
    """Start everything under `folder`; stop everything in the end."""
    with contextlib.ExitStack() as stack:
        broker = Broker(folder / "rabbitmq")
        stack.callback(broker.stop)
        with ThreadPoolExecutor(1) as starting:
            started = starting.submit(broker.start)
            database = stack.enter_context(running_postgres(folder / "postgres"))
            s3 = stack.enter_context(running_s3_server(folder / "s3"))
            started.result()
        objects = S3Store(s3.endpoint, BUCKET, s3.credentials, clock=utc_now, secure=False)
        objects.ensure_bucket()
        balancer = stack.enter_context(Balancer())
        configure(folder, database, broker.url, s3, balancer.url)
        pacs = ClinicPacs(folder / "pacs")
        stack.callback(pacs.stop)
        hub_command(folder, "migrate")
        webs = [start_role(folder, machine, "web") for machine in (1, 2)]
        roles = [*webs, start_role(folder, 1, "scheduler")]
        stack.callback(stop_together, roles)
        engine = sa.create_engine(database)
        stack.callback(engine.dispose)
        hub_command(folder, "network", "load", str(COUNTY))
        balancer.ports += [web_port(folder, machine, web) for machine, web in enumerate(webs, 1)]
        gateway = start_gateway(folder, balancer.url, pacs.port)
        stack.callback(stop_process, gateway)
        gateway.wait_until((folder / "gateway" / "dicom.port").exists)
        county = yaml.safe_load(COUNTY.read_text(encoding="utf-8"))
        network = RunningNetwork(folder, balancer.url, pacs, webs[0], gateway, county)
        running = Production(network, broker, balancer, engine, objects)
        stack.callback(running.stop_workers)
        running.start_workers()
        yield running


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[sa.URL]:
    """Run a PostgreSQL whose database asks for a password, and give its address."""
    folder.mkdir(parents=True)
    access = folder / "pg_hba.conf"
    access.write_text(f"local {MAINTENANCE_DATABASE} all trust\nlocal all all scram-sha-256\n")
    with owned(folder):
        server = EmbeddedPostgres(folder, make_socket_directory(folder, runtime_dir=None), {"hba_file": str(access)})
        server.start()
        try:
            maintenance = sa.create_engine(server.url(MAINTENANCE_DATABASE))
            with maintenance.begin() as connection:
                connection.exec_driver_sql(f"ALTER ROLE {USER} PASSWORD '{DATABASE_PASSWORD}'")
            maintenance.dispose()
            yield server.url().set(password=DATABASE_PASSWORD)
        finally:
            server.stop()
            remove_socket_directory(folder)


def configure(folder: Path, database: sa.URL, broker_url: str, s3: S3Server, public_url: str) -> None:
    """Write the hub's configuration: the same file on every machine."""
    (folder / "s3.secret").write_text(s3.credentials.secret_key)
    port = s3.endpoint.rpartition(":")[2]
    (folder / "hub.toml").write_text(
        f'public_url = "{public_url}"\nassets_dir = "{ASSETS}"\ndata_dir = "{folder / "machine-1"}"\n'
        "[web]\nport = 0\n"
        f'[database]\nurl = "{database.render_as_string(hide_password=False)}"\n'
        f'[broker]\nurl = "{broker_url}"\n'
        f'[objects]\nkind = "s3"\nendpoint = "{s3.endpoint}"\nbucket = "{BUCKET}"\nsecure = false\n'
        f'access_key = "{s3.credentials.access_key}"\nsecret_key_file = "{folder / "s3.secret"}"\n'
        f'public_endpoint = "http://localhost:{port}"\n'
        f'[keys]\nkey_file = "{folder / "hub.key"}"\n'
        '[network]\nname = "清河县远程影像诊断网络"\naudience = "qinghe"\n'
        '[worker]\nconcurrency = 1\n[log]\nformat = "json"\n',
        encoding="utf-8",
    )


def start_role(folder: Path, machine: int, role: str) -> RunningProcess:
    """Start one role as its machine's own process."""
    command = [TOOLS / "counterpart-hub", "--config", folder / "hub.toml", "serve", role]
    name = f"{role}-{machine}"
    data_dir = {"COUNTERPART_HUB_DATA_DIR": str(folder / f"machine-{machine}")}
    return RunningProcess(command, log_path=folder / "log" / f"{name}.log", name=name, env=data_dir)


def stop_together(processes: Sequence[RunningProcess]) -> None:
    """Tell all of them to stop, then wait for each."""
    for process in processes:
        process.popen.terminate()
    for process in processes:
        stop_process(process)


def web_port(folder: Path, machine: int, web: RunningProcess) -> int:
    """Return the port of this machine's web process as soon as it listens."""
    file = folder / f"machine-{machine}" / "run" / "web.port"
    web.wait_until(file.exists)
    return int(file.read_text())


def storescu(port: int, files: Sequence[Path]) -> None:
    """Send Part 10 files as they are with DCMTK; every one must be accepted."""
    syntaxes = {str(read_file_meta_info(file).TransferSyntaxUID) for file in files}
    proposed = [PROPOSE[syntax] for syntax in syntaxes if syntax in PROPOSE]
    command = ["storescu", *proposed, "-aet", SCANNER_AE, "-aec", GATEWAY_AE, "127.0.0.1", str(port), *map(str, files)]
    environment = os.environ | {"TCP_NODELAY": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read_by_two(network: RunningNetwork, study_uid: str) -> tuple[str, str]:
    """Have one physician write and sign and another verify; return their logins."""
    author, task = take_offer(network, study_uid, "interpretation")
    sign(network, author, task, "submit", TEXT)
    verifier, task = take_offer(network, study_uid, "verification")
    sign(network, verifier, task, "sign", {})
    return author, verifier


def sign(network: RunningNetwork, login: str, task: str, deed: str, body: dict[str, Any]) -> None:
    """Submit or sign a held reading task by the API, having looked at the images that its case shows."""
    program = network.api(login)
    (case_id,) = (one["case_id"] for one in program.call("GET", "/held")["held"] if one["reading_task_id"] == task)
    shown = program.call("GET", f"/cases/{case_id}")["case"]["summary"]["images_version"]
    program.call("POST", f"/reading-tasks/{task}/{deed}", {**body, "images_version": shown})


def take_offer(network: RunningNetwork, study_uid: str, phase: str, within_s: float = 60) -> tuple[str, str]:
    """Claim the study's reading task of this phase as a physician to whom it is offered; return login and task."""
    logins = [person["login"] for person in network.county["physicians"]]

    def offered() -> tuple[str, str]:
        for login in logins:
            for offer in network.api(login).call("GET", "/offers")["offers"]:
                if study_uid in offer["study_uids"] and offer["phase"] == phase:
                    return login, offer["reading_task_id"]
        raise AssertionError(f"{phase} of {study_uid} is offered to nobody; it has {sorted(network.hops(study_uid))}")

    login, task = eventually(offered, within_s, every_s=0.1, logs=[network.hub, network.gateway])
    network.api(login).call("POST", f"/reading-tasks/{task}/claim")
    return login, task
