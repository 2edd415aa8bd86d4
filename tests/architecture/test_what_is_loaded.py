"""Programs start soon because they load only what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
{start}
print(*sys.modules)
"""
HELP = """
sys.argv = ["program", "--help"]
from {package}.cli import main
try:
    main()
except SystemExit:
    pass
"""
HUB_OF_A_COMMAND = "import reading_queue.bootstrap, reading_queue.services.access.enrolment"
WEB = """
from reading_queue import bootstrap
import reading_queue.services.health, reading_queue.web.app, reading_queue.web.gateway_api, reading_queue.web.objects
import reading_queue.web.viewer, reading_queue.web.server, storage.dicomweb.app
"""
WORKER = """
import reading_queue.bootstrap, reading_queue.worker.celery_app
from reading_queue.worker.jobs import preload
preload()
"""
SCHEDULER = "import reading_queue.bootstrap, reading_queue.worker.scheduler, reading_queue.services.motion.sweeps"


@pytest.mark.parametrize(
    ("start", "heavy"),
    [
        pytest.param(
            HELP.format(package="reading_queue"),
            {"sqlalchemy", "celery", "aiohttp", "alembic", "pydicom", "yaml"},
            id="the hub's help",
        ),
        pytest.param(
            HELP.format(package="gateway"),
            {"pydicom", "numpy", "pynetdicom", "sqlite3", "urllib3", "cryptography"},
            id="the gateway's help",
        ),
        pytest.param(
            HUB_OF_A_COMMAND, {"celery", "kombu", "aiohttp", "alembic", "pydicom", "typst"}, id="a command of the hub"
        ),
        pytest.param(WEB, {"celery", "alembic", "typst", "numpy", "segno", "minio"}, id="the web role"),
        pytest.param(SCHEDULER, {"aiohttp", "alembic", "typst", "numpy", "pydicom", "minio"}, id="the scheduler"),
        pytest.param(WORKER, {"aiohttp", "alembic", "minio"}, id="the worker"),
    ],
)
def test_it_loads_nothing_heavy_that_it_does_not_need(start: str, heavy: set[str]) -> None:
    argv = [sys.executable, "-c", PROBE.format(start=start)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert heavy & set(done.stdout.splitlines()[-1].split()) == set()
