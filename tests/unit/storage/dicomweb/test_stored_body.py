"""Bodies are read whole, in order, and neighbours by one request to the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import utc_now
from storage.dicomweb.stored_body import GAP_BYTES_MAX, StoredBody, read_bodies, read_body
from storage.objects.directory import CHUNK_BYTES, DirectoryStore
from storage.objects.protocol import ObjectMissing

CONTENT = bytes(range(250)) * 20_000  # 5 MB
SMALL = CONTENT[:1000]


class CountingStore(DirectoryStore):
    """Tells what was asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, public_url="", secret=b"s" * 32, clock=utc_now)
        self.asked: list[tuple[str, int, int | None]] = []

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        self.asked.append((key, offset, length))
        return super().open(key, offset=offset, length=length)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> CountingStore:
    store = CountingStore(tmp_path_factory.mktemp("objects"))
    store.put("large", CONTENT, len(CONTENT))
    store.put("small", SMALL, len(SMALL))
    return store


@pytest.fixture
def store(filled: CountingStore) -> CountingStore:
    filled.asked.clear()
    return filled


def read_all(store: CountingStore, bodies: list[StoredBody]) -> list[bytes]:
    found = [b""] * len(bodies)
    for number, piece in read_bodies(store, bodies):
        found[number] += piece
    return found


def test_neighbours_in_one_object_are_read_by_one_request(store: CountingStore) -> None:
    bodies = [StoredBody("large", [(512 + number * 1_000_000, 999_000)]) for number in range(4)]
    assert read_all(store, bodies) == [CONTENT[start : start + 999_000] for start in range(512, 4_000_000, 1_000_000)]
    assert store.asked == [("large", 512, 3_999_000)]


def test_what_lies_far_apart_backwards_or_elsewhere_is_asked_for_by_itself(store: CountingStore) -> None:
    far = 10 + GAP_BYTES_MAX + 1
    bodies = [
        StoredBody("large", [(0, 10)]),
        StoredBody("large", [(far, 10), (20, 10)]),
        StoredBody("small", [(30, 5)]),
    ]
    assert read_all(store, bodies) == [CONTENT[:10], CONTENT[far : far + 10] + CONTENT[20:30], SMALL[30:35]]
    assert store.asked == [("large", 0, 10), ("large", far, 10), ("large", 20, 10), ("small", 30, 5)]


def test_pieces_are_bounded(store: CountingStore) -> None:
    pieces = [piece for _, piece in read_bodies(store, [StoredBody("large", [(7, len(CONTENT) - 7)])])]
    assert b"".join(pieces) == CONTENT[7:]
    assert max(len(piece) for piece in pieces) <= CHUNK_BYTES


def test_object_that_ends_too_early_is_an_error_and_no_short_body(store: CountingStore) -> None:
    with pytest.raises(ObjectMissing, match="1 bytes too early"):
        read_body(store, StoredBody("small", [(0, 10), (990, 11)]))


def test_empty_bodies_ask_for_nothing(store: CountingStore) -> None:
    assert read_all(store, [StoredBody("large", []), StoredBody("large", [(5, 0)])]) == [b"", b""]
    assert store.asked == []


@given(st.lists(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 100)), max_size=4), max_size=6))
def test_every_body_comes_out_as_its_spans_say(filled: CountingStore, spans: list[list[tuple[int, int]]]) -> None:
    bodies = [StoredBody("small", of_one) for of_one in spans]
    expected = [b"".join(SMALL[offset : offset + length] for offset, length in of_one) for of_one in spans]
    assert read_all(filled, bodies) == expected
