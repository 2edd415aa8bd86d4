"""pynetdicom's TCP server with limits: a deadline for every PDU, a largest PDU, no delayed small packets, TLS whose
handshake nobody else waits for, and a largest number of connections from one address.

Volatile throughout. When an association has ended, with both of its threads, `ended` is called exactly once.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from gateway.polled_socket import PolledSocket
from gateway.scp.upper_layer import PDU_BYTES_MAX
from storage.tls import HANDSHAKE_S_MAX, explain_handshake

CONNECTIONS_MAX = 512

log = structlog.get_logger()


class PduTooLong(OSError):
    """A peer announced a PDU longer than any that it may send; pynetdicom closes the connection on an OSError."""


class GatewaySocket(PolledSocket):
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
    """Accepts connections; `began` fits out each association and tells whether it may run, `ended` hears of its end.

    `turned_away` hears in words of a connection that came to no association, with its address. With `tls` every
    connection shakes hands in its own thread: a silent one holds up nobody.
    """

    daemon_threads = True
    request_queue_size = 512  # whoever calls at the same moment is answered, if only with a refusal
    began: Callable[[Association], bool]
    ended: Callable[[Association], None]
    turned_away: Callable[[str, str, str], None]
    tls: ssl.SSLContext | None = None
    connections_per_address_max: int = CONNECTIONS_MAX

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._open: Counter[str] = Counter()
        self._open_lock = threading.Lock()
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection that sends small packets at once and cannot stay silent for ever."""
        connection, address = super().get_request()
        connection.settimeout(self.ae.network_timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 -- socketserver's signature
        """Count the connection; too many from one address, or altogether, are closed at once."""
        address = client_address[0]
        with self._open_lock:
            too_many = self._open[address] >= self.connections_per_address_max or self._open.total() >= CONNECTIONS_MAX
            if not too_many:
                self._open[address] += 1
        if too_many:
            self.turned_away(address, *TOO_MANY_CONNECTIONS)
        return not too_many

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Run one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open[client_address[0]] -= 1
                self._open += Counter()  # forgets the addresses that have none

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands where TLS is wanted, then run the association."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        try:
            request.settimeout(HANDSHAKE_S_MAX)
            secured = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            request = secured
            secured.do_handshake()
            secured.settimeout(self.ae.network_timeout)
        except OSError as exc:
            self.shutdown_request(request)
            self.turned_away(
                client_address[0], f"A connection to the TLS port failed: {explain_handshake(exc)}", NO_TLS
            )
            return
        super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's signature
        """Log what broke one connection; the others go on."""
        log.error("association_broke", peer_address=client_address[0], exc_info=sys.exc_info())


class GatewayRequestHandler(RequestHandler):
    """Runs one association from the connection to its end."""

    server: GatewayServer

    def handle(self) -> None:
        """Fit out the association, run it, and tell of its end after its threads are gone."""
        association = self._create_association()
        if not self.server.began(association):
            self.server.shutdown_request(self.request)
            return
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


TOO_MANY_CONNECTIONS = (
    "Too many connections are open from this address",
    "A device that opens connections and does not close them must be restarted; see connections_per_address_max.",
)
NO_TLS = "Check the device's TLS settings, its certificate and the CA file on both sides, and that it uses this port."


def _leave_until(connection: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the peer did not finish its PDU in time")
    connection.settimeout(left_s)
