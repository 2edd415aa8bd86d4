"""Real brokers of this test run: RabbitMQ of the Debian package, without its service account, and our own Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kombu import Connection

from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.redis import EmbeddedRedis
from tests.support.ports import own_port
from tests.support.processes import RunningProcess
from tests.support.waiting import eventually

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the wrapper in sbin changes the user
START_S = 240


@contextmanager
def redis(folder: Path) -> Iterator[EmbeddedRedis]:
    """Run a Redis in `folder`; what is left of it is stopped, whoever stopped or started it meanwhile."""
    with owned(folder):
        server = EmbeddedRedis(folder, make_socket_directory(folder, runtime_dir=None))
        server.start()
        yield server
        server.stop()
        remove_socket_directory(folder)


@contextmanager
def rabbitmq(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a RabbitMQ in `folder` and give its address; `port` is where one has listened before."""
    if not SERVER.exists():
        raise RuntimeError("RabbitMQ is missing: install the Debian package rabbitmq-server")
    folder.mkdir(parents=True, exist_ok=True)
    node_port, distribution_port, epmd_port = port or own_port(), own_port(), own_port()
    url = f"amqp://guest:guest@127.0.0.1:{node_port}//"
    environment = _environment(folder, node_port, distribution_port, epmd_port)
    server = RunningProcess([SERVER], log_path=folder / "rabbitmq.log", name="rabbitmq", env=environment)
    try:
        server.wait_until(lambda: _answers(url), START_S)
        yield url
    finally:
        server.kill_session()
        eventually(lambda: _end_port_mapper(epmd_port))


def _end_port_mapper(port: int) -> None:
    """End the daemon that the server has started; it refuses until it has seen that the server is gone."""
    argv = [shutil.which("epmd") or "epmd", "-port", str(port), "-kill"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "living nodes" not in said.stdout + said.stderr, said.stdout


def _environment(folder: Path, node_port: int, distribution_port: int, epmd_port: int) -> dict[str, str]:
    configuration = folder / "rabbitmq.conf"
    configuration.write_text("disk_free_limit.absolute = 50MB\n")
    (folder / "enabled_plugins").write_text("[].\n")
    return {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"counterpart-{os.getpid()}-{node_port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(node_port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
    }


def _answers(url: str) -> bool:
    with suppress(OSError), Connection(url, connect_timeout=2) as connection:
        connection.connect()
        return True
    return False
