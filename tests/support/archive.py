"""A clinic's PACS: DCMTK's dcmqrscp with its own index, which finds studies and moves them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.ports import own_port
from tests.support.waiting import eventually

AE_TITLE = "PACS"


class Archive:
    """One dcmqrscp under `folder`, on a port that it keeps while it is down."""

    def __init__(self, folder: Path) -> None:
        self.port = own_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "images").mkdir(parents=True)

    def start(self, *, destinations: dict[str, int]) -> None:
        """Serve; `destinations` are the ports of the AE titles that it may move to."""
        hosts = "".join(f"{title.lower()} = ({title}, 127.0.0.1, {port})\n" for title, port in destinations.items())
        (self._folder / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{AE_TITLE} {self._folder / 'images'} RW (200, 1024mb) ANY\nAETable END\n"
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["dcmqrscp", "-c", str(self._folder / "dcmqrscp.cfg")], stdout=log, stderr=log
            )
        eventually(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def store(self, *files: Path) -> None:
        """Have it keep these files."""
        words = ["storescu", "-aec", AE_TITLE, "127.0.0.1", str(self.port), *map(str, files)]
        subprocess.run(words, check=True, capture_output=True)

    def images(self) -> list[Path]:
        """Return the files that it keeps."""
        return [path for path in (self._folder / "images").iterdir() if path.name != "index.dat"]

    def _answers(self) -> None:
        words = ["echoscu", "-aec", AE_TITLE, "127.0.0.1", str(self.port)]
        assert subprocess.run(words, check=False, capture_output=True).returncode == 0
