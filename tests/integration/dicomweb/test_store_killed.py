"""An S3 server that is killed in the middle of a retrieval: the answer is visibly short, and the next one says why."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from storage.objects.s3 import Patience, S3Store
from tests.integration.dicomweb.county import OTHER_SITE, County
from tests.integration.dicomweb.phantom import noise_study
from tests.integration.dicomweb.server import ImageClient, ImageServer
from tests.support.s3_server import S3Server, killable_s3_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

STUDY = "2.25.77101"
SIDE, SLICES = 1024, 24  # of 2 MiB each: far more than the sockets between the store and the client hold
PATIENCE = Patience(connect_s=2, silence_s=5, answer_s=10)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    with killable_s3_server(tmp_path / "s3") as running:
        yield running


def test_retrieval_from_a_store_that_dies_is_cut_and_the_next_is_refused_in_words(
    county: County, s3: S3Server, tmp_path: Path
) -> None:
    store = S3Store(s3.endpoint, "images", s3.credentials, clock=county.hub.clock, secure=False, patience=PATIENCE)
    store.ensure_bucket()
    files = noise_study(STUDY, 1, SLICES, SIDE)
    kept_there = County(replace(county.hub, objects=store), county.tokens)
    kept_there.arrive(OTHER_SITE, files)
    with ImageServer(kept_there.hub, tmp_path) as server:
        token = county.token("coordinator")
        client, path = ImageClient(server.url, token), f"/dicomweb/studies/{STUDY}"
        got = read_while_the_store_dies(server.url, token, path, s3)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        declared = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        assert 0 < len(body) < declared
        assert b"problem+json" not in body, "words inside of what a client takes for images"
        whole = whole_parts(head, body)
        sent = {hashlib.sha256(file).hexdigest() for file in files}
        assert whole
        assert {hashlib.sha256(part).hexdigest() for part in whole} <= sent
        refused = client.get(path)
        assert (refused.status, refused.code()) == (503, "store_unavailable")
        s3.start()

        def answers_again() -> None:
            reply = client.get(path)
            assert reply.status == 200
            assert {hashlib.sha256(part).hexdigest() for _, _, part in reply.parts()} == sent

        eventually(answers_again)


def read_while_the_store_dies(url: str, token: str, path: str, s3: S3Server) -> bytes:
    """Return what comes on a raw connection until it ends; the store is killed when the first slices are there."""
    address = urllib3.util.parse_url(url)
    got = b""
    with socket.create_connection((str(address.host), address.port or 0), timeout=120) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        while len(got) < 3 * 2 * SIDE * SIDE:
            got += line.recv(65536)
        s3.kill()
        try:
            while chunk := line.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass  # cut from over there: as visible as it can be
    return got


def whole_parts(head: bytes, body: bytes) -> list[bytes]:
    """Return the bodies of the parts that are followed by another boundary."""
    boundary = re.search(rb'boundary="?([^";\r]+)', head)[1]  # type: ignore[index]
    pieces = body.split(b"--" + boundary)[1:-1]
    return [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces]
