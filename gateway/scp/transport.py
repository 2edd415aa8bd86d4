"""pynetdicom's TCP server with limits: a deadline for every PDU, a largest PDU, no delayed small packets.

Volatile throughout. When an association has ended, with both of its threads, `ended` is called exactly once.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

PDU_BYTES_MAX = 1024 * 1024  # an A-ASSOCIATE-RQ of 128 contexts with every transfer syntax takes 150 kB

log = structlog.get_logger()


class PduTooLong(OSError):
    """A peer announced a PDU longer than any that it may send; pynetdicom closes the connection on an OSError."""


class GatewaySocket(AssociationSocket):
    """Reads a PDU whole, within the network timeout, and never more than a PDU may have."""

    received_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes`, or fewer when the peer closed the connection.

        Raises:
            PduTooLong: more was announced than a PDU may have.
            TimeoutError: they did not come within the network timeout.
        """
        if nr_bytes > PDU_BYTES_MAX:
            raise PduTooLong(f"a PDU of {nr_bytes} bytes was announced")
        connection, timeout_s = self.socket, self.assoc.network_timeout
        if connection is None:
            return bytearray()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        data = bytearray(nr_bytes)
        have = 0
        with memoryview(data) as view:
            while have < nr_bytes:
                _leave_until(connection, deadline)
                count = connection.recv_into(view[have:])
                if not count:
                    break
                have += count
        self.received_bytes += have
        connection.settimeout(timeout_s)
        return data[:have]


class GatewayServer(ThreadedAssociationServer):
    """Accepts connections; `began` may fit out each association, `ended` hears of its end."""

    daemon_threads = True
    began: Callable[[Association], None]
    ended: Callable[[Association], None]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection that sends small packets at once and cannot stay silent for ever."""
        connection, address = super().get_request()
        connection.settimeout(self.ae.network_timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's signature
        """Log what broke one connection; the others go on."""
        log.error("association_broke", peer_address=client_address[0], exc_info=sys.exc_info())


class GatewayRequestHandler(RequestHandler):
    """Runs one association from the connection to its end."""

    server: GatewayServer

    def handle(self) -> None:
        """Fit out the association, run it, and tell of its end after its threads are gone."""
        association = self._create_association()
        self.server.began(association)
        try:
            evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
            association.start()
            association.join()
            association.dul.join(association.network_timeout)
        finally:
            self.server.shutdown_request(self.request)  # pynetdicom leaves some sockets to the garbage collector
            self.server.ended(association)

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # the connection event of the socket that ours replaces
        association.dul.socket = GatewaySocket(association, client_socket=self.request)
        return association


def _leave_until(connection: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the peer did not finish its PDU in time")
    connection.settimeout(left_s)
