"""A command whose folder this user may not use says so; one that finds no hub leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.configuration import words_of_denied

TOOLS = Path(sys.executable).parent
NOBODYS = "/sys/counterpart"  # where root, too, can make nothing


def run(tool: str, folder: Path, configuration: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = folder / "settings.toml"
    path.write_text(configuration)
    command = [str(TOOLS / tool), "--config", str(path), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_denial_is_told_from_other_failures() -> None:
    denied = PermissionError(13, "Permission denied", "/var/lib/counterpart")
    assert words_of_denied(denied) == "/var/lib/counterpart cannot be used by this user (Permission denied)"
    for other in (PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file", "x"), ValueError()):
        assert words_of_denied(other) is None


@pytest.mark.parametrize(
    ("tool", "configuration", "word"),
    [
        ("counterpart-hub", f'data_dir = "{NOBODYS}"', "serve"),
        (
            "counterpart-gateway",
            f'spool_dir = "{NOBODYS}"\n[hub]\nurl = "http://127.0.0.1:1"\n'
            '[dicom]\nae_title = "G"\nallowed_calling_ae_titles = ["CT1"]',
            "status",
        ),
    ],
)
def test_command_says_whose_the_folder_is_not(tmp_path: Path, tool: str, configuration: str, word: str) -> None:
    told = run(tool, tmp_path, configuration, word)
    said = told.stdout + told.stderr
    assert (told.returncode, "Traceback" in said) == (1, False), said
    assert f"{NOBODYS} cannot be used by this user" in said


def test_command_that_finds_no_hub_leaves_no_key_behind(tmp_path: Path) -> None:
    data_dir = tmp_path / "hub"
    told = run("counterpart-hub", tmp_path, f'data_dir = "{data_dir}"', "site", "enrol", "clinic")
    assert (told.returncode, told.stderr.startswith("no hub is running")) == (1, True)
    assert not data_dir.exists()
