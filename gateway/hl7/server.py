"""A listener for HL7 messages over MLLP. Nothing is durable here: the handler makes durable what it acknowledges.

Each connection has a thread, in which its TLS handshake is made too; silence ends it, and so does a message without
end, unless `on_too_long` answers it: then the message is read past, none of it kept in memory, and the next one counts.
More connections than allowed are closed at once. Who is not let in is told to `on_refused`, with the reason in words.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from storage.hl7.framing import READ_BYTES, Frames, FrameTooLong, frame
from storage.tls import HANDSHAKE_S_MAX, explain_handshake

log = structlog.get_logger(__name__)

CONNECTIONS_MAX: Final = 20
SILENCE_S: Final = 600.0
RECEIVED_BYTES_MAX: Final = 16 * 1024 * 1024

SKIPPED_BYTES_MAX: Final = 256 * 1024 * 1024  # of one message that is too long; then the connection is closed

NOT_ALLOWED: Final = "its address is not among those that may send here"
TOO_MANY: Final = "too many connections are open"

Handle = Callable[[bytes, str], bytes]  # a message and its sender's address in, the acknowledgement out
OnRefused = Callable[[str, str], None]  # address, why


class MllpServer:
    """Listens from `start` to `stop`, over TLS alone with `tls`.

    `admits` says of an address whether it may connect. `on_too_long` makes the answer to a message of more than
    `bytes_max` out of how it begins.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handle: Handle,
        *,
        admits: Callable[[str], bool],
        bytes_max: int = RECEIVED_BYTES_MAX,
        on_too_long: Handle | None = None,
        tls: ssl.SSLContext | None = None,
        on_refused: OnRefused = lambda _address, _why: None,
    ) -> None:
        self._address = (host, port)
        self._tls = tls
        self._on_refused = on_refused
        self._handle = handle
        self._admits = admits
        self._bytes_max = bytes_max
        self._on_too_long = on_too_long
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
            why = "" if self._admits(address[0]) else NOT_ALLOWED
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
            self._talk(connection, address)
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

    def _talk(self, connection: socket.socket, address: str) -> None:
        connection.settimeout(SILENCE_S)
        frames = Frames(self._bytes_max)
        while data := connection.recv(READ_BYTES):
            while data:
                try:
                    messages, data = frames.feed(data), b""
                except FrameTooLong as exc:
                    self._answer(connection, address, exc.before)
                    if self._on_too_long is None:
                        raise
                    connection.sendall(frame(self._on_too_long(exc.head, address)))
                    data = _read_past(connection, frames)
                else:
                    self._answer(connection, address, messages)

    def _answer(self, connection: socket.socket, address: str, messages: Iterable[bytes]) -> None:
        for message in messages:
            connection.sendall(frame(self._handle(message, address)))


def _read_past(connection: socket.socket, frames: Frames) -> bytes:
    """Return what came after the end of the message that is too long. Raises FrameTooLong when it has none."""
    skipped_bytes, rest = 0, frames.skip(b"")
    while rest is None:
        data = connection.recv(READ_BYTES)
        skipped_bytes += len(data)
        if not data or skipped_bytes > SKIPPED_BYTES_MAX:
            raise FrameTooLong("a message without end")
        rest = frames.skip(data)
    return rest


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
