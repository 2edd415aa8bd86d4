"""How a pack that is too large for one upload is cut into numbered parts, which object storage itself composes. Pure.

Parts are counted from 1 and all but the last have one size. S3 composes parts of at least 5 MiB, the last one apart
(UploadPartCopy, CompleteMultipartUpload); Ceph demands the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from storage.packs.layout import PACK_BYTES_MAX

PART_BYTES_MIN: Final = 5 * 1024 * 1024
PART_BYTES_MAX: Final = PACK_BYTES_MAX


@dataclass(frozen=True, slots=True)
class PackPart:
    """Where one part of a pack lies in it."""

    number: int
    offset_bytes: int
    size_bytes: int


def plan_parts(pack_size_bytes: int, *, target_bytes: int) -> tuple[PackPart, ...]:
    """Return the parts of a pack, none for one that is uploaded whole.

    Parts are about `target_bytes` long, which is kept between 5 and 16 MiB; the last one is shorter.
    """
    if pack_size_bytes <= PACK_BYTES_MAX:
        return ()
    return place_parts(_sizes(pack_size_bytes, min(max(target_bytes, PART_BYTES_MIN), PART_BYTES_MAX)))


def place_parts(sizes_bytes: Sequence[int]) -> tuple[PackPart, ...]:
    """Return the parts of these sizes, one behind the other."""
    ends = list(itertools.accumulate(sizes_bytes))
    return tuple(
        PackPart(number, end - size, size) for number, (size, end) in enumerate(zip(sizes_bytes, ends, strict=True), 1)
    )


def find_fault_of_parts(pack_size_bytes: int, numbers: Sequence[int], sizes_bytes: Sequence[int]) -> str | None:
    """Return in words why these parts are not those of a pack of this size, None when they are or there are none."""
    if not numbers:
        return None
    if pack_size_bytes <= PACK_BYTES_MAX:
        return "a pack of this size is uploaded whole"
    if list(numbers) != list(range(1, len(numbers) + 1)):
        return "the parts are not numbered from 1 without gaps"
    if sum(sizes_bytes) != pack_size_bytes:
        return "the parts together are not as long as the pack"
    if any(not PART_BYTES_MIN <= size <= PART_BYTES_MAX for size in sizes_bytes[:-1]):
        return f"a part has {PART_BYTES_MIN} to {PART_BYTES_MAX} bytes, only the last one less"
    return None if 0 < sizes_bytes[-1] <= PART_BYTES_MAX else "the last part is empty or too long"


def _sizes(pack_size_bytes: int, part_bytes: int) -> list[int]:
    whole, rest = divmod(pack_size_bytes, part_bytes)
    return [part_bytes] * whole + ([rest] if rest else [])
