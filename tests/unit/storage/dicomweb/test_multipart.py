"""Multipart answers have the length that they declare, and other programs read them."""

from __future__ import annotations

from collections.abc import Iterable
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path

import pytest

from gateway.clock import utc_now
from storage.dicomweb.multipart import PIECE_BYTES, Multipart, Part
from storage.dicomweb.stored_body import StoredBody
from storage.objects.directory import CHUNK_BYTES, DirectoryStore

CONTENT = bytes(range(250)) * 20_000  # 5 MB


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path, public_url="", secret=b"s" * 32, clock=utc_now)
    store.put("a", CONTENT, len(CONTENT))
    return store


def read(multipart: Multipart, pieces: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Read an answer with the standard library's parser."""
    raw = f"Content-Type: {multipart.content_type}\r\n\r\n".encode() + b"".join(pieces)
    parts = message_from_bytes(raw, policy=HTTP).iter_parts()
    return [
        (
            f"{part.get_content_type()}; transfer-syntax={part.get_param('transfer-syntax')}",
            part.get_payload(decode=True),
        )
        for part in parts
    ]


def test_parts_come_out_as_they_went_in(store: DirectoryStore) -> None:
    parts: list[Part] = [
        ("image/jpeg; transfer-syntax=1.2", b"\xff\xd8\x00"),
        ("image/jpeg; transfer-syntax=1.2", StoredBody("a", [(5, 100)])),
        ("image/jpeg; transfer-syntax=1.2", b"two\r\nlines"),
        ("image/jpeg; transfer-syntax=1.2", StoredBody("a", [(200, 50), (0, 2)])),
    ]
    multipart = Multipart("image/jpeg")
    expected = [parts[0][1], CONTENT[5:105], parts[2][1], CONTENT[200:250] + CONTENT[:2]]
    found = read(multipart, multipart.pieces(store, parts))
    assert found == [("image/jpeg; transfer-syntax=1.2", body) for body in expected]


def test_parts_that_are_made_come_out_as_they_were_made() -> None:
    multipart = Multipart("application/dicom")
    made = multipart.made(
        [("application/dicom; transfer-syntax=1.2", [b"one ", b"and"]), ("a/b; transfer-syntax=1", [])]
    )
    assert read(multipart, made) == [
        ("application/dicom; transfer-syntax=1.2", b"one and"),
        ("a/b; transfer-syntax=1", b""),
    ]


def test_length_is_exact(store: DirectoryStore) -> None:
    multipart = Multipart("image/jphc")
    parts: list[Part] = [("image/jphc", b"x" * 1000), ("image/jphc", b""), ("image/jphc", StoredBody("a", [(3, 77)]))]
    assert multipart.size_bytes(parts) == len(b"".join(multipart.pieces(store, parts)))


def test_type_names_the_media_type_without_its_parameters() -> None:
    assert 'type="image/jls";' in Multipart("image/jls; transfer-syntax=1.2").content_type


def test_large_body_is_sent_in_bounded_pieces_and_small_ones_together(store: DirectoryStore) -> None:
    multipart = Multipart("application/dicom")
    large: list[Part] = [("application/dicom", StoredBody("a", [(1000, 4_000_000), (0, 500)]))]
    assert max(len(piece) for piece in multipart.pieces(store, large)) < PIECE_BYTES + CHUNK_BYTES
    small: list[Part] = [("application/dicom", StoredBody("a", [(number * 10, 10)])) for number in range(1000)]
    assert len(list(multipart.pieces(store, small))) == 1
