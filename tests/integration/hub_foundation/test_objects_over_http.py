"""The directory store's addresses take exactly what was signed for and say in words why they take nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from reading_queue.web.objects import READ_BYTES, build_objects_app
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectMissing, PresignedRequest
from storage.screens.offload import Offload
from tests.support.clock import SteerableClock
from tests.support.folders import size_bytes_of
from tests.support.waiting import eventually

KEY = "incoming/g1/pack.tar"
BODY = bytes(range(256)) * 8192  # two mebibytes


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


@pytest.fixture
def clock() -> SteerableClock:
    return SteerableClock()


@pytest.fixture
def store(tmp_path: Path, clock: SteerableClock) -> Iterator[DirectoryStore]:
    """A store whose addresses are served by a real server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    run = Offload(4)

    async def start() -> tuple[web.AppRunner, DirectoryStore]:
        served = web.Application()
        runner = web.AppRunner(served, shutdown_timeout=1)
        store = DirectoryStore(tmp_path / "objects", public_url="http://127.0.0.1:0", secret=b"s" * 32, clock=clock)
        served.add_subapp("/objects", build_objects_app(store, run))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        store._public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner, store

    runner, store = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    yield store
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    run.close()


def granted(store: DirectoryStore, body: bytes = BODY) -> PresignedRequest:
    return store.presign_put(KEY, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), expires_s=60)


def send(request: PresignedRequest, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(request.method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def assert_nothing_stored(store: DirectoryStore) -> None:
    with pytest.raises(ObjectMissing):
        store.stat(KEY)
    assert not list(store.uploads.iterdir())


def test_what_was_granted_is_stored(store: DirectoryStore) -> None:
    assert send(granted(store), BODY).status == 200
    assert store.read(KEY) == BODY


def test_the_same_upload_twice_is_fine(store: DirectoryStore) -> None:
    request = granted(store)
    assert [send(request, BODY).status, send(request, BODY).status] == [200, 200]


def test_an_expired_address_is_refused(store: DirectoryStore, clock: SteerableClock) -> None:
    request = granted(store)
    clock.advance(61)
    answer = send(request, BODY)
    assert (answer.status, answer.code) == (403, "grant_expired")
    assert_nothing_stored(store)


def test_another_size_than_granted_is_refused(store: DirectoryStore) -> None:
    answer = send(granted(store), BODY[:-1])
    assert (answer.status, answer.code) == (400, "wrong_size")
    assert_nothing_stored(store)


def test_other_bytes_than_granted_are_refused(store: DirectoryStore) -> None:
    answer = send(granted(store), BODY[:-1] + b"!")
    assert (answer.status, answer.code) == (400, "object_rejected")
    assert b"SHA-256" in answer.body
    assert_nothing_stored(store)


def test_an_upload_without_its_length_is_refused(store: DirectoryStore) -> None:
    answer = send(granted(store), None, {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.code) == (411, "length_required")


def test_an_upload_that_is_cut_off_leaves_nothing(store: DirectoryStore) -> None:
    request = granted(store)
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(len(BODY)))
    connection.endheaders(BODY[: 2 * READ_BYTES])
    eventually(lambda: assert_uploading(store))
    connection.close()
    eventually(lambda: assert_nothing_stored(store))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("pack.tar", "other.tar", id="another key"),
        pytest.param("size=", "size=1", id="another size"),
        pytest.param("signature=", "signature=x", id="another signature"),
        pytest.param("signature=", "signature=%E5%BC%A0", id="a signature that is no ASCII"),
        pytest.param("expires=", "expires=9", id="another time"),
    ],
)
def test_a_changed_address_is_refused(store: DirectoryStore, old: str, new: str) -> None:
    request = granted(store)
    answer = send(PresignedRequest("PUT", request.url.replace(old, new)), BODY)
    assert (answer.status, answer.code) == (403, "address_invalid")
    assert_nothing_stored(store)


def test_an_address_for_reading_takes_no_upload(store: DirectoryStore) -> None:
    reading = store.presign_get(KEY, expires_s=60)
    answer = send(PresignedRequest("PUT", reading.url), BODY)
    assert (answer.status, answer.code) == (403, "address_invalid")


@pytest.mark.parametrize("key", ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "a//b"])
def test_a_key_that_leaves_the_store_is_refused(store: DirectoryStore, key: str) -> None:
    request = granted(store)
    answer = send(PresignedRequest("PUT", request.url.replace(KEY, key)), BODY)
    assert answer.status in (400, 403, 404)
    assert_nothing_stored(store)


def test_an_object_is_read_whole(store: DirectoryStore) -> None:
    store.put(KEY, BODY, len(BODY))
    answer = send(store.presign_get(KEY, expires_s=60))
    assert (answer.status, answer.body) == (200, BODY)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        pytest.param("bytes=10-19", 10, 19, id="from the middle"),
        pytest.param("bytes=2097000-", 2097000, len(BODY) - 1, id="to the end"),
        pytest.param("bytes=-5", len(BODY) - 5, len(BODY) - 1, id="the last bytes"),
        pytest.param("bytes=5-99999999", 5, len(BODY) - 1, id="beyond the end"),
    ],
)
def test_a_range_is_read(store: DirectoryStore, asked: str, first: int, last: int) -> None:
    store.put(KEY, BODY, len(BODY))
    answer = send(store.presign_get(KEY, expires_s=60), headers={"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.body == BODY[first : last + 1]


@pytest.mark.parametrize(
    ("asked", "status"), [pytest.param("bytes=9999999-", 416, id="outside"), pytest.param("lines=1-2", 400, id="words")]
)
def test_a_range_that_makes_no_sense_is_refused(store: DirectoryStore, asked: str, status: int) -> None:
    store.put(KEY, BODY, len(BODY))
    assert send(store.presign_get(KEY, expires_s=60), headers={"Range": asked}).status == status


def test_a_missing_object_is_said_to_be_missing(store: DirectoryStore) -> None:
    answer = send(store.presign_get(KEY, expires_s=60))
    assert (answer.status, answer.code) == (404, "object_missing")


def assert_uploading(store: DirectoryStore) -> None:
    assert [path for path in store.uploads.iterdir() if size_bytes_of(path)]
