"""Where the web and the HL7 role listen: an address that others can find, and that stays the hub's own.

Under `serve` the supervisor listens and the web role inherits the socket: while that role is being started again,
callers wait in the kernel's queue, and no other program can take the address and answer in the hub's name.

The port file survives, so that a restart with port 0 comes back on the port that gateways know. All else is volatile.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from pathlib import Path
from typing import Final

import structlog

BACKLOG: Final = 512
PORT_MAX: Final = 65535
OLD_PORT_S: Final = 5.0
OLD_PORT_POLL_S: Final = 0.05

_log = structlog.get_logger(__name__)


class CannotListen(Exception):
    """The address cannot be had; the message says which, why, and what to do."""

    def __init__(self, host: str, port: int, why: OSError) -> None:
        taken = why.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else (why.strerror or type(why).__name__)
        super().__init__(
            f"the hub cannot listen on {host} port {port}: {reason}. Give it an address of this machine that is free "
            "([web] or [hl7] host and port; port 0: any)."
        )


def bind(host: str, port: int, port_file: Path) -> socket.socket:
    """Return a listening socket and write its port to `port_file`; port 0 prefers the port of last time.

    Whoever is just giving the port up is waited for.

    Raises:
        CannotListen: in words.
    """
    listening = _bind_as_last_time(host, port_file) if port == 0 else None
    if listening is None:
        try:
            listening = _bind_patiently(host, port)
        except OSError as exc:
            raise CannotListen(host, port, exc) from exc
    port_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = port_file.with_name(port_file.name + ".new")
    fresh.write_text(f"{listening.getsockname()[1]}\n")
    fresh.replace(port_file)
    return listening


def inherit(descriptor: int) -> socket.socket:
    """Return the listening socket that the supervisor has handed over under this number."""
    return socket.socket(fileno=descriptor)


def address_of(listening: socket.socket) -> str:
    """Return the http address of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind_as_last_time(host: str, port_file: Path) -> socket.socket | None:
    """Return a socket on the port of last time, None where that cannot be."""
    try:
        port = int(port_file.read_text())
    except (OSError, ValueError):  # there was no last time
        return None
    if not 0 < port <= PORT_MAX:
        return None
    try:
        return _bind_patiently(host, port)
    except OSError:  # somebody else has it for good
        _log.warning("web_port_changes", port=port)
        return None


def _bind_patiently(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline, pause = time.monotonic() + OLD_PORT_S, threading.Event()
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        pause.wait(OLD_PORT_POLL_S)
