"""A clinic's HIS that takes ORU over MLLP: a real TCP server that answers as a test says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from storage.hl7.framing import Frames, frame
from storage.hl7.message import encode, header, parse_message, segment
from tests.support.ports import own_port

Answer = Callable[[str], list[bytes] | None]  # control id → frames to send; None: close the connection


def acknowledgement(code: str, control_id: str, text: str = "", error: dict[int, str] | None = None) -> bytes:
    """Return an ACK of the code for the message of this control id."""
    segments = [header({3: "HIS", 9: "ACK^R01", 10: "A" + control_id[:19], 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8"})]
    segments.append(segment("MSA", {1: code, 2: control_id, 3: text}))
    if error is not None:
        segments.append(segment("ERR", error))
    return encode(segments, "UNICODE UTF-8")


def accepts(control_id: str) -> list[bytes]:
    """Answer AA."""
    return [frame(acknowledgement("AA", control_id))]


class His:
    """Keeps every message it was sent; `answer` decides what it says."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.answer: Answer = accepts
        self.close_after_answer = False
        self._tls = tls
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self.port = own_port()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in list(self._open):
            with_close(one)

    def control_ids(self) -> list[str]:
        return [parse_message(message, "UNICODE UTF-8").get("MSH", 10) for message in self.messages]

    def target(self, **changes: object) -> dict[str, object]:
        return {"name": "his", "kind": "hl7", "host": "127.0.0.1", "port": self.port, "timeout_s": 30, **changes}

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            frames = Frames()
            while data := connection.recv(65536):
                for message in frames.feed(data):
                    self.messages.append(message)
                    answers = self.answer(parse_message(message, "UNICODE UTF-8").get("MSH", 10))
                    if answers is None:
                        return
                    for answer in answers:
                        connection.sendall(answer)
                    if self.close_after_answer:
                        return
        except OSError:
            return
        finally:
            self._open.discard(connection)
            with_close(connection)


def with_close(connection: socket.socket) -> None:
    """Close a connection under whoever reads from it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        connection.close()
