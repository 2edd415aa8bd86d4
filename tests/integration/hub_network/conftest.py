"""The command `counterpart-hub network …` on the test's own database, as an administrator runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from reading_queue.services.hub import Hub

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(hub: Hub, tmp_path: Path, database_url: sa.URL) -> Command:
    """Run `counterpart-hub …`; `typed` is what comes from a pipe."""
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    config = tmp_path / "hub.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[database]\nurl = "{address}"\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
    )

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "reading_queue", "--config", str(config), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, input=typed)

    return run


@pytest.fixture
def network(command: Command) -> Command:
    """Run `counterpart-hub network …`."""
    return lambda *words: command("network", *words)
