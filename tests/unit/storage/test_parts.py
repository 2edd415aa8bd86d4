"""A large pack is cut into parts that every S3 composes, and back together they are the pack."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.contract.identifiers import Sha256Hex, Uid
from storage.contract.wire import PARTS_PER_PACK_MAX
from storage.packs import PackMember, digest_pack, layout_of, plan_parts
from storage.packs.layout import PACK_BYTES_MAX
from storage.packs.parts import PART_BYTES_MAX, PART_BYTES_MIN, find_fault_of_parts

GIB = 1024**3


@given(st.integers(PACK_BYTES_MAX + 1, 8 * GIB), st.integers(0, 64 * 1024 * 1024))
def test_parts_cover_the_pack_without_gaps_in_sizes_that_every_store_composes(size_bytes: int, target_bytes: int):
    parts = plan_parts(size_bytes, target_bytes=target_bytes)
    assert [part.offset_bytes for part in parts] == [
        sum(one.size_bytes for one in parts[:number]) for number in range(len(parts))
    ]
    assert len(parts) <= PARTS_PER_PACK_MAX
    numbers, sizes = [part.number for part in parts], [part.size_bytes for part in parts]
    assert find_fault_of_parts(size_bytes, numbers, sizes) is None
    assert len(set(sizes[:-1])) == 1
    assert PART_BYTES_MIN <= sizes[0] <= PART_BYTES_MAX


def test_small_pack_has_no_parts():
    assert plan_parts(PACK_BYTES_MAX, target_bytes=PART_BYTES_MIN) == ()


@pytest.mark.parametrize(
    ("numbers", "sizes", "words"),
    [
        ([1, 3], [PACK_BYTES_MAX, 1], "without gaps"),
        ([1, 2], [PACK_BYTES_MAX, 2], "together"),
        ([1, 2], [PART_BYTES_MIN - 1, PACK_BYTES_MAX - PART_BYTES_MIN + 2], "a part has"),
        ([1, 2, 3], [PART_BYTES_MAX, 1, 0], "a part has"),
        ([1], [PACK_BYTES_MAX + 1], "last part"),
    ],
)
def test_wrong_cut_is_told_in_words(numbers: list[int], sizes: list[int], words: str):
    assert words in (find_fault_of_parts(PACK_BYTES_MAX + 1, numbers, sizes) or "")


def test_digests_of_whole_and_parts_come_from_one_reading():
    content = bytes(range(256)) * 80_000  # 20 MB
    member = PackMember(Uid("1.2.3"), len(content), Sha256Hex(hashlib.sha256(content).hexdigest()))
    layout = layout_of("clinic-1", "1.2", [member])
    parts = plan_parts(layout.size_bytes, target_bytes=PART_BYTES_MIN)
    opened = []

    def open_member(_: PackMember) -> io.BytesIO:
        opened.append(io.BytesIO(content))
        return opened[-1]

    digests = digest_pack(layout, open_member, parts)
    assert len(opened) == 1
    whole = digest_pack(layout, open_member, ()).whole
    assert digests.whole == whole
    assert len(digests.parts) == len(parts) == 4
