"""The embedded PostgreSQL survives crashes, odd paths and private folders."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.directories import (
    DataDirectoryInUse,
    find_socket_directory,
    make_socket_directory,
    owned,
    remove_socket_directory,
)
from reading_queue.embedded.launch import find_reader
from reading_queue.embedded.leftovers import find_leftovers
from reading_queue.embedded.postgres import EmbeddedPostgres, find_postgres_url
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


@contextmanager
def server_in(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    with owned(data_dir):
        server = EmbeddedPostgres(data_dir, make_socket_directory(data_dir, runtime_dir=None))
        try:
            server.start()
            yield server
        finally:
            server.stop()
            remove_socket_directory(data_dir)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server under a 0700 parent, a space and Chinese characters in its path."""
    parent = tmp_path_factory.mktemp("private")
    parent.chmod(0o700)
    with server_in(parent / "青禾县 影像" / "hub data") as running:
        yield running


def connect(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    url = server.url()
    return psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True)


def test_every_test_gets_a_migrated_database_of_its_own(database: sa.Engine) -> None:
    with database.begin() as connection:
        assert sa.inspect(connection).has_table("outbox")
        connection.execute(sa.text("CREATE TABLE mine (id int)"))


def test_what_one_test_writes_another_never_sees(database: sa.Engine) -> None:
    assert not sa.inspect(database).has_table("mine")


def test_it_runs_under_a_private_parent_with_odd_characters_and_opens_nobodys_folder(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        (shown,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    cluster = Path(str(shown))
    assert "青禾县 影像" in cluster.parts
    assert stat.S_IMODE(cluster.parents[2].stat().st_mode) == 0o700


def test_its_socket_is_reachable_by_this_user_only(server: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(Path(str(server.url().query["host"])).stat().st_mode) == 0o700


def test_committed_rows_are_there_after_kill_and_start(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 200) AS n")
    kill(server)
    server.start()
    with connect(server) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (200,)


def test_a_busy_backend_that_outlives_its_postmaster_does_not_hinder_the_next_start(server: EmbeddedPostgres) -> None:
    busy = connect(server)
    endless = "DO $$ DECLARE n int; BEGIN LOOP n := 1; END LOOP; END $$"
    thread = threading.Thread(target=run_until_cut, args=(busy, endless), daemon=True)
    thread.start()
    eventually(lambda: assert_busy(server))
    kill(server)
    server.start()
    thread.join(60)
    assert not thread.is_alive()
    busy.close()
    with connect(server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_lock_file_that_names_a_living_stranger_does_not_hinder_the_start(server: EmbeddedPostgres) -> None:
    cluster = cluster_of(server)
    kill(server)
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n")
    server.start()
    with connect(server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_values_of_a_failed_statement_never_reach_the_log(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        connection.execute("CREATE TABLE people (name text UNIQUE)")
        connection.execute("INSERT INTO people VALUES ('Wang^XiaoDong')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('Wang^XiaoDong')")
    log = (cluster_of(server).parent / "log" / "postgres.log").read_text()
    assert "duplicate key value" in log
    assert "Wang" not in log


def test_a_second_owner_of_the_data_directory_is_refused_in_words(tmp_path: Path) -> None:
    with owned(tmp_path):
        program = (
            "import sys, pathlib\nfrom reading_queue.embedded.directories import owned\n"
            "with owned(pathlib.Path(sys.argv[1])): pass"
        )
        second = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"in use by process {os.getpid()}" in second.stderr
    with owned(tmp_path):  # and free again afterwards
        pass


def test_an_owner_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(DataDirectoryInUse), owned(tmp_path):
        pass


def test_the_address_is_found_while_it_runs_and_no_longer_after_it_stopped(tmp_path: Path) -> None:
    with server_in(tmp_path) as running:
        assert find_postgres_url(tmp_path) == running.url()
        socket_dir = find_socket_directory(tmp_path)
        cluster = tmp_path / "postgres"
        assert list(find_leftovers(cluster, "postgres", reader=find_reader()))
    assert find_postgres_url(tmp_path) is None
    assert socket_dir is not None
    assert not socket_dir.exists()
    assert not list(find_leftovers(cluster, "postgres", reader=find_reader()))


def test_a_server_that_cannot_start_says_so_with_the_end_of_its_log(tmp_path: Path) -> None:
    with owned(tmp_path):
        socket_dir = make_socket_directory(tmp_path, runtime_dir=None)
        broken = EmbeddedPostgres(tmp_path, socket_dir, {"shared_buffers": "1"})
        with pytest.raises(EmbeddedServerError, match="shared_buffers"):
            broken.start()
        remove_socket_directory(tmp_path)


def kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: assert_ended(server))


def assert_ended(server: EmbeddedPostgres) -> None:
    assert server.poll() is not None


def assert_busy(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state='active'")
        assert row.fetchone() == (1,)


def run_until_cut(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute(statement)  # type: ignore[call-overload]


def cluster_of(server: EmbeddedPostgres) -> Path:
    return server._cluster
