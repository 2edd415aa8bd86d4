"""HTTP connections for a poor line: patient while bytes move, and cut at once when the gateway stops.

urllib3 leaves the connect timeout on a fresh socket while the body is sent; here the time allowed for silence counts
instead. Volatile: everything.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import weakref
from pathlib import Path
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

CONNECTIONS_MAX: Final = 32  # kept per host
SEND_BLOCK_BYTES: Final = 64 * 1024
# What the system may take from us before the line does: more would wait before every urgent byte. Linux only.
UNSENT_BYTES_MAX: Final = 64 * 1024
TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h


class LinePools(urllib3.PoolManager):
    """A pool manager whose live sockets can all be cut from another thread."""

    def __init__(self, *, connect_timeout_s: float, silence_timeout_s: float, ca_file: Path | None) -> None:
        authorities: dict[str, Any] = {"ca_certs": str(ca_file)} if ca_file is not None else {}
        super().__init__(
            num_pools=CONNECTIONS_MAX,
            maxsize=CONNECTIONS_MAX,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_timeout_s, read=silence_timeout_s),
            blocksize=SEND_BLOCK_BYTES,
            **authorities,
        )
        self._sockets = _LiveSockets(silence_timeout_s)
        self.pool_classes_by_scheme = _pool_classes(self._sockets)

    def abort(self) -> None:
        """Cut every connection; requests under way fail at once."""
        self._sockets.shut_down()
        self.clear()


class _LiveSockets:
    """Sockets of this manager, remembered weakly so that a closed one is forgotten by itself."""

    def __init__(self, silence_timeout_s: float) -> None:
        self._silence_timeout_s = silence_timeout_s
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def adopt(self, connection: HTTPConnection) -> None:
        if isinstance(connection.sock, socket.socket):
            connection.sock.settimeout(self._silence_timeout_s)
            if sys.platform == "linux":
                connection.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
            with self._lock:
                self._sockets.add(connection.sock)

    def shut_down(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for live in sockets:
            with contextlib.suppress(OSError):  # it was closed in the meantime, which is what we want
                # The plain socket's method: TLS would wait for the peer's farewell.
                socket.socket.shutdown(live, socket.SHUT_RDWR)


def _pool_classes(sockets: _LiveSockets) -> dict[str, Any]:
    class _PlainConnection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.adopt(self)

    class _TlsConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.adopt(self)

    class _PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = _PlainConnection

    class _TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = _TlsConnection

    return {"http": _PlainPool, "https": _TlsPool}
