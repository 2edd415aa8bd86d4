"""What goes wrong in a store is said in words, and leaves nothing half stored."""

from __future__ import annotations

import io
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectMissing, ObjectRejected, StoreUnavailable
from storage.objects.s3 import S3Store
from storage.objects.sigv4 import S3Credentials

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects", public_url="http://hub.example", secret=b"s" * 32, clock=lambda: NOW)


@pytest.mark.parametrize("size_bytes", [100, 600_000], ids=["fails when flushed", "fails when written"])
def test_a_disk_that_fills_during_an_upload_is_said_in_words(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    store.put("a/kept", b"k", 1)
    (store.uploads / "full").symlink_to("/dev/full")  # the kernel itself says that there is no space
    monkeypatch.setattr("storage.objects.directory.new_id", lambda: "full")
    with pytest.raises(StoreUnavailable, match="disk of the object store is full; nothing was stored"):
        store.put("a/b", b"x" * size_bytes, size_bytes)
    assert list(store.uploads.iterdir()) == []
    assert list(store.list_keys("")) == ["a/kept"]


def test_an_object_larger_than_the_free_space_is_refused_before_its_first_byte(store: DirectoryStore) -> None:
    with pytest.raises(StoreUnavailable, match="disk of the object store is full"):
        store.begin_put("a/b", 2**60)


def test_a_body_of_another_length_than_said_stores_nothing(store: DirectoryStore) -> None:
    for body in (b"short", b"much too long"):
        with pytest.raises(ObjectRejected, match="declared"):
            store.put("a/b", io.BytesIO(body), 8)
        with pytest.raises(ObjectMissing):
            store.stat("a/b")
    assert list(store.uploads.iterdir()) == []


def test_what_an_upload_left_at_a_crash_is_removed_at_the_next_start(store: DirectoryStore) -> None:
    upload = store.begin_put("a/b", 8)
    upload.write(b"half")
    assert len(list(store.uploads.iterdir())) == 1
    assert list(store.list_keys("")) == []
    store.remove_unfinished_uploads()
    assert list(store.uploads.iterdir()) == []
    upload.abort()


def test_an_s3_server_that_is_down_is_unavailable_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        s3 = S3Store(
            f"127.0.0.1:{taken.getsockname()[1]}",
            "bucket",
            S3Credentials("key", "secret", "us-east-1"),
            clock=lambda: NOW,
            secure=False,
        )
        with pytest.raises(StoreUnavailable, match="the S3 server does not answer"):
            s3.read("a/b")
