"""DCMTK's storescp as the clinic's PACS: another maker's reading of DICOM, writing what it received as it came."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import own_port
from tests.support.waiting import eventually


@dataclass(frozen=True)
class StoreScp:
    port: int
    folder: Path

    def target(self, **changes: object) -> dict[str, object]:
        return {"name": "main", "host": "127.0.0.1", "port": self.port, "ae_title": "PACS", "timeout_s": 30, **changes}

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@contextmanager
def running_storescp(folder: Path, *options: str) -> Iterator[StoreScp]:
    """Run one on a port of its own until the block ends; `options` such as those of TLS."""
    folder.mkdir(exist_ok=True)
    port = own_port()
    command = ["storescp", "--aetitle", "PACS", "--output-directory", str(folder), "+xa", *options, str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"})
    try:
        eventually(lambda: _listens(port))
        yield StoreScp(port, folder)
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == 0
