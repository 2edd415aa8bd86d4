"""Fixtures of all tests: a real PostgreSQL per test process, a fresh database per test, a hub on both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from _pytest.nodeid import coerce_node_id
from hypothesis import HealthCheck, settings

from gateway.journal.database import Journal
from reading_queue.db.schema import upgrade
from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.postgres import MAINTENANCE_DATABASE, EmbeddedPostgres
from reading_queue.services.hub import Hub
from storage.contract.identifiers import new_id
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStore
from tests.support.clock import SteerableClock
from tests.support.hub import PUBLIC_URL, make_hub
from tests.support.plain_logs import say_plainly
from tests.support.processes import ProcessStarter

TEMPLATE = "template_counterpart"

say_plainly()

# How long an example takes, or to draw one, says what else the machine does.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests of one group run in one process: xdist 3.8 writes the group where pytest no longer reads it (9.2)."""
    for item in items:
        if "_nodeid" in vars(item):
            item._id = coerce_node_id(item._nodeid)  # seen by tests/unit/support/test_groups.py


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped anything: what is not run is not proved."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} skipped: nothing may be skipped in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _journals_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the journals that a test opened in this process: each is some files, and there are thousands of tests."""
    opened: list[Journal] = []
    initialise = Journal.__init__

    def noted(journal: Journal, path: Path) -> None:
        opened.append(journal)
        initialise(journal, path)

    monkeypatch.setattr(Journal, "__init__", noted)
    yield
    for journal in opened:
        journal.close()


# A test's database need not survive a power cut.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}


MEMORY = Path("/dev/shm")  # the folder made in it is private
MEMORY_FREE_BYTES_MIN = 4 << 30  # a worker's server holds some hundred MB


@contextmanager
def _folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """Give a folder in memory, where a database is cloned in a sixteenth of the time, or `otherwise` without room."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_FREE_BYTES_MIN:
        yield otherwise
        return
    prefix = f"counterpart-tests-{os.getuid()}-"
    for left in MEMORY.glob(f"{prefix}*"):  # by a run that was killed
        if not Path("/proc", left.name.removeprefix(prefix)).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = MEMORY / f"{prefix}{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL of this test process, with a migrated template database."""
    with _folder_in_memory(tmp_path_factory.mktemp("hub")) as data_dir, owned(data_dir):
        server = EmbeddedPostgres(data_dir, make_socket_directory(data_dir, runtime_dir=None), FAST)
        server.start()
        try:
            _run_outside_transactions(server, f"CREATE DATABASE {TEMPLATE}")
            engine = sa.create_engine(server.url(TEMPLATE))
            upgrade(engine)
            engine.dispose()  # nobody may be connected to a template while it is cloned
            yield server
        finally:
            server.stop()
            remove_socket_directory(data_dir)


@pytest.fixture(scope="session")
def postgres_url(postgres: EmbeddedPostgres) -> sa.URL:
    """The address of the test server's maintenance database."""
    return postgres.url(MAINTENANCE_DATABASE)


@pytest.fixture
def database_template() -> str:
    """The database that a test's own begins as: the hub's schema and nothing in it."""
    return TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, database_template: str) -> Iterator[sa.URL]:
    """The address of a fresh database with the hub's whole schema, gone after the test."""
    name = f"test_{new_id()}"
    clone_database(postgres, database_template, name)
    yield postgres.url(name)
    _run_outside_transactions(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: sa.URL) -> Iterator[sa.Engine]:
    """An engine on a fresh database."""
    engine = sa.create_engine(database_url, hide_parameters=True)
    yield engine
    engine.dispose()
    engine.clear_compiled_cache()  # some 20,000 objects, and somebody keeps the engine of every test


@pytest.fixture
def hub_clock() -> SteerableClock:
    """The hub's clock: `hub_clock.now`, `hub_clock.advance(seconds)`."""
    return SteerableClock()


@pytest.fixture
def directory_store(tmp_path: Path, hub_clock: SteerableClock) -> DirectoryStore:
    """An empty directory store."""
    return DirectoryStore(tmp_path / "objects", public_url=PUBLIC_URL, secret=b"s" * 32, clock=hub_clock)


@pytest.fixture
def hub(database: sa.Engine, directory_store: ObjectStore, hub_clock: SteerableClock, tmp_path: Path) -> Hub:
    """A hub on a fresh database, an empty directory store and a steerable clock."""
    return make_hub(database, directory_store, tmp_path / "hub.key", hub_clock)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessStarter]:
    """Starts real processes and kills what still runs when the test ends."""
    starter = ProcessStarter(tmp_path / "logs")
    yield starter
    starter.end_all()


def clone_database(server: EmbeddedPostgres, template: str, name: str) -> None:
    """Make a database that begins as `template`, to which nobody may be connected."""
    _run_outside_transactions(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")


def _run_outside_transactions(server: EmbeddedPostgres, statement: str) -> None:
    engine = sa.create_engine(server.url(MAINTENANCE_DATABASE), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()
