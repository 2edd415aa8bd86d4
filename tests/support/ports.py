"""Ports of loopback for what must be called before it listens, or comes back where it was.

A port that the kernel chose is anybody's again as soon as nobody listens on it: another test's connection may begin
there, or the very connection that looks for the listener, which then has found itself. These ports lie below those the
kernel gives, and each belongs to this process until it ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

FIRST = 20_000
KERNEL_CHOOSES = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOCKS = Path(tempfile.gettempdir()) / f"counterpart-test-ports-{os.getuid()}"  # a byte for every port

_own: set[int] = set()
_locks: list[int] = []


def own_port() -> int:
    """Return a port on which nobody listens and which no other process of tests is given."""
    if not _locks:  # closed once, all of them are unlocked
        _locks.append(os.open(LOCKS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    beyond = int(KERNEL_CHOOSES.read_text().split()[0])
    while True:
        port = FIRST + secrets.randbelow(beyond - FIRST)
        if port not in _own and _taken(port):
            return port


def _taken(port: int) -> bool:
    try:
        fcntl.lockf(_locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    _own.add(port)
    return True
