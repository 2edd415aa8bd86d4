"""The web role is killed while somebody stores: nothing is half stored, and what it left is removed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from reading_queue.db.tables import Case
from reading_queue.services.arrival.deposit_leftovers import ABANDONED_AFTER, sweep_deposits
from reading_queue.services.hub import Hub
from reading_queue.services.motion.sweeps import GRACE, relaunch_lost
from storage.catalogue.tables import Deposit, Instance, Pack, Study
from storage.objects.directory import DirectoryStore
from tests.integration.dicomweb.county import County
from tests.integration.stow.made import big_images, images
from tests.integration.stow.serving import Storing, multipart
from tests.support.clock import SteerableClock
from tests.support.folders import files_under
from tests.support.hub import PUBLIC_URL, make_hub
from tests.support.processes import ProcessStarter, RunningProcess
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),
]

MEGABYTE = 1024 * 1024
MEMORY_MAX_MB = 300.0

# The web role whose store does one such act and never answers the next: it is killed there, however fast it is.
HELD = """
import sys, threading
from reading_queue.cli import main
from storage.objects.directory import DirectoryStore
name, done = sys.argv.pop(1), []
act = getattr(DirectoryStore, name)
def held(store, *args):
    if done:
        threading.Event().wait()
    act(store, *args)
    done.append(name)
setattr(DirectoryStore, name, held)
main()
"""


@dataclass
class WebRole:
    """The hub's web role as a process, on the database and objects of the test."""

    data_dir: Path
    database_url: str
    processes: ProcessStarter
    started: int = 0

    def start(self, held: str = "") -> RunningProcess:
        """Start it; `held` is what its store does only once."""
        program = ["-c", HELD, held] if held else ["-m", "reading_queue"]
        port_file = self.data_dir / "run" / "web.port"
        port_file.unlink(missing_ok=True)
        self.started += 1
        process = self.processes.start(
            [sys.executable, *program, "serve", "web"],
            name=f"web-{self.started}",
            env={
                "COUNTERPART_HUB_DATA_DIR": str(self.data_dir),
                "COUNTERPART_HUB_DATABASE__URL": self.database_url,
                "COUNTERPART_HUB_BROKER__URL": "redis://127.0.0.1:1/0",
                "COUNTERPART_HUB_WEB__PORT": "0",
                "COUNTERPART_HUB_POLICY__DEPOSIT_DISK_FLOOR_BYTES": "1",
            },
        )
        process.wait_until(lambda: "web_listening" in process.log())
        self.url = f"http://127.0.0.1:{int(port_file.read_text())}"
        return process

    def bodies(self) -> list[Path]:
        """Return the files in which instances lie while they come."""
        return files_under(self.data_dir / "deposits", ".dcm")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def hub_clock() -> SteerableClock:
    """Begins at the real time: the process has no other."""
    return SteerableClock(datetime.now(UTC))


@pytest.fixture
def hub(database: sa.Engine, data_dir: Path, hub_clock: SteerableClock) -> Hub:
    """A hub on the same database and objects as the process."""
    store = DirectoryStore(data_dir / "objects", public_url=PUBLIC_URL, secret=b"s" * 32, clock=hub_clock)
    return make_hub(database, store, data_dir / "keys" / "hub.key", hub_clock)


@pytest.fixture
def role(data_dir: Path, database_url: sa.URL, processes: ProcessStarter) -> Iterator[WebRole]:
    return WebRole(data_dir, database_url.render_as_string(hide_password=False), processes)


def begin_to_store(person: Storing, files: list[bytes]) -> threading.Thread:
    """Store in a thread; how it ends is nobody's matter."""

    def store() -> None:
        try:
            person.store(files)
        except Exception:  # noqa: BLE001 -- the process at the other end is killed
            return

    thread = threading.Thread(target=store)
    thread.start()
    return thread


def counted(hub: Hub) -> dict[str, int]:
    with hub.transaction() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Deposit, Study, Pack, Instance, Case)
        }


def kill_when(process: RunningProcess, there: Callable[[], object]) -> None:
    def is_there() -> None:
        assert there()

    eventually(is_there, every_s=0.002)
    process.kill()


def test_killed_while_the_body_comes(county: County, role: WebRole, hub: Hub) -> None:
    process = role.start()
    person, body = Storing(role.url, county.token("technician")), multipart(images(1, 60))
    first_half, release = body[: len(body) // 2], threading.Event()

    def slowly() -> Iterator[bytes]:
        yield first_half
        release.wait()
        yield body[len(first_half) :]

    thread = threading.Thread(target=lambda: _ignoring(person.send, slowly()))
    thread.start()
    kill_when(process, role.bodies)
    release.set()
    thread.join()
    assert role.bodies(), "the process had no time to remove them"
    role.start()
    assert role.bodies() == []
    assert sum(counted(hub).values()) == 0
    assert list(hub.objects.list_keys("")) == []
    assert Storing(role.url, person.token).send(body).status == 200


def _ignoring(function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except Exception:  # noqa: BLE001 -- the process at the other end is killed
        return


def test_killed_while_packs_are_put(
    county: County, role: WebRole, hub: Hub, hub_clock: SteerableClock, data_dir: Path
) -> None:
    process = role.start(held="put")
    files = big_images(2, 6, 8 * MEGABYTE)  # six packs
    thread = begin_to_store(Storing(role.url, county.token("technician")), files)
    kill_when(process, lambda: files_under(data_dir / "objects" / "incoming", ".tar"))
    thread.join()
    assert counted(hub) == {"deposits": 1, "studies": 0, "packs": 0, "instances": 0, "cases": 0}
    assert sweep_deposits(hub) == 0, "it may still be at work"
    hub_clock.advance(ABANDONED_AFTER.total_seconds() + 3600)
    assert sweep_deposits(hub) == 1
    assert sum(counted(hub).values()) == 0
    assert list(hub.objects.list_keys("")) == []
    role.start()
    reply = Storing(role.url, county.token("technician")).store(files)
    assert (reply.status, len(reply.kept())) == (200, 6)


def test_killed_after_the_commit_is_finished_by_the_sweep(
    county: County, role: WebRole, hub: Hub, hub_clock: SteerableClock, data_dir: Path
) -> None:
    process = role.start(held="copy")
    files = big_images(3, 6, 8 * MEGABYTE)
    thread = begin_to_store(Storing(role.url, county.token("technician")), files)
    kill_when(process, lambda: files_under(data_dir / "objects" / "studies", ".tar"))
    thread.join()
    assert counted(hub)["packs"] < 6
    hub_clock.advance(GRACE.total_seconds() + 3600)
    assert relaunch_lost(hub) >= 1
    county.run_jobs()
    assert counted(hub) == {"deposits": 1, "studies": 1, "packs": 6, "instances": 6, "cases": 1}
    with hub.transaction() as session:
        assert session.scalar(select(Study.revision)) == 1
        assert session.scalar(select(Case.state)) in ("ready", "offered")
    assert list(hub.objects.list_keys("incoming/")) == []


def test_memory_is_bounded_whatever_is_stored(county: County, role: WebRole) -> None:
    process = role.start()
    files = [*big_images(4, 1, 128 * MEGABYTE), *big_images(5, 8, 4 * MEGABYTE)]
    reply = Storing(role.url, county.token("technician")).store(files)
    assert (reply.status, len(reply.kept())) == (200, 9)
    peak_mb = high_water_mb(process.pid)
    assert peak_mb < MEMORY_MAX_MB, peak_mb


def high_water_mb(pid: int) -> float:
    """Return the most memory that the process has held, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
