"""Receivers under measurement, each a process of its own: our gateway as it is deployed, Orthanc, DCMTK's storescp.

Peers are at their best: TCP_NODELAY, PDUs of 128 KiB, as many threads or processes as there are associations. Their
versions and command lines are kept for the report.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from tests.support.processes import ProcessStarter, RunningProcess

PDU_BYTES = 128 * 1024
ASSOCIATIONS = 8
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")  # where Debian puts it


class MissingPeerError(Exception):
    """A program that is compared with is not installed; the message says how to install it."""


class Receiver(ABC):
    """A C-STORE receiver with an empty storage, between `start` and `stop`."""

    name: str
    port: int
    process: RunningProcess

    def __init__(self, directory: Path, processes: ProcessStarter) -> None:
        self.directory = directory
        self._processes = processes

    @abstractmethod
    def start(self) -> None:
        """Run on a free port with nothing stored."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return version and command line for the report."""

    def stop(self) -> None:
        """End the process. What it stored stays until the end of the benchmark.

        Deleting thousands of files now would slow the next receiver down: ext4 avoids inodes that were freed lately.
        """
        self.process.kill_session()


class Gateway(Receiver):
    """`counterpart-gateway serve` with its real spool and journal, not enrolled: it receives and keeps."""

    name = "counterpart-gateway"

    def start(self) -> None:
        self.directory.mkdir(parents=True)
        port_file = self.directory / "port"
        configuration = self.directory / "gateway.toml"
        configuration.write_text(
            f'spool_dir = "{self.directory / "spool"}"\nport_file = "{port_file}"\n'
            '[hub]\nurl = "http://127.0.0.1:9"\n'
            '[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["BENCH"]\n'
        )
        self.process = self._processes.start(
            [sys.executable, "-m", "gateway", "--config", configuration, "serve"],
            name=f"gateway-{self.directory.name}",
            ready=port_file.exists,
        )
        self.port = int(port_file.read_text())

    def describe(self) -> dict[str, Any]:
        return {"command": "counterpart-gateway serve", "durable": "file, directory and journal synced before Success"}


class Orthanc(Receiver):
    """Debian's Orthanc with its defaults: SQLite index, files synced (SyncStorageArea), HTTP off."""

    name = "Orthanc"

    def configuration(self) -> dict[str, Any]:
        return {
            "StorageDirectory": str(self.directory / "storage"),
            "IndexDirectory": str(self.directory / "index"),
            "DicomPort": self.port,
            "DicomAet": "RECEIVER",
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomThreadsCount": ASSOCIATIONS,
            "MaximumPduLength": PDU_BYTES,
            "HttpServerEnabled": False,
            "Plugins": [],
        }

    def start(self) -> None:
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
        if program is None:
            raise MissingPeerError("Orthanc is not installed: apt-get install --no-install-recommends orthanc")
        self.directory.mkdir(parents=True)
        self.port = free_port()
        path = self.directory / "orthanc.json"
        path.write_text(json.dumps(self.configuration()))
        self.process = self._processes.start(
            [program, path],
            name=f"orthanc-{self.directory.name}",
            env={"TCP_NODELAY": "1"},
            ready=lambda: answers(self.port),
        )

    def describe(self) -> dict[str, Any]:
        configuration = self.configuration() | {"DicomPort": "any", "StorageDirectory": "own", "IndexDirectory": "own"}
        return {
            "version": first_line("/usr/sbin/Orthanc", "--version"),
            "command": "TCP_NODELAY=1 Orthanc orthanc.json",
            "configuration": configuration,
            "durable": "each file synced (SyncStorageArea, its default)",
        }


class OrthancWeb(Orthanc):
    """Debian's Orthanc with its DICOMweb plugin; whole headers, as the standard says, and every thread it may have."""

    name = "Orthanc with DICOMweb"

    def __init__(self, directory: Path, processes: ProcessStarter) -> None:
        super().__init__(directory, processes)
        self._http_port = free_port()

    @property
    def url(self) -> str:
        """The root of its DICOMweb service."""
        return f"http://127.0.0.1:{self._http_port}/dicom-web"

    def configuration(self) -> dict[str, Any]:
        return super().configuration() | {
            "HttpServerEnabled": True,
            "HttpPort": self._http_port,
            "HttpThreadsCount": 50,
            "KeepAlive": True,
            "RemoteAccessAllowed": False,
            "DefaultEncoding": "Utf8",
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
        }

    def start(self) -> None:
        if not DICOMWEB_PLUGIN.exists():
            raise MissingPeerError(
                "Orthanc's plugin is not installed: apt-get install --no-install-recommends orthanc-dicomweb"
            )
        super().start()

    def fill(self, *studies: Sequence[Path]) -> None:
        """Give it these files."""
        http = urllib3.PoolManager(retries=False, timeout=60)
        for path in (path for study in studies for path in study):
            answer = http.request("POST", f"http://127.0.0.1:{self._http_port}/instances", body=path.read_bytes())
            if answer.status != 200:
                raise RuntimeError(f"Orthanc did not take {path}: {answer.status}")

    def describe(self) -> dict[str, Any]:
        configuration = self.configuration() | {"DicomPort": "any", "StorageDirectory": "own", "IndexDirectory": "own"}
        return {
            "version": first_line("/usr/sbin/Orthanc", "--version"),
            "plugin": first_line("dpkg-query", "--show", "orthanc-dicomweb"),
            "command": "TCP_NODELAY=1 Orthanc orthanc.json",
            "configuration": configuration | {"HttpPort": "any"},
        }


class StoreScp(Receiver):
    """DCMTK's storescp, a process for each association; it syncs nothing."""

    name = "storescp"

    def arguments(self) -> list[str]:
        return ["storescp", "--fork", "--max-pdu", str(PDU_BYTES), "--output-directory"]

    def start(self) -> None:
        if shutil.which("storescp") is None:
            raise MissingPeerError("storescp is not installed: apt-get install --no-install-recommends dcmtk")
        storage = self.directory / "storage"
        storage.mkdir(parents=True)
        self.port = free_port()
        self.process = self._processes.start(
            [*self.arguments(), storage, str(self.port)],
            name=f"storescp-{self.directory.name}",
            env={"TCP_NODELAY": "1"},
            ready=lambda: answers(self.port),
        )

    def describe(self) -> dict[str, Any]:
        return {
            "version": first_line("storescp", "--version"),
            "command": f"TCP_NODELAY=1 {' '.join(self.arguments())} DIRECTORY PORT",
            "durable": "nothing is synced",
        }


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def first_line(*argv: str) -> str:
    """Return the first line that a program prints."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"LANG": "C"})
    return (done.stdout or done.stderr).partition("\n")[0].strip(" $")
