"""What an S3 server does beyond the contract of all stores: it keeps versions, and encrypts what it is told to."""

from __future__ import annotations

import io

import pytest
import urllib3
from minio import Minio

from storage.contract.identifiers import new_id
from storage.objects.protocol import ObjectMissing
from storage.objects.s3 import S3Store
from tests.contract.test_object_store import BODY, send, sha256
from tests.support.s3_server import S3Server


def make_store(server: S3Server, clock, *, versioned: bool = False, encryption: str = "none") -> tuple[S3Store, Minio]:
    """Return a store on a bucket of its own, and another client that looks at it."""
    bucket = f"bucket-{new_id()}"
    store = S3Store(server.endpoint, bucket, server.credentials, clock=clock, secure=False, encryption=encryption)
    store.ensure_bucket(versioned=versioned)
    credentials = server.credentials
    client = Minio(
        server.endpoint,
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        region=credentials.region,
        secure=False,
    )
    return store, client


def versions_of(store: S3Store, client: Minio, key: str) -> list[tuple[str, bool]]:
    found = client.list_objects(store._bucket, prefix=key, include_version=True)
    return [(str(one.version_id), bool(one.is_delete_marker)) for one in found]


def test_what_is_written_over_or_deleted_can_be_had_back(s3_server: S3Server, clock):
    store, client = make_store(s3_server, clock, versioned=True)
    store.put("a/b", b"first", 5)
    store.put("a/b", b"other", 5)
    store.delete("a/b")
    with pytest.raises(ObjectMissing):
        store.read("a/b")
    versions = versions_of(store, client, "a/b")
    assert len(versions) == 3
    bodies = set()
    for version_id, is_marker in versions:
        if not is_marker:
            with client.get_object(store._bucket, "a/b", version_id=version_id) as answer:
                bodies.add(answer.read())
    assert bodies == {b"first", b"other"}


def test_erasing_leaves_no_version_and_no_marker(s3_server: S3Server, clock):
    store, client = make_store(s3_server, clock, versioned=True)
    for body in (b"first", b"other"):
        store.put("a/b", body, 5)
    store.delete("a/b")
    store.put("a/bc", b"other", 5)
    store.erase("a/b")
    assert len(versions_of(store, client, "a/b")) == 1, "that of the other object, whose key begins alike"


@pytest.mark.parametrize(("versioned", "words"), [(True, "keeps versions"), (False, "keeps no versions")])
def test_check_says_what_the_bucket_does(s3_server: S3Server, clock, versioned: bool, words: str):
    store, client = make_store(s3_server, clock, versioned=versioned)
    assert words in store.check()
    assert versions_of(store, client, "check/") == []


def test_every_object_is_encrypted_when_the_store_is_told_to(s3_server: S3Server, clock):
    store, client = make_store(s3_server, clock, encryption="sse-s3")
    store.put("a/put", b"x", 1)
    store.copy("a/put", "a/copied")
    parts = [f"a/part-{number}" for number in (1, 2)]
    for part in parts:
        store.put(part, io.BytesIO(BODY * 5), len(BODY) * 5)
    store.compose(parts, "a/composed")
    store.compose(["a/put", "a/put"], "a/concatenated")
    request = store.presign_put("a/uploaded", size_bytes=len(BODY), sha256=sha256(BODY), expires_s=60)
    assert send(request, BODY) == 200
    for key in ("a/put", "a/copied", "a/composed", "a/concatenated", "a/uploaded"):
        metadata = urllib3.HTTPHeaderDict(client.stat_object(store._bucket, key).metadata or {})
        assert metadata.get("x-amz-server-side-encryption") == "AES256", key
    without = {name: value for name, value in request.headers.items() if "encryption" not in name}
    again = store.presign_put("a/again", size_bytes=len(BODY), sha256=sha256(BODY), expires_s=60)
    assert send(again, BODY, without) == 403, "an upload that leaves the encryption out is not the one that was signed"
