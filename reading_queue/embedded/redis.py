"""The embedded Redis: the broker of one machine, reached by a socket private to this user.

Durable: `data_dir/redis` (append-only file, synced every second: a power cut loses at most the last second, a crash of
the process nothing). The database is the truth anyway: what is lost here is launched again by a sweep. The caller owns
the data directory (`directories.owned`).
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import structlog

from reading_queue.embedded.directories import find_socket_directory
from reading_queue.embedded.leftovers import end_leftovers
from reading_queue.embedded.programs import dying_with_parent, find_redis_program
from reading_queue.embedded.server import ServerProcess

SOCKET_NAME = "redis.sock"
READY_S = 30.0
ANSWER_S = 2.0
STOP = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))
LEFTOVER_PATIENCE_S = 3.0

_log = structlog.get_logger(__name__)


class EmbeddedRedis:
    """One Redis server."""

    name = "redis"

    def __init__(self, data_dir: Path, socket_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._files = self._data_dir / "redis"
        self._socket_dir = socket_dir
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, or None before the first start."""
        return None if self._process is None else self._process.pid

    def url(self) -> str:
        """Return its address as Celery writes it."""
        return redis_url(self._socket_dir)

    def start(self) -> None:
        """Start the server and return when it answers; raises EmbeddedServerError when it cannot run here."""
        self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end()
        options = {
            "port": "0",
            "unixsocket": str(self._socket_dir / SOCKET_NAME),
            "unixsocketperm": "700",
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        argv = [*dying_with_parent(signal.SIGTERM), str(find_redis_program())]
        for key, value in options.items():
            argv += [f"--{key}", value]
        self._process = ServerProcess(self.name, argv, cwd=self._files, log_path=self._data_dir / "log" / "redis.log")
        self._process.wait_until(self._answers, within_s=READY_S)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Stop the server; what it holds is synced first."""
        self._end()

    def _end(self) -> None:
        """End the process, and whatever an earlier one has left behind."""
        if self._process is not None:
            self._process.stop(STOP)
        count = end_leftovers(self._files, "redis-server", gently=signal.SIGTERM, patience_s=LEFTOVER_PATIENCE_S)
        if count:
            _log.warning("redis_leftovers_ended", count=count)

    def _answers(self) -> bool:
        """Whether PING is answered with PONG: while it still loads its file, Redis answers with an error."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            try:
                connection.connect(str(self._socket_dir / SOCKET_NAME))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def redis_url(socket_dir: Path) -> str:
    """Return the address of the embedded Redis that listens in `socket_dir`, as Celery writes it."""
    return f"redis+socket://{socket_dir / SOCKET_NAME}?virtual_host=0"


def find_redis_url(data_dir: Path) -> str | None:
    """Return the address of the embedded Redis of `data_dir`, or None when no `serve` runs there."""
    socket_dir = find_socket_directory(data_dir)
    return None if socket_dir is None else redis_url(socket_dir)
