"""A listener for HL7 messages over MLLP. Nothing is durable here: the handler makes durable what it acknowledges.

Each connection has a thread, in which its TLS handshake is made too; silence ends it, and so does a message without
end. More connections than allowed are closed at once. Who is not let in is told to `on_refused`, with the reason in
words.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

import structlog

from gateway.hl7.mllp import READ_BYTES, Frames, FrameTooLong, frame
from gateway.tls import HANDSHAKE_S_MAX, explain_handshake

log = structlog.get_logger(__name__)

CONNECTIONS_MAX: Final = 20
SILENCE_S: Final = 600.0
RECEIVED_BYTES_MAX: Final = 16 * 1024 * 1024

NOT_ALLOWED: Final = "its address is not among those that may send reports"
TOO_MANY: Final = "too many connections are open"

Handle = Callable[[bytes], bytes]  # a message in, its acknowledgement out
OnRefused = Callable[[str, str], None]  # address, why


class MllpServer:
    """Listens from `start` to `stop`, over TLS alone with `tls`. `allowed`: addresses that may connect, empty: all."""

    def __init__(
        self,
        host: str,
        port: int,
        handle: Handle,
        *,
        allowed: frozenset[str] = frozenset(),
        tls: ssl.SSLContext | None = None,
        on_refused: OnRefused = lambda _address, _why: None,
    ) -> None:
        self._address = (host, port)
        self._tls = tls
        self._on_refused = on_refused
        self._handle = handle
        self._allowed = allowed
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def start(self) -> int:
        """Bind and listen; return the port. Raises OSError when it cannot be had."""
        self._listener = socket.create_server(self._address)
        threading.Thread(target=self._accept, args=(self._listener,), name="mllp", daemon=True).start()
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Accept nothing more and close every connection."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            _close(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            why = "" if not self._allowed or address[0] in self._allowed else NOT_ALLOWED
            with self._lock:
                why = why or (TOO_MANY if len(self._open) >= CONNECTIONS_MAX else "")
                if not why:
                    self._open.add(connection)
            if why:
                self._refuse(address[0], why)
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection, address[0]), name="mllp-peer", daemon=True).start()

    def _refuse(self, address: str, why: str) -> None:
        log.warning("hl7_connection_refused", address=address, why=why)
        try:
            self._on_refused(address, why)
        except Exception:  # the border of a thread: whoever cannot note it must not end the listener
            log.exception("hl7_refusal_not_noted", address=address)

    def _serve(self, accepted: socket.socket, address: str) -> None:
        connection = accepted
        try:
            if self._tls is not None:
                secured = self._secure(accepted, address, self._tls)
                if secured is None:
                    return
                connection = secured
            self._talk(connection)
        except (OSError, FrameTooLong) as exc:
            log.info("hl7_connection_ended", reason=type(exc).__name__)
        except Exception:  # the border of a thread: the peer gets no answer and sends again
            log.exception("hl7_message_failed")
        finally:
            with self._lock:
                self._open -= {accepted, connection}
            _close(connection)
            accepted.close()

    def _secure(self, accepted: socket.socket, address: str, tls: ssl.SSLContext) -> ssl.SSLSocket | None:
        """Return the connection under TLS, None when the peer is refused."""
        accepted.settimeout(HANDSHAKE_S_MAX)
        try:
            secured = tls.wrap_socket(accepted, server_side=True)
        except OSError as exc:
            self._refuse(address, explain_handshake(exc))
            return None
        with self._lock:
            self._open.add(secured)
        return secured

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_S)
        frames = Frames(RECEIVED_BYTES_MAX)
        while data := connection.recv(READ_BYTES):
            for message in frames.feed(data):
                connection.sendall(frame(self._handle(message)))


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
