"""The web role's port is found by others and stays what gateways know."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from reading_queue.listening import CannotListen, address_of, bind


def test_the_bound_port_is_written_down(tmp_path: Path) -> None:
    port_file = tmp_path / "run" / "web.port"
    with bind("127.0.0.1", 0, port_file) as listening:
        port = int(port_file.read_text())
        assert listening.getsockname()[1] == port
        assert address_of(listening) == f"http://127.0.0.1:{port}"


def test_port_zero_takes_the_port_of_last_time(tmp_path: Path) -> None:
    port_file = tmp_path / "web.port"
    with bind("127.0.0.1", 0, port_file) as first:
        port = first.getsockname()[1]
    with bind("127.0.0.1", 0, port_file) as second:
        assert second.getsockname()[1] == port


def test_a_predecessor_that_is_giving_up_the_port_is_waited_for(tmp_path: Path) -> None:
    port_file = tmp_path / "web.port"
    first = bind("127.0.0.1", 0, port_file)
    port = first.getsockname()[1]
    leaving = threading.Timer(0.3, first.close)
    leaving.start()
    with bind("127.0.0.1", 0, port_file) as second:
        assert second.getsockname()[1] == port
    leaving.join()


@pytest.mark.parametrize("known", ["", "words", "70000", "-3"])
def test_a_port_file_that_says_nothing_is_ignored(tmp_path: Path, known: str) -> None:
    port_file = tmp_path / "web.port"
    port_file.write_text(known)
    with bind("127.0.0.1", 0, port_file) as listening:
        assert int(port_file.read_text()) == listening.getsockname()[1]


def test_a_fixed_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(CannotListen, match="another program"):
        bind("127.0.0.1", other.getsockname()[1], tmp_path / "web.port")
