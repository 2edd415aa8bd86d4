"""The hub's listener on a real port, and a HIS that sends to it over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from reading_queue.hl7.listener import Limits, OrderListener
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.senders import OrderSender
from storage.hl7.framing import Frames, frame
from storage.hl7.message import Message, parse_message
from storage.screens.offload import Offload
from storage.tls import Credentials, WatchedContext
from tests.support.certificates import Authority, Issued
from tests.support.waiting import eventually

SERVER = "hub.example"
LIMITS = Limits(message_bytes_max=8192, connections_max=20, connections_per_sender_max=8, idle_s=20, message_s=20)


def fingerprint(issued: Issued) -> str:
    """Return the SHA-256 of a certificate, as the settings have it."""
    certificate = x509.load_pem_x509_certificate(issued.certificate_file.read_bytes())
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


@dataclass
class Listening:
    """A listener that runs in a thread of its own."""

    port: int
    stop: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def ask_to_stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)


@contextmanager
def listening(hub: Hub, authority: Authority, limits: Limits = LIMITS) -> Iterator[Listening]:
    """Listen on a free port until the block ends."""
    own = authority.issue(SERVER)
    files = Credentials(own.certificate_file, own.key_file, authority.ca_file)
    tls = WatchedContext(files)
    bound = socket.create_server(("127.0.0.1", 0))
    run = Offload(4, name="hl7")
    started: list[Listening] = []

    async def main() -> None:
        listener, stop = OrderListener(hub, tls, limits, run), asyncio.Event()
        started.append(Listening(bound.getsockname()[1], stop, asyncio.get_running_loop()))
        await listener.listen(bound, stop, lambda: None)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()

    def is_up() -> None:
        assert started

    eventually(is_up)
    try:
        yield started[0]
    finally:
        started[0].ask_to_stop()
        thread.join(60)
        assert not thread.is_alive()
        run.close()


class TlsSender:
    """One connection of a HIS; without `shown` it has no certificate."""

    def __init__(self, port: int, ca_file: Path, shown: Issued | None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        if shown is not None:
            context.load_cert_chain(shown.certificate_file, shown.key_file)
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=SERVER)
        except BaseException:
            plain.close()
            raise
        self._frames = Frames()
        self._waiting: list[bytes] = []

    def send(self, data: bytes) -> Message:
        """Send one message and return what answers it."""
        return parse_message(self.send_for_bytes(data), "UNICODE UTF-8")

    def send_for_bytes(self, data: bytes) -> bytes:
        self.socket.sendall(frame(data))
        return self.receive_bytes()

    def receive_bytes(self) -> bytes:
        """Return the next answer. Raises ConnectionError when the hub has closed."""
        while not self._waiting:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the hub has closed the connection")
            self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    def close(self) -> None:
        self.socket.close()


def with_sender(hub: Hub, sender: OrderSender, **changed: Any) -> Hub:
    """Return the hub with one sender configured."""
    return replace(hub, order_senders={sender.name: replace(sender, **changed)})
