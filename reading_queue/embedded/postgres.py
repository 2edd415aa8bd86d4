"""The embedded PostgreSQL: one server under the hub's data directory, reached by a socket private to this user.

Durable: `data_dir/postgres`. A start after any crash ends what the crash left behind, removes its stale lock file and
recovers from the write-ahead log. The caller owns the data directory (`directories.owned`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import URL

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.directories import find_socket_directory
from reading_queue.embedded.launch import Launch, find_launch, find_reader, give_cluster
from reading_queue.embedded.leftovers import end_leftovers
from reading_queue.embedded.programs import bare_environment, dying_with_parent
from reading_queue.embedded.server import ServerProcess

USER = "counterpart"
DATABASE = "counterpart"
MAINTENANCE_DATABASE = "postgres"
INITDB_S = 120
READY_S = 60.0
CONNECTIONS_MAX = 200
STOP = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0))  # fast, at once, by the kernel
LEFTOVER_PATIENCE_S = 3.0

SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": str(CONNECTIONS_MAX),
    "random_page_cost": "1.1",  # a page from anywhere costs what the next one costs, on any disk without heads
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and the details of errors may name patients: they never reach the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}

_log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """One PostgreSQL server. `settings` are added to its own, for tests that want speed and not durability.

    `find_launch` says at each start how it is run on this machine.
    """

    name = "postgres"

    def __init__(
        self,
        data_dir: Path,
        socket_dir: Path,
        settings: Mapping[str, str] | None = None,
        *,
        find_launch: Callable[[], Launch] = find_launch,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "postgres"
        self._socket_dir = socket_dir
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._find_launch = find_launch
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None before the first start."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = DATABASE) -> URL:
        """Return the address of one of its databases."""
        return postgres_url(self._socket_dir, database)

    def start(self) -> None:
        """Make the cluster if there is none, start the server, and return when the hub's database answers.

        Raises:
            EmbeddedServerError: it cannot run here, in words.
        """
        launch = self._find_launch()
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster(launch)
        self._end()
        give_cluster(self._cluster, launch)
        argv = launch.command("postgres", wrapper=dying_with_parent(signal.SIGINT))
        argv += ["-D", str(self._cluster), "-c", f'unix_socket_directories="{self._socket_dir}"']
        for key, value in self._settings.items():
            argv += ["-c", f"{key}={value}"]
        log_path = self._data_dir / "log" / "postgres.log"
        self._process = ServerProcess(self.name, argv, cwd=self._cluster, log_path=log_path)
        self._process.wait_until(self._answers, within_s=READY_S)
        self._ensure_database()

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Stop the server: connected clients are disconnected, committed work is kept."""
        self._end()

    def _make_cluster(self, launch: Launch) -> None:
        """Run initdb beside the final place, so that a half-made cluster is never taken for a whole one."""
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._data_dir / "postgres.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        argv = [*launch.command("initdb"), "-D", str(unfinished), "-U", USER]
        argv += ["--auth=trust", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        argv += ["--no-instructions"]
        done = subprocess.run(
            argv,
            cwd="/",
            env=bare_environment(self._data_dir),
            capture_output=True,
            text=True,
            timeout=INITDB_S,
            check=False,
        )
        if done.returncode != 0:
            raise EmbeddedServerError(f"initdb failed in {self._data_dir}: {done.stderr.strip()}")
        unfinished.rename(self._cluster)

    def _end(self) -> None:
        """End the process, and whatever an earlier one has left behind."""
        if self._process is not None:
            self._process.stop(STOP)
        count = end_leftovers(
            self._cluster, "postgres", gently=signal.SIGINT, patience_s=LEFTOVER_PATIENCE_S, reader=find_reader()
        )
        if count:
            _log.warning("postgres_leftovers_ended", count=count)
        # Nothing runs here any more, so the file is stale, even if its process id is in use again by something else.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            with self._connect():
                return True
        except psycopg.OperationalError:
            return False

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        host = str(self._socket_dir)
        return psycopg.connect(host=host, user=USER, dbname=MAINTENANCE_DATABASE, connect_timeout=5, autocommit=True)

    def _ensure_database(self) -> None:
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def postgres_url(socket_dir: Path, database: str = DATABASE) -> URL:
    """Return the address of a database of the embedded server that listens in `socket_dir`."""
    return URL.create("postgresql+psycopg", username=USER, database=database, query={"host": str(socket_dir)})


def find_postgres_url(data_dir: Path) -> URL | None:
    """Return the address of the embedded server of `data_dir`, or None when no `serve` runs there."""
    socket_dir = find_socket_directory(data_dir)
    return None if socket_dir is None else postgres_url(socket_dir)
