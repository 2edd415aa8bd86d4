from __future__ import annotations

import pytest

from gateway.forwarder.packing import shared_target_bytes
from storage.contract.identifiers import Sha256Hex, Uid
from storage.packs import PackMember, plan_packs

MIB = 1024 * 1024


def packs_of(sizes: list[int], streams: int) -> int:
    members = [PackMember(Uid(f"1.2.{number}"), size, Sha256Hex("0" * 64)) for number, size in enumerate(sizes, 1)]
    return len(plan_packs(members, target_bytes=shared_target_bytes(sizes, 12 * MIB, streams)))


@pytest.mark.parametrize("streams", [1, 2, 4, 6])
def test_what_one_pack_could_hold_is_shared_among_the_streams(streams: int) -> None:
    assert packs_of([110_000] * 80, streams) == streams


def test_what_is_more_than_a_pack_for_each_stream_goes_in_packs_as_large_as_the_line_wants() -> None:
    assert shared_target_bytes([100_000] * 1000, 12 * MIB, 2) == 12 * MIB


def test_packs_stay_as_large_as_packs_are() -> None:
    assert packs_of([100_000] * 8, 6) == 1


def test_nothing_needs_no_share() -> None:
    assert shared_target_bytes([], 12 * MIB, 2) == 12 * MIB
