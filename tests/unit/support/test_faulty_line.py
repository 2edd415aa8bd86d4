"""The line that other tests and the benchmarks measure with: it must be what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.faulty_line import FaultyLine, Line
from tests.support.waiting import PATIENCE_S, eventually, takes

MIB = 1024 * 1024


class Peer:
    """A server that counts what it gets; whoever says nothing more is answered with all of it, or with "ok"."""

    def __init__(self, *, echo: bool) -> None:
        self.received = 0
        self.resets = 0
        self._echo = echo
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while block := connection.recv(64 * 1024):
                    self.received += len(block)
                    if self._echo:
                        connection.sendall(block)
                connection.sendall(b"ok")
            except OSError:
                self.resets += 1

    def close(self) -> None:
        self._socket.close()


@contextmanager
def peer(*, echo: bool = False) -> Iterator[Peer]:
    running = Peer(echo=echo)
    yield running
    running.close()


def push(port: int, size_bytes: int) -> None:
    """Send so many bytes and return when the peer has had them all."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(60)
        connection.sendall(bytes(size_bytes))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b"ok"


@pytest.mark.parametrize("streams", [1, 4])
def test_bytes_take_the_time_that_the_rate_says_whatever_the_number_of_connections(streams: int) -> None:
    def took_s() -> float:
        with peer() as server, FaultyLine(Line(mbit_s=40, round_trip_s=0.02), server.port) as line:
            started = time.monotonic()
            pushing = [threading.Thread(target=push, args=(line.port, 4 * MIB // streams)) for _ in range(streams)]
            for thread in pushing:
                thread.start()
            for thread in pushing:
                thread.join()
            return time.monotonic() - started

    takes(4 * MIB * 8 / 40e6 + 3 * 0.02, took_s, within=0.08)


def test_both_directions_share_the_rate() -> None:
    def took_s() -> float:
        with peer(echo=True) as server, FaultyLine(Line(mbit_s=40), server.port) as line:
            started = time.monotonic()
            with socket.create_connection(("127.0.0.1", line.port)) as connection:
                threading.Thread(target=connection.sendall, args=(bytes(MIB),), daemon=True).start()
                left = MIB
                while left:
                    left -= len(connection.recv(64 * 1024))
            return time.monotonic() - started

    takes(2 * MIB * 8 / 40e6, took_s, within=0.08)


@pytest.mark.parametrize(("questions", "seconds"), [(1, 0.16), (3, 0.32)])
def test_question_and_answer_take_one_round_trip_and_opening_one_more(questions: int, seconds: float) -> None:
    def took_s() -> float:
        with peer(echo=True) as server, FaultyLine(Line(round_trip_s=0.08), server.port) as line:
            started = time.monotonic()
            with socket.create_connection(("127.0.0.1", line.port)) as connection:
                for _ in range(questions):
                    connection.sendall(b"?")
                    assert connection.recv(10) == b"?"
                return time.monotonic() - started

    takes(seconds, took_s, within=0.1)


def test_use_of_a_line_that_is_kept_busy_is_all_of_it() -> None:
    with peer() as server, FaultyLine(Line(mbit_s=40, round_trip_s=0.02), server.port) as line:
        since = line.now()
        push(line.port, 4 * MIB)
        until = line.now()
        assert line.use(since + 0.1, until - 0.1) > 0.97
        assert line.use(since - 1, until) == pytest.approx((until - since) / (until - since + 1), abs=0.15)


def test_losses_hold_up_one_connection_as_often_as_they_say_and_several_connections_fill_the_line() -> None:
    """One loss in 200 segments, each of one round trip, between 292 kB that take 58 ms: 59 % of the line is left."""
    lossy = Line(mbit_s=40, round_trip_s=0.04, loss=0.005)
    with peer() as server, FaultyLine(lossy, server.port) as line:
        started = line.now()
        push(line.port, 6 * MIB)
        alone = line.use(started, line.now())
        started = line.now()
        pushing = [threading.Thread(target=push, args=(line.port, 2 * MIB)) for _ in range(4)]
        for thread in pushing:
            thread.start()
        eventually(lambda: _assert(server.received > 12 * MIB))
        together = line.use(started + 0.2, line.now())
        for thread in pushing:
            thread.join()
    assert 0.45 < alone < 0.75
    assert together > 0.9


def test_line_is_cut_exactly_behind_the_byte() -> None:
    with peer() as server, FaultyLine(Line(round_trip_s=0.01), server.port) as line:
        push(line.port, 1000)
        line.cut_after(100_000)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            push(line.port, MIB)
        eventually(lambda: _assert(server.resets == 1))
        assert line.up_bytes == 101_000
        assert server.received <= 101_000
        push(line.port, MIB)  # once only


def test_cut_line_resets_both_ends_and_takes_the_next_connection() -> None:
    with peer(echo=True) as server, FaultyLine(target=server.port) as line:
        with socket.create_connection(("127.0.0.1", line.port)) as connection:
            connection.sendall(b"?")
            assert connection.recv(10) == b"?"
            assert line.cut() == 1
            with pytest.raises(ConnectionResetError):
                connection.recv(10)
        eventually(lambda: _assert(server.resets == 1))
        with socket.create_connection(("127.0.0.1", line.port)) as connection:
            connection.sendall(b"?")
            assert connection.recv(10) == b"?"


def test_line_refuses_until_it_is_mended_and_keeps_its_port() -> None:
    with peer() as server, FaultyLine(target=server.port) as line:
        line.refuse()
        with pytest.raises(ConnectionRefusedError):
            push(line.port, 10)
        line.mend()
        push(line.port, 10)


def test_silent_line_keeps_connections_and_goes_on_where_it_stopped() -> None:
    with (
        peer(echo=True) as server,
        FaultyLine(target=server.port) as line,
        socket.create_connection(("127.0.0.1", line.port)) as connection,
    ):
        connection.sendall(b"1")
        assert connection.recv(10) == b"1"
        line.fall_silent()
        connection.sendall(b"2")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        line.mend()
        connection.settimeout(60)
        assert connection.recv(10) == b"2"


def test_changed_line_counts_at_once() -> None:
    with peer() as server, FaultyLine(Line(mbit_s=0.05), server.port) as line:
        pushing = threading.Thread(target=push, args=(line.port, 2 * MIB))  # would take more than five minutes
        pushing.start()
        line.become(Line(mbit_s=80))
        pushing.join(PATIENCE_S)
        assert not pushing.is_alive()


def _assert(condition: bool) -> None:
    assert condition
