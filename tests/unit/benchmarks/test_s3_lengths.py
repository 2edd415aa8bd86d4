"""How the peer of the S3 benchmark cuts its bytes."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench_s3 import OBJECT_BYTES, lengths_of


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, []),
        (1, [1]),
        (OBJECT_BYTES, [OBJECT_BYTES]),
        (2 * OBJECT_BYTES + 5, [OBJECT_BYTES, OBJECT_BYTES, 5]),
    ],
)
def test_bytes_are_cut_into_whole_objects_and_a_rest(size_bytes: int, expected: list[int]) -> None:
    assert list(lengths_of(size_bytes)) == expected
