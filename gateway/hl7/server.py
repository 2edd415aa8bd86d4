"""A listener for HL7 messages over MLLP. Nothing is durable here: the handler makes durable what it acknowledges.

Each connection has a thread, in which its TLS handshake is made too; silence ends it, and so does a message that does
not end in time, whatever trickles in, or is too long, unless `on_too_long` answers it: then it is read past, none of it
kept in memory, and the next one counts. More connections than allowed are closed at once. Who is not let in, cut off in
the middle of a message, or sends what is in no frame, is told to `on_refused`, with the reason in words. Where the
machine has no file left for a connection, the next ones wait until it has.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from storage.hl7.framing import READ_BYTES, UNFRAMED, Frames, FrameTooLong, frame
from storage.tls import HANDSHAKE_S_MAX, explain_handshake

log = structlog.get_logger(__name__)

CONNECTIONS_MAX: Final = 20
SILENCE_S: Final = 600.0
MESSAGE_S: Final = 60.0  # in which a message that has begun must end
RECEIVED_BYTES_MAX: Final = 16 * 1024 * 1024
ACCEPT_AGAIN_S: Final = 1.0  # after a connection could not be accepted
SKIPPED_BYTES_MAX: Final = 256 * 1024 * 1024  # of one message that is too long; then the connection is closed

NOT_ALLOWED: Final = "its address is not among those that may send here"
TOO_MANY: Final = "too many connections are open"
NOT_ENDED: Final = "a message did not end in time"

Handle = Callable[[bytes, str], bytes]  # a message and its sender's address in, the acknowledgement out
OnRefused = Callable[[str, str], None]  # address, why


class MessageWithoutEnd(Exception):
    """A message that has begun did not end in time."""


class MllpServer:
    """Listens from `start` to `stop`, over TLS alone with `tls`.

    `admits` says of an address whether it may connect. A message has `message_s` to end. `on_too_long` makes the answer
    to a message of more than `bytes_max` out of how it begins.
    """

    def __init__(
        self,
        address: tuple[str, int],
        handle: Handle,
        *,
        admits: Callable[[str], bool],
        bytes_max: int = RECEIVED_BYTES_MAX,
        message_s: float = MESSAGE_S,
        on_too_long: Handle | None = None,
        tls: ssl.SSLContext | None = None,
        on_refused: OnRefused = lambda _address, _why: None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._on_refused = on_refused
        self._handle = handle
        self._admits = admits
        self._bytes_max = bytes_max
        self._message_s = message_s
        self._on_too_long = on_too_long
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> int:
        """Bind and listen; return the port. Raises OSError when it cannot be had."""
        self._listener = socket.create_server(self._address)
        threading.Thread(target=self._accept, args=(self._listener,), name="mllp", daemon=True).start()
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Accept nothing more and close every connection."""
        self._stopped.set()
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
            except OSError as exc:
                if self._stopped.is_set():
                    return
                log.error("hl7_cannot_accept", reason=type(exc).__name__)
                self._stopped.wait(ACCEPT_AGAIN_S)
                continue
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
        except MessageWithoutEnd:
            self._refuse(address, NOT_ENDED)
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
        stream, is_told = _Stream(connection, Frames(self._bytes_max), self._message_s), False
        while data := stream.read():
            while data:
                try:
                    messages, data = stream.frames.feed(data), b""
                except FrameTooLong as exc:
                    self._answer(stream, address, exc.before)
                    if self._on_too_long is None:
                        raise
                    stream.answer(self._on_too_long(exc.head, address))
                    data = stream.read_past()
                else:
                    self._answer(stream, address, messages)
            if stream.frames.has_dropped and not is_told:
                self._refuse(address, UNFRAMED)
                is_told = True

    def _answer(self, stream: _Stream, address: str, messages: Iterable[bytes]) -> None:
        for message in messages:
            stream.answer(self._handle(message, address))


class _Stream:
    """What comes over one connection, and the time in which a message that has begun must have ended."""

    def __init__(self, connection: socket.socket, frames: Frames, message_s: float) -> None:
        self.frames = frames
        self._connection = connection
        self._message_s = message_s
        self._ends_at = 0.0  # on the monotonic clock, 0 between messages

    def read(self) -> bytes:
        """Return what came, nothing when the peer has closed. Raises MessageWithoutEnd; OSError after silence."""
        if not self.frames.in_message:
            self._ends_at = 0.0
            self._connection.settimeout(SILENCE_S)
            return self._connection.recv(READ_BYTES)
        now = time.monotonic()
        self._ends_at = self._ends_at or now + self._message_s
        if self._ends_at <= now:
            raise MessageWithoutEnd
        self._connection.settimeout(self._ends_at - now)
        try:
            return self._connection.recv(READ_BYTES)
        except TimeoutError as exc:
            raise MessageWithoutEnd from exc

    def read_past(self) -> bytes:
        """Return what came after the end of the message that is too long. Raises FrameTooLong when it has none."""
        skipped_bytes, rest = 0, self.frames.skip(b"")
        while rest is None:
            data = self.read()
            skipped_bytes += len(data)
            if not data or skipped_bytes > SKIPPED_BYTES_MAX:
                raise FrameTooLong("a message without end")
            rest = self.frames.skip(data)
        self._ends_at = 0.0
        return rest

    def answer(self, message: bytes) -> None:
        """Send an answer; what comes next is another message."""
        self._ends_at = 0.0
        self._connection.settimeout(SILENCE_S)
        self._connection.sendall(frame(message))


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
