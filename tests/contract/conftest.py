"""Both object stores behind real HTTP, so that one suite holds for both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from storage.contract.identifiers import new_id
from storage.objects.directory import CHUNK_BYTES, DirectoryStore, PresignedExpired, PresignedInvalid
from storage.objects.protocol import ObjectMissing, ObjectRejected, ObjectStore
from storage.objects.s3 import S3Store
from tests.support.clock import SteerableClock
from tests.support.s3_server import S3Server, running_s3_server

SECRET = b"contract" * 4


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server of this test process."""
    with running_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def clock() -> SteerableClock:
    """The store's clock; it starts at the real time, because an S3 server has its own."""
    return SteerableClock(datetime.now(UTC))


@pytest.fixture(params=["directory", "s3", "s3-versioned", "s3-encrypted"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: SteerableClock) -> Iterator[ObjectStore]:
    """One of both stores, empty; of S3 with a plain bucket, one that keeps versions, and encryption."""
    if request.param.startswith("s3"):
        server: S3Server = request.getfixturevalue("s3_server")
        encryption = "sse-s3" if request.param == "s3-encrypted" else "none"
        s3 = S3Store(
            server.endpoint,
            f"bucket-{new_id()}",
            server.credentials,
            clock=clock,
            secure=False,
            encryption=encryption,
        )
        s3.ensure_bucket(versioned=request.param == "s3-versioned")
        yield s3
        return
    with _serving(tmp_path / "objects", clock) as directory:
        yield directory


class _serving:  # noqa: N801 -- used as a context manager function
    """A directory store whose presigned addresses a small HTTP server answers."""

    def __init__(self, root: Path, clock: Callable[[], datetime]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._server.store = DirectoryStore(root, public_url=url, secret=SECRET, clock=clock)  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> DirectoryStore:
        self._thread.start()
        return self._server.store  # type: ignore[attr-defined, no-any-return]

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        store: DirectoryStore = self.server.store  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/objects/")
        body = b""
        try:
            terms = store.verify_presigned(method, key, dict(parse_qsl(parts.query)))
            if method == "GET":
                body = store.read(key)
            else:
                size = int(self.headers["Content-Length"])
                with store.begin_put(key, terms.size_bytes or 0, terms.sha256) as upload:
                    while size:
                        chunk = self.rfile.read(min(size, CHUNK_BYTES))
                        size -= len(chunk)
                        upload.write(chunk)
                    upload.finish()
            status = 200
        except (PresignedExpired, PresignedInvalid):
            status = 403
        except ObjectMissing:
            status = 404
        except ObjectRejected:
            status = 400
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
