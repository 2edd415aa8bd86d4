"""A client's connection for the Minimal Lower Layer Protocol (HL7 2.5.1 appendix C). Nothing is durable here."""

from __future__ import annotations

import select
import socket
import ssl
import time

from storage.hl7.framing import READ_BYTES, Frames, frame


class PeerSilent(Exception):
    """The peer sent no whole message in time."""


class PeerClosed(Exception):
    """The peer has closed the connection, maybe in the middle of a message."""


class PeerRefusesTls(PeerClosed):
    """The peer ended the TLS connection, after the handshake in TLS 1.3 too; the cause is the ssl.SSLError."""


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
