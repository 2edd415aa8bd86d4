"""The Minimal Lower Layer Protocol (HL7 2.5.1 appendix C; IHE ITI TF-2 C.2): framing, and a client's connection.

Nothing is durable here. A frame is VT, the message, FS, CR. What stands before a VT is no message and is dropped.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c\r"
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
HEAD_BYTES: Final = 16 * 1024  # of a message that is too long: enough for its header


class FrameTooLong(ValueError):
    """The peer sends more without end than one message may have. `before`: messages that were whole before it.

    `head` is how the long one begins.
    """

    def __init__(self, words: str, before: Sequence[bytes] = (), head: bytes = b"") -> None:
        super().__init__(words)
        self.before = tuple(before)
        self.head = head


class PeerSilent(Exception):
    """The peer sent no whole message in time."""


class PeerClosed(Exception):
    """The peer has closed the connection, maybe in the middle of a message."""


class PeerRefusesTls(PeerClosed):
    """The peer ended the TLS connection, after the handshake in TLS 1.3 too; the cause is the ssl.SSLError."""


def frame(message: bytes) -> bytes:
    """Return the message as it goes over the wire."""
    return START + message + END


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that these bytes complete; raises FrameTooLong."""
        self._buffer += data
        found: list[bytes] = []
        while (message := self._next()) is not None:
            found.append(message)
        if len(self._buffer) > self._bytes_max:
            head = bytes(self._buffer[1 : 1 + HEAD_BYTES])
            raise FrameTooLong(f"a message of more than {self._bytes_max} bytes", found, head)
        return found

    def skip(self, data: bytes) -> bytes | None:
        """Drop the message that is too long; return what stands after its end, None while that has not come.

        `data`: what came after `feed` raised. At most one byte of the long message stays in memory.
        """
        self._buffer += data
        end = self._buffer.find(END)
        if end < 0:
            self._buffer = self._buffer[-1:]
            return None
        rest = bytes(self._buffer[end + len(END) :])
        self._buffer.clear()
        self._searched = 0
        return rest

    @property
    def in_message(self) -> bool:
        """Return whether a message has begun that has not ended."""
        return bool(self._buffer)

    def _next(self) -> bytes | None:
        start = self._buffer.find(START)
        if start < 0:
            self._buffer.clear()
            return None
        del self._buffer[:start]
        self._searched = 0 if start else self._searched
        end = self._buffer.find(END, max(self._searched, 1))
        if end < 0:
            self._searched = max(len(self._buffer) - 1, 1)
            return None
        message = bytes(self._buffer[1:end])
        del self._buffer[: end + len(END)]
        self._searched = 0
        return message


class MllpConnection:
    """One connection to a receiver, kept alive between messages. Used by one thread.

    `server_name` is the name that the peer's certificate must bear, None: its host. Raises OSError from its
    constructor when there is no connection; ssl.SSLError is one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        plain = socket.create_connection((host, port), timeout=timeout_s)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=server_name or host)
        except BaseException:
            plain.close()
            raise
        self._frames = Frames()
        self._waiting: list[bytes] = []

    def send(self, message: bytes) -> None:
        """Send one message; raises PeerClosed or PeerSilent (it does not take our bytes)."""
        self._waiting.clear()
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(frame(message))
        except TimeoutError as exc:
            raise PeerSilent from exc
        except ssl.SSLError as exc:
            raise PeerRefusesTls from exc
        except OSError as exc:
            raise PeerClosed from exc

    def receive(self, deadline: float) -> bytes:
        """Return the next message; `deadline` is in seconds of the monotonic clock.

        Raises:
            PeerSilent, PeerClosed, FrameTooLong: there was none.
        """
        while not self._waiting:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise PeerSilent
            try:
                self._socket.settimeout(left_s)
                data = self._socket.recv(READ_BYTES)
            except TimeoutError as exc:
                raise PeerSilent from exc
            except ssl.SSLError as exc:
                raise PeerRefusesTls from exc
            except OSError as exc:
                raise PeerClosed from exc
            if not data:
                raise PeerClosed
            self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    @property
    def is_stale(self) -> bool:
        """Return whether the peer has closed the connection, or said something that nobody asked for, meanwhile."""
        try:
            poll = select.poll()  # select() cannot watch a file with a number of 1,024 or more
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Close the connection; harmless when it is closed."""
        self._socket.close()
