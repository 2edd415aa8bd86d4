"""Whole studies and series come as they are stored; a store that fails is told in words, or the line is cut."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from sqlalchemy import select

from storage.catalogue.tables import Pack, Study
from storage.objects.s3 import S3Store
from storage.objects.sigv4 import S3Credentials
from tests.integration.dicomweb.county import OTHER_SITE, County
from tests.integration.dicomweb.phantom import BONE_SERIES, GB18030_STUDY, LUNG_SERIES, gb18030_study, noise_study
from tests.integration.dicomweb.server import ImageClient, ImageServer

pytestmark = pytest.mark.postgres

LARGE_STUDY, BROKEN_STUDY, LOST_STUDY = "2.25.77001", "2.25.77002", "2.25.77003"
SIDE = 1024  # of a slice: 2 MiB


@pytest.fixture(scope="module")
def large(county: County) -> list[bytes]:
    """A study of 2 series with 3 slices each, in one pack of 12 MiB."""
    files = noise_study(LARGE_STUDY, 2, 3, SIDE)
    county.arrive(OTHER_SITE, files, in_one_pack=True)
    return files


@pytest.fixture
def server_without_store(county: County, tmp_path: Path) -> Iterator[ImageServer]:
    """The same county, whose S3 server does not answer: nobody listens on its port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        store = S3Store(
            endpoint, "images", S3Credentials("key", "secret", "none"), clock=county.hub.clock, secure=False
        )
        with ImageServer(replace(county.hub, objects=store), tmp_path) as running:
            yield running


def digests(files: list[bytes]) -> list[str]:
    return sorted(hashlib.sha256(file).hexdigest() for file in files)


def test_study_is_every_file_that_was_sent(coordinator: ImageClient, large: list[bytes]) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{LARGE_STUDY}")
    assert int(reply.headers["Content-Length"]) == len(reply.body) > 6 * 2 * SIDE * SIDE
    assert reply.headers["Cache-Control"] == "no-store"
    parts = reply.parts()
    assert {(media_type, syntax) for media_type, syntax, _ in parts} == {("application/dicom", "1.2.840.10008.1.2.1")}
    assert digests([body for _, _, body in parts]) == digests(large)


def test_series_is_its_own_files(coordinator: ImageClient, large: list[bytes]) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{LARGE_STUDY}/series/{LARGE_STUDY}.2")
    assert digests([body for _, _, body in reply.parts()]) == digests(large[3:])


def test_study_in_many_packs_is_whole(coordinator: ImageClient, county: County) -> None:
    reply = coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}")
    assert digests([body for _, _, body in reply.parts()]) == digests(gb18030_study())


@pytest.mark.parametrize(
    "path",
    [
        "/dicomweb/studies/1.2.3",
        "/dicomweb/studies/1.2.x",
        "/dicomweb/studies/%2e%2e%2fsecret",
        f"/dicomweb/studies/{GB18030_STUDY}/series/1.2.3",
        f"/dicomweb/studies/{GB18030_STUDY}/series/{'1' * 65}",
        f"/dicomweb/studies/{GB18030_STUDY}/series/{LUNG_SERIES}/instances/{BONE_SERIES}.1",
    ],
)
def test_what_is_not_there_is_not_found(coordinator: ImageClient, county: County, path: str) -> None:
    reply = coordinator.get(path)
    assert (reply.status, reply.code()) == (404, "not_found")


def test_head_tells_the_length_and_sends_nothing(
    county: County, server: ImageServer, coordinator: ImageClient, large: list[bytes]
) -> None:
    path = f"/dicomweb/studies/{LARGE_STUDY}"
    headers = {"Authorization": f"Bearer {county.token('coordinator')}"}
    answer = urllib3.request("HEAD", server.url + path, headers=headers)
    assert (answer.status, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == coordinator.get(path).headers["Content-Length"]


@pytest.mark.parametrize(
    "path",
    [
        f"/dicomweb/studies/{GB18030_STUDY}",
        f"/dicomweb/studies/{GB18030_STUDY}/metadata",
        f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1",
        f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1/frames/1",
        f"/dicomweb/studies/{GB18030_STUDY}/series/{BONE_SERIES}/instances/{BONE_SERIES}.1/bulkdata/60003000",
    ],
)
def test_store_that_does_not_answer_is_told_in_words(
    county: County, server_without_store: ImageServer, path: str
) -> None:
    reply = ImageClient(server_without_store.url, county.token("coordinator")).get(path)
    assert (reply.status, reply.code()) == (503, "store_unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert "object store" in reply.body.decode()


def test_object_that_was_lost_is_told_in_words(county: County, coordinator: ImageClient) -> None:
    county.arrive(OTHER_SITE, noise_study(LOST_STUDY, 1, 1, 16))
    county.hub.objects.delete(pack_of(county, LOST_STUDY).object_key)
    reply = coordinator.get(f"/dicomweb/studies/{LOST_STUDY}")
    assert (reply.status, reply.code()) == (500, "bytes_missing")


def test_answer_that_breaks_off_is_cut_and_never_ends_as_if_it_were_whole(
    county: County, server: ImageServer, coordinator: ImageClient
) -> None:
    county.arrive(OTHER_SITE, noise_study(BROKEN_STUDY, 1, 3, SIDE), in_one_pack=True)
    cut_short(county, pack_of(county, BROKEN_STUDY).object_key)
    got = read_to_the_end(server, county.token("coordinator"), f"/dicomweb/studies/{BROKEN_STUDY}")
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    (declared,) = (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    assert 0 < len(body) < declared
    assert b"problem+json" not in got, "words inside of what a client takes for images"
    assert coordinator.get(f"/dicomweb/studies/{GB18030_STUDY}").status == 200, "the next request is answered"


def pack_of(county: County, study_uid: str) -> Pack:
    with county.hub.transaction() as session:
        query = select(Pack).join(Study, Study.study_id == Pack.study_id).where(Study.study_uid == study_uid)
        return session.scalars(query).one()


def cut_short(county: County, key: str) -> None:
    """Leave the first half of an object, as a disk fault does."""
    content = county.hub.objects.read(key)
    county.hub.objects.put(key, content[: len(content) // 2], len(content) // 2)


def read_to_the_end(server: ImageServer, token: str, path: str) -> bytes:
    """Return what comes on a raw connection until it is closed from over there."""
    address = urllib3.util.parse_url(server.url)
    got = b""
    with socket.create_connection((str(address.host), address.port or 0), timeout=60) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        while chunk := line.recv(65536):
            got += chunk
    return got
