"""`counterpart-gateway import` against a gateway that serves, as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.gateway_receive.instances import write_slice
from tests.support.processes import ProcessStarter

TOOL = Path(sys.executable).parent / "counterpart-gateway"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'spool_dir = "{tmp_path / "spool"}"\nport_file = "{tmp_path / "port"}"\n'
        '[hub]\nurl = "http://127.0.0.1:9"\n'
        '[dicom]\nhost = "127.0.0.1"\nport = 0\nallowed_calling_ae_titles = ["CT1"]\ndisk_floor_bytes = 0\n'
        "[console]\nenabled = false\n"
    )
    return path


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(TOOL), "--config", str(config), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_a_folder_is_imported_by_the_process_that_serves(tmp_path: Path, config: Path, processes: ProcessStarter):
    for number in (1, 2):
        write_slice(tmp_path / "usb", number)
    (tmp_path / "usb" / "notes.txt").write_text("not an image")
    asked = run(config, "import", "start", str(tmp_path / "usb"), "--lane", "urgent")
    assert asked.returncode == 0, asked.stderr
    assert "waits for the gateway" in asked.stdout

    processes.start([TOOL, "--config", config, "serve"], name="gateway")
    followed = run(config, "import", "start", str(tmp_path / "usb"), "--wait")

    assert followed.returncode == 0, followed.stderr
    assert "0 stored, 2 here already, 1 left out" in followed.stdout
    listed = run(config, "import", "list").stdout
    assert "2 stored, 0 here already, 1 left out" in listed
    assert "1 left out: is no DICOM file" in listed


def test_an_import_that_does_not_exist_cannot_be_stopped(config: Path):
    refused = run(config, "import", "cancel", "nothing")
    assert refused.returncode == 1
    assert refused.stderr == "There is no such import under way.\n"


def test_a_source_that_is_not_there_is_named(config: Path):
    refused = run(config, "import", "start", "/not/there")
    assert refused.returncode == 2
    assert "does not exist" in refused.stderr
