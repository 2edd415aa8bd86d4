"""A HIS that sends order messages, and the gateway's listener on a real port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gateway.his_orders.listener import OrderListener
from gateway.journal.database import Journal
from gateway.journal.identity import save_identity
from gateway.settings import GatewaySettings
from storage.contract.signing import GatewayKey
from storage.contract.wire import EnrolmentAnswer
from storage.hl7.framing import Frames, frame
from storage.hl7.message import Message, parse_message
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

RESIDENT = "11010519491231002X"  # the example of GB 11643-1999: a woman, born 1949-12-31
PID = f"PID|1||M0042^^^HIS^MR~{RESIDENT}^^^^NNCHN||王^秀兰^^^^^L^I~Wang^Xiulan^^^^^L^A||19491231|F"
ORDERED = (
    "PV1|1|I|||||||||||||||||V77",
    "ORC|NW|P1^HIS||||||||||D7^李^医生|||||IM^内科",
    "TQ1|1||||||20260302093000||R",
    "OBR|1|P1^HIS||CTCHEST^胸部CT平扫^L|||||||||咳嗽两周|||||ACC1||||||CT|||||||^肺部感染？",
    "OBX|1|TX|10154-3^主诉^LN||发热三天",
    "NTE|1||请尽快",
)
EXAMPLE = PID, *ORDERED


def message(
    *segments: str,
    control_id: str = "C1",
    kind: str = "ORM^O01",
    version: str = "2.5.1",
    declared: str = "UNICODE UTF-8",
    codec: str = "utf-8",
) -> bytes:
    """Return a message of these segments."""
    header = f"MSH|^~\\&|HIS|CLINIC|COUNTERPART|QINGHE|20260302090000||{kind}|{control_id}|P|{version}||||||{declared}"
    return ("\r".join((header, *segments)) + "\r").encode(codec)


def changed(old: str, new: str, *segments: str) -> tuple[str, ...]:
    """Return the segments with `old` replaced, which must be there."""
    assert any(old in segment for segment in segments)
    return tuple(segment.replace(old, new) for segment in segments)


PIECES = b"|", b"^", b"\r", b"\\", b"~", b"&", b"\x00", b"\x0b", b"\xff", b"", b'""', b"9"


def mangle(pieces: list[tuple[int, bytes]]) -> bytes:
    """Return the example with these pieces in the places of single bytes."""
    data = message(*EXAMPLE)
    for place, piece in pieces:
        data = data[:place] + piece + data[place + 1 :]
    return data


MANGLED = st.lists(st.tuples(st.integers(0, 700), st.sampled_from(PIECES)), min_size=1, max_size=12).map(mangle)


def as_it_came(data: bytes) -> bytes:
    """Return what is taken of these bytes in a frame: a message begins anew at the sign of a beginning."""
    return data[data.rfind(b"\x0b") + 1 :]


class Sender:
    """One connection of the HIS."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._frames = Frames()
        self._waiting: list[bytes] = []

    def send(self, data: bytes) -> Message:
        """Send one message and return what answers it."""
        self.socket.sendall(frame(data))
        return self.receive()

    def receive(self) -> Message:
        return parse_message(self.receive_bytes(), "UNICODE UTF-8")

    def receive_bytes(self) -> bytes:
        while not self._waiting:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the gateway has closed the connection")
            self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    def close(self) -> None:
        self.socket.close()


def told(answer: Message) -> tuple[str, list[str]]:
    """Return the acknowledgement's code, and where ERR says that something is wrong."""
    places = [f"{answer.at(place, 2)}-{answer.at(place, 2, 3)}" for place in answer.named("ERR")]
    return answer.get("MSA", 1), places


def settings_of(folder: Path, **hl7: Any) -> GatewaySettings:
    return GatewaySettings.model_validate(
        {
            "spool_dir": folder,
            "hub": {"url": "https://hub.example"},
            "dicom": {"allowed_calling_ae_titles": ["CT1"], "disk_floor_bytes": 0},
            "hl7": {"enabled": True, "host": "127.0.0.1", "port": 0, "addresses": ["127.0.0.1"]} | hl7,
        }
    )


def open_enrolled(folder: Path, clock: SteerableClock) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.sqlite")
    answer = EnrolmentAnswer(
        gateway_id="g1",
        site_id="qinghe",
        site_name="双桥镇中心卫生院",
        audience="net",
        hub_key_id="hub",
        hub_public_key=GatewayKey.generate().public_text(),
        hub_time=clock(),
    )
    save_identity(journal, answer, clock())
    return journal


@contextmanager
def listening(settings: GatewaySettings, journal: Journal, clock: SteerableClock) -> Iterator[OrderListener]:
    listener = OrderListener(settings, journal, clock=clock)
    listener.start()

    def has_port() -> None:
        assert listener.port

    try:
        eventually(has_port)
        yield listener
    finally:
        listener.stop()
        assert listener.join(60)
