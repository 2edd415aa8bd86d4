"""A modality that is never the bottleneck: sends prepared C-STORE messages, one system call for each object.

Run as a process of its own: `python -m tests.benchmarks.sender --port 11112 FOLDER…`, one association for each FOLDER.
It waits for each answer before it sends the next object, as modalities do. The clock runs from the first connection to
the last answer. Prints one JSON object. Max PDU and PS3.8 section 9.3 as in the constants.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from pydicom.filereader import read_file_meta_info

PDU_BYTES = 128 * 1024  # what every receiver must announce at least
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION = "2.25.1"
C_STORE_RQ = 0x0001
ANSWER_TIMEOUT_S = 60


def item(kind: int, body: bytes) -> bytes:
    """Return a variable item of an A-ASSOCIATE PDU."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def associate_request(calling: str, called: str, sop_class: str, syntax: str) -> bytes:
    """Return an A-ASSOCIATE-RQ with one presentation context, id 1."""
    context = bytes([1, 0, 0, 0]) + item(0x30, sop_class.encode()) + item(0x40, syntax.encode())
    user = item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, IMPLEMENTATION.encode())
    variable = item(0x10, APPLICATION_CONTEXT.encode()) + item(0x20, context) + item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + variable
    return struct.pack(">BBI", 1, 0, len(body)) + body


def announced_pdu_bytes(accept: bytes) -> int:
    """Return the Maximum Length of an A-ASSOCIATE-AC without its first six bytes, 0 when it sets none."""
    offset = 68
    while offset + 4 <= len(accept):
        kind, _, length = struct.unpack_from(">BBH", accept, offset)
        if kind == 0x50:
            kind, _, inner = struct.unpack_from(">BBH", accept, offset + 4)
            if kind == 0x51 and inner == 4:
                return int.from_bytes(accept[offset + 8 : offset + 12], "big")
        offset += 4 + length
    return 0


def store_message(number: int, sop_class: str, sop_instance: str, dataset: bytes) -> bytes:
    """Return all PDUs of one C-STORE-RQ, as DCMTK cuts them: command and dataset in PDUs of their own."""

    def element(tag: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0x0000, tag, len(value)) + value

    elements = b"".join(
        (
            element(0x0002, sop_class.encode()),
            element(0x0100, struct.pack("<H", C_STORE_RQ)),
            element(0x0110, struct.pack("<H", number & 0xFFFF)),
            element(0x0700, struct.pack("<H", 0)),
            element(0x0800, struct.pack("<H", 1)),
            element(0x1000, sop_instance.encode()),
        )
    )
    pdus = [_p_data(element(0x0000, struct.pack("<I", len(elements))) + elements, 3)]
    step = PDU_BYTES - 6
    for start in range(0, len(dataset), step):
        pdus.append(_p_data(dataset[start : start + step], 2 if start + step >= len(dataset) else 0))
    return b"".join(pdus)


def _p_data(fragment: bytes, control: int) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(fragment) + 6, len(fragment) + 2, 1, control) + fragment


class Modality:
    """One association's worth of prepared messages."""

    def __init__(self, folder: Path, calling: str, called: str) -> None:
        paths = sorted(folder.glob("*.dcm"))
        meta = read_file_meta_info(paths[0])
        self._request = associate_request(
            calling, called, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
        )
        self._messages = [_message(number, path) for number, path in enumerate(paths, start=1)]
        self.statuses: list[int] = []
        self.problem = ""

    def send(self, port: int) -> None:
        """Send everything on one association; what goes wrong is in `problem`."""
        try:
            self._send(port)
        except (OSError, ValueError) as exc:
            self.problem = f"{type(exc).__name__}: {exc}"

    def _send(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._request)
            kind, body = _read_pdu(connection)
            if kind != 2 or 0 < announced_pdu_bytes(body) < PDU_BYTES:
                raise ValueError(f"answer {kind} to the association, PDUs of {announced_pdu_bytes(body)} bytes")
            for message in self._messages:
                connection.sendall(message)
                self.statuses.append(_status(_read_pdu(connection)[1]))
            self.ended = time.perf_counter()
            connection.sendall(struct.pack(">BBII", 5, 0, 4, 0))
            _read_pdu(connection)


def _message(number: int, path: Path) -> bytes:
    meta = read_file_meta_info(path)
    dataset = path.read_bytes()[144 + meta.FileMetaInformationGroupLength :]
    return store_message(number, str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), dataset)


def _read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    head = _read(connection, 6)
    return head[0], _read(connection, int.from_bytes(head[2:], "big"))


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ValueError("the receiver closed the connection")
        data += piece
    return data


def _status(pdu: bytes) -> int:
    """Return (0000,0900) out of a C-STORE-RSP in one PDV."""
    offset = 6
    while offset < len(pdu):
        group, number, length = struct.unpack_from("<HHI", pdu, offset)
        if (group, number) == (0x0000, 0x0900):
            return int.from_bytes(pdu[offset + 8 : offset + 10], "little")
        offset += 8 + length
    raise ValueError("an answer without a status")


def main() -> int:
    """Prepare, send, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calling", default="BENCH")
    parser.add_argument("--called", default="RECEIVER")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    options = parser.parse_args()
    modalities = [Modality(folder, options.calling, options.called) for folder in options.folders]
    threads = [threading.Thread(target=modality.send, args=(options.port,)) for modality in modalities]
    cpu_before = time.process_time()
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for modality in modalities for status in modality.statuses]
    problems = [modality.problem for modality in modalities if modality.problem]
    seconds = max((modality.ended for modality in modalities), default=0.0) - started if not problems else 0.0
    told = {
        "seconds": seconds,
        "stored": statuses.count(0),
        "refused": len(statuses) - statuses.count(0),
        "problems": problems,
        "sender_cpu_s": round(time.process_time() - cpu_before, 3),
        "sender_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
