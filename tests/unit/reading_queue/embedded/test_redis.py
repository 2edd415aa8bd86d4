"""The embedded Redis keeps what it took over a crash."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from reading_queue.embedded.directories import make_socket_directory, owned, remove_socket_directory
from reading_queue.embedded.redis import SOCKET_NAME, EmbeddedRedis
from tests.support.waiting import eventually

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    data_dir = tmp_path / "县医院 data"
    with owned(data_dir):
        socket_dir = make_socket_directory(data_dir, runtime_dir=None)
        running = EmbeddedRedis(data_dir, socket_dir)
        running.start()
        yield running
        running.stop()
        remove_socket_directory(data_dir)


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis(unix_socket_path=server.url().removeprefix("redis+socket://").split("?")[0])


def test_messages_are_there_after_kill_and_start(server: EmbeddedRedis) -> None:
    with client_of(server) as client:
        for n in range(100):
            client.lpush("queue", n)
    kill(server)
    server.start()
    with client_of(server) as client:
        assert client.llen("queue") == 100


def test_it_listens_on_no_port(server: EmbeddedRedis) -> None:
    with client_of(server) as client:
        assert client.config_get("port") == {"port": "0"}
    assert server.url().split("?")[0].endswith(SOCKET_NAME)


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: ended(server))


def ended(server: EmbeddedRedis) -> None:
    assert server.poll() is not None
