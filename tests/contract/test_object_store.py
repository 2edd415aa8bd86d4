"""What every object store must do, told once and run on each."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable

import pytest
import urllib3

from storage.contract.identifiers import new_id
from storage.objects.protocol import ObjectMissing, ObjectRejected, ObjectStore, PresignedRequest, StoreUnavailable
from storage.objects.ranged import open_range
from storage.objects.s3 import Patience, S3Store
from storage.objects.sigv4 import S3Credentials
from tests.support.faulty_line import FaultyLine, Line
from tests.support.s3_server import S3Server

MIB = 1024 * 1024
BODY = bytes(range(256)) * 5000  # 1.28 MB


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(request: PresignedRequest, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(request.method, request.url, body=body or None, headers=headers or request.headers).status


def fetch(request: PresignedRequest) -> bytes:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(request.method, request.url, headers=request.headers).data


@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
def test_what_is_put_is_what_is_read(store: ObjectStore, as_file):
    store.put("studies/a/1.2/x.tar", io.BytesIO(BODY) if as_file else BODY, len(BODY))
    assert store.read("studies/a/1.2/x.tar") == BODY
    assert store.stat("studies/a/1.2/x.tar").size_bytes == len(BODY)


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (1000, 300_000), (len(BODY) - 5, 5), (7, None), (5, 0)])
def test_a_range_is_read_exactly(store: ObjectStore, offset, length):
    store.put("a/b", BODY, len(BODY))
    expected = BODY[offset:] if length is None else BODY[offset : offset + length]
    assert store.read("a/b", offset=offset, length=length) == expected
    with store.open("a/b", offset=offset, length=length) as chunks:
        assert b"".join(chunks) == expected


def test_an_object_is_read_in_chunks_of_bounded_size(store: ObjectStore):
    store.put("a/b", BODY * 4, len(BODY) * 4)
    with store.open("a/b") as chunks:
        sizes = [len(chunk) for chunk in chunks]
    assert sum(sizes) == len(BODY) * 4
    assert max(sizes) <= MIB


def test_a_missing_object_is_said_to_be_missing(store: ObjectStore):
    with pytest.raises(ObjectMissing):
        store.stat("no/such")
    with pytest.raises(ObjectMissing):
        store.read("no/such")
    with pytest.raises(ObjectMissing):
        store.copy("no/such", "a/b")


def test_a_copy_outlives_its_source(store: ObjectStore):
    store.put("incoming/g/p.tar", BODY, len(BODY))
    store.copy("incoming/g/p.tar", "studies/s/1/packs/p.tar")
    store.copy("incoming/g/p.tar", "studies/s/1/packs/p.tar")  # again, as a repeated job does
    store.delete("incoming/g/p.tar")
    assert store.read("studies/s/1/packs/p.tar") == BODY


def test_deleting_twice_is_no_error(store: ObjectStore):
    store.put("a/b", b"x", 1)
    store.delete("a/b")
    store.delete("a/b")
    with pytest.raises(ObjectMissing):
        store.stat("a/b")


@pytest.mark.parametrize("sizes", [[5 * MIB, 5 * MIB, 100], [10, 20, 30]], ids=["large parts", "small parts"])
def test_parts_are_composed_in_order(store: ObjectStore, sizes):
    parts = [bytes([index]) * size for index, size in enumerate(sizes)]
    for index, part in enumerate(parts):
        store.put(f"parts/{index}", part, len(part))
    store.compose([f"parts/{index}" for index in range(len(parts))], "whole")
    assert sha256(store.read("whole")) == sha256(b"".join(parts))


def test_parts_are_composed_again_as_a_repeated_job_does(store: ObjectStore):
    parts = [b"a" * (5 * MIB), b"b" * 10]
    for index, part in enumerate(parts):
        store.put(f"parts/{index}", part, len(part))
    for _ in range(2):
        store.compose(["parts/0", "parts/1"], "whole")
    store.compose(["parts/1"], "single")
    assert sha256(store.read("whole")) == sha256(b"".join(parts))
    assert store.read("single") == parts[1]


def test_missing_part_composes_nothing(store: ObjectStore):
    store.put("parts/0", b"a" * (5 * MIB), 5 * MIB)
    with pytest.raises(ObjectMissing):
        store.compose(["parts/0", "parts/1"], "whole")
    with pytest.raises(ObjectMissing):
        store.stat("whole")


def test_a_stretch_of_an_object_is_a_file(store: ObjectStore):
    data = bytes(range(251)) * 40_000  # 10 MB
    store.put("a/b", data, len(data))
    stretch = data[1000:-1000]
    with open_range(store, "a/b", 1000, len(stretch)) as file:
        for offset, length in [(0, 300), (5_000_000, 8), (200, 8), (len(stretch) - 5, 100), (9, 3 * MIB), (4 * MIB, 1)]:
            file.seek(offset)
            assert file.read(length) == stretch[offset : offset + length]
        assert file.seek(0, io.SEEK_END) == len(stretch)
        file.seek(0)
        assert sha256(file.read()) == sha256(stretch)


def test_keys_are_listed_sorted_and_by_prefix(store: ObjectStore):
    for key in ("s/b/2", "s/a/1", "s/a/10", "t/1"):
        store.put(key, b"x", 1)
    assert list(store.list_keys("s/")) == ["s/a/1", "s/a/10", "s/b/2"]
    assert list(store.list_keys("s/a/1")) == ["s/a/1", "s/a/10"]
    assert list(store.list_keys("none/")) == []


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../x", "a/../b", "a/./b", "a/..", "a b", "ä", "a\0b", "x" * 1000])
def test_a_key_that_is_no_plain_path_is_refused(store: ObjectStore, key):
    with pytest.raises(ObjectRejected):
        store.put(key, b"x", 1)
    with pytest.raises(ObjectRejected):
        store.read(key)


def test_a_presigned_put_takes_what_was_granted(store: ObjectStore):
    request = store.presign_put("incoming/g/p.tar", size_bytes=len(BODY), sha256=sha256(BODY), expires_s=60)
    assert send(request, BODY) == 200
    assert store.read("incoming/g/p.tar") == BODY


def test_a_presigned_put_of_another_length_stores_nothing(store: ObjectStore):
    request = store.presign_put("incoming/g/p.tar", size_bytes=len(BODY), sha256=sha256(BODY), expires_s=60)
    headers = {**request.headers, "Content-Length": str(len(BODY) - 1)}
    assert send(request, BODY[:-1], headers) in (400, 403)
    with pytest.raises(ObjectMissing):
        store.stat("incoming/g/p.tar")


def test_a_presigned_put_with_another_digest_stores_nothing(store: ObjectStore):
    request = store.presign_put("incoming/g/p.tar", size_bytes=len(BODY), sha256=sha256(BODY), expires_s=60)
    assert send(request, BODY[::-1]) in (400, 403)
    with pytest.raises(ObjectMissing):
        store.stat("incoming/g/p.tar")


def test_a_presigned_address_is_for_its_own_key_and_method_only(store: ObjectStore):
    store.put("incoming/g/other.tar", b"other", 5)
    request = store.presign_put("incoming/g/p.tar", size_bytes=5, sha256=sha256(b"hello"), expires_s=60)
    other = PresignedRequest("PUT", request.url.replace("p.tar", "other.tar"), request.headers)
    assert send(other, b"hello") == 403
    assert send(PresignedRequest("GET", request.url)) == 403
    assert store.read("incoming/g/other.tar") == b"other"


def test_a_presigned_address_expires(store: ObjectStore, clock):
    clock.advance(-120)
    request = store.presign_put("incoming/g/p.tar", size_bytes=5, sha256=sha256(b"hello"), expires_s=60)
    clock.advance(120)
    assert send(request, b"hello") == 403


def test_a_presigned_get_gives_the_object(store: ObjectStore):
    store.put("documents/c/1/report.pdf", BODY, len(BODY))
    assert fetch(store.presign_get("documents/c/1/report.pdf", expires_s=60)) == BODY


def test_check_passes_on_a_store_that_works(store: ObjectStore):
    assert store.check().startswith("answers")
    assert list(store.list_keys("check/")) == []


def test_what_is_erased_is_gone_for_good_and_nothing_beside_it(store: ObjectStore):
    for body in (b"one", b"two"):
        store.put("a/b", body, 3)
        store.put("a/bc", body, 3)
        store.put("a/d", body, 3)
    store.delete("a/b")
    store.erase("a/b")
    store.erase("a/b")
    with pytest.raises(ObjectMissing):
        store.read("a/b")
    assert store.read("a/bc") == b"two"
    assert len(list(store.list_keys("a/"))) == 2


def test_check_names_the_missing_bucket(s3_server: S3Server, clock):
    s3 = S3Store(s3_server.endpoint, "no-such-bucket", s3_server.credentials, clock=clock, secure=False)
    with pytest.raises(ObjectMissing, match="no bucket no-such-bucket"):
        s3.check()


def test_a_wrong_key_is_a_matter_of_the_configuration_and_not_of_what_is_asked_for(s3_server: S3Server, clock):
    bucket = f"bucket-{new_id()}"
    S3Store(s3_server.endpoint, bucket, s3_server.credentials, clock=clock, secure=False).ensure_bucket()
    wrong = S3Credentials(s3_server.credentials.access_key, "not the secret", s3_server.credentials.region)
    s3 = S3Store(s3_server.endpoint, bucket, wrong, clock=clock, secure=False)
    asked: list[Callable[[], object]] = [
        s3.check,
        lambda: s3.put("a/b", b"x", 1),
        lambda: s3.stat("a/b"),
        lambda: s3.read("a/b"),
        lambda: s3.copy("a/b", "a/c"),
        lambda: s3.delete("a/b"),
        lambda: list(s3.list_keys("a/")),
    ]
    for ask in asked:
        with pytest.raises(StoreUnavailable, match="does not let the hub in"):
            ask()


def test_a_server_that_drips_is_given_up(s3_server: S3Server, clock):
    with FaultyLine(Line(mbit_s=1), int(s3_server.endpoint.rpartition(":")[2])) as line:
        patience = Patience(answer_s=0.5, bytes_per_s_min=10**9)
        bucket = f"bucket-{new_id()}"
        near = S3Store(s3_server.endpoint, bucket, s3_server.credentials, clock=clock, secure=False)
        near.ensure_bucket()
        near.put("a/b", BODY * 2, len(BODY) * 2)
        far = S3Store(
            f"127.0.0.1:{line.port}", bucket, s3_server.credentials, clock=clock, secure=False, patience=patience
        )
        with pytest.raises(StoreUnavailable, match="too slowly"):
            far.read("a/b")


def test_time_that_the_reader_takes_is_not_the_servers(s3_server: S3Server, clock):
    s3 = S3Store(
        s3_server.endpoint,
        f"bucket-{new_id()}",
        s3_server.credentials,
        clock=clock,
        secure=False,
        patience=Patience(answer_s=4, bytes_per_s_min=10**9),
    )
    s3.ensure_bucket()
    s3.put("a/b", BODY * 4, len(BODY) * 4)
    received = b""
    with s3.open("a/b") as chunks:
        for number, chunk in enumerate(chunks):
            received += chunk
            threading.Event().wait(4.5 if number == 0 else 0)
    assert received == BODY * 4
