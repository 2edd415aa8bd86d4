"""What cannot be stored is refused with the right status and in words, and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select

from storage.catalogue.tables import Deposit, Instance, Study
from tests.integration.dicomweb.county import County
from tests.integration.stow.made import images
from tests.integration.stow.serving import BOUNDARY, BYTES_MAX, STUDIES, TYPE, Storing, StowServer, multipart
from tests.support.folders import files_under
from tests.support.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.filterwarnings("ignore:Invalid value for VR UI")]

AsPerson = Callable[[str], Storing]
MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def nothing_is_left(county: County, server: StowServer, deposits_dir: Path) -> Iterator[None]:
    """Every test here ends with an empty hub: no row, no object, no file of a body."""
    yield

    def is_empty() -> None:
        assert [path.name for path in files_under(deposits_dir)] == ["in-use"]

    eventually(is_empty)
    with county.hub.transaction() as session:
        for table in (Deposit, Study, Instance):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert list(county.hub.objects.list_keys("")) == []


def test_nobody_stores_nothing(server: StowServer) -> None:
    reply = Storing(server.url).store(images(1))
    assert (reply.status, reply.code()) == (401, "not_authenticated")


@pytest.mark.parametrize("path", [STUDIES, f"{STUDIES}/1.2.3"])
def test_who_only_oversees_stores_nothing(as_person: AsPerson, path: str) -> None:
    reply = as_person("coordinator").store(images(1), path)
    assert (reply.status, reply.code()) == (403, "forbidden")


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/dicom", 415, "unsupported_media_type"),
        ("application/octet-stream", 415, "unsupported_media_type"),
        ("", 415, "unsupported_media_type"),
        (f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', 415, "unsupported_media_type"),
        (f"multipart/mixed; boundary={BOUNDARY}", 415, "unsupported_media_type"),
        ('multipart/related; type="application/dicom"', 400, "body_malformed"),
        (f'multipart/related; type="application/dicom"; boundary={"b" * 71}', 400, "body_malformed"),
        ('multipart/related; type="application/dicom"; boundary=another', 400, "body_malformed"),
    ],
)
def test_wrong_media_type_of_the_request(technician: Storing, content_type: str, status: int, code: str) -> None:
    reply = technician.send(multipart(images(1)), Content_Type=content_type)
    assert (reply.status, reply.code()) == (status, code)


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html", "image/jpeg, application/xml"])
def test_wrong_accept(technician: Storing, accept: str) -> None:
    reply = technician.store(images(1), Accept=accept)
    assert (reply.status, reply.code()) == (406, "not_acceptable")


@pytest.mark.parametrize("uid", ["..%2f..%2fetc", "1.2.3%00", "abc", "1..2", "1" * 65, "%2e%2e"])
def test_path_tricks_in_the_address(technician: Storing, uid: str) -> None:
    reply = technician.store(images(1), f"{STUDIES}/{uid}")
    assert (reply.status, reply.code()) in ((400, "bad_query"), (404, "http_404"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all",
        b"\0" * 100_000,
        f"--{BOUNDARY}--\r\n".encode(),
        f"--{BOUNDARY}\r\nno header\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\nA: {'a' * 9000}\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
        f"--{BOUNDARY}\r\nContent-Length: 7\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
    ],
)
def test_body_that_is_no_multipart_body(technician: Storing, body: bytes) -> None:
    reply = technician.send(body)
    assert (reply.status, reply.code()) == (400, "body_malformed")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_whole_instances_of_a_truncated_body_are_not_stored(technician: Storing, kept: float) -> None:
    whole = multipart(images(1, 3))
    reply = technician.send(whole[: int(len(whole) * kept)])
    assert (reply.status, reply.code()) == (400, "body_malformed")


def test_too_many_parts(technician: Storing) -> None:
    reply = technician.store([b""] * 5001)
    assert (reply.status, reply.code()) == (413, "too_large")


class Line:
    """A request written by hand: bytes on a socket, and what comes back."""

    def __init__(self, person: Storing, **headers: str) -> None:
        host = urlsplit(person.url)
        self._socket = socket.create_connection((str(host.hostname), int(host.port or 0)), timeout=60)
        lines = {"Host": "hub", "Authorization": f"Bearer {person.token}", "Content-Type": TYPE} | headers
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        self.write(f"POST {STUDIES} HTTP/1.1\r\n{head}\r\n".encode())

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def write_chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n" % len(data) + data + b"\r\n")

    def reply(self) -> tuple[int, bytes]:
        """Return the status and the beginning of the first answer."""
        received = b""
        while b"\r\n\r\n" not in received or (b"application/problem" in received and b"}" not in received):
            piece = self._socket.recv(65536)
            assert piece, received
            received += piece
        return int(received.split()[1]), received


def test_five_gigabytes_are_refused_before_a_byte_of_them_is_read(technician: Storing) -> None:
    with Line(technician, Content_Length=str(5 * 1024**3)) as line:
        status, answer = line.reply()
    assert (status, b'"too_large"' in answer) == (413, True)


def test_body_that_goes_on_for_ever_is_refused_at_the_limit(technician: Storing) -> None:
    with Line(technician, Transfer_Encoding="chunked") as line:
        line.write_chunk(f"--{BOUNDARY}\r\n\r\n".encode())
        for _ in range(BYTES_MAX // MEGABYTE):
            line.write_chunk(b"x" * MEGABYTE)
        status, answer = line.reply()
    assert (status, b'"too_large"' in answer) == (413, True)


def test_content_length_larger_than_the_body_leaves_nothing(technician: Storing, deposits_dir: Path) -> None:
    body = multipart(images(1, 40))
    with Line(technician, Content_Length=str(len(body) + 1000)) as line:
        line.write(body)
        eventually(lambda: _holds(deposits_dir, 10))
    # `nothing_is_left` sees the rest: the client has gone


def test_content_length_smaller_than_the_body_is_a_truncated_body(technician: Storing) -> None:
    body = multipart(images(1))
    with Line(technician, Content_Length=str(len(body) - 100)) as line:
        line.write(body)
        assert line.reply()[0] == 400


def test_client_that_goes_away_in_the_middle_leaves_nothing(technician: Storing, deposits_dir: Path) -> None:
    with Line(technician, Transfer_Encoding="chunked") as line:
        line.write_chunk(multipart(images(1, 40))[:MEGABYTE])
        eventually(lambda: _holds(deposits_dir, 10))


def _holds(deposits_dir: Path, files: int) -> None:
    assert len(files_under(deposits_dir, ".dcm")) >= files


def test_disk_is_never_filled(county: County, deposits_dir: Path) -> None:
    with StowServer(county.hub, deposits_dir / "full", floor_bytes=2**60) as server:
        person = Storing(server.url, county.token("technician"))
        reply = person.store(images(1))
        assert (reply.status, reply.code()) == (507, "no_room")


def test_part_that_is_no_dicom_file_by_its_own_words(technician: Storing) -> None:
    reply = technician.send(multipart(images(1), "application/dicom+json"))
    assert (reply.status, reply.kept(), reply.failed()) == (409, [], [("", 0xC000)])


def test_store_that_is_down_is_told_and_nothing_is_half_stored(
    county: County, technician: Storing, tmp_path: Path
) -> None:
    root, aside = tmp_path / "objects", tmp_path / "aside"
    root.rename(aside)
    root.write_text("no folder")
    reply = technician.store(images(1, 3))
    assert (reply.status, reply.code()) == (503, "store_unavailable")
    root.unlink()
    aside.rename(root)
