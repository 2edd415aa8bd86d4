"""What is computed from the times of searches."""

from __future__ import annotations

import pytest

from tests.benchmarks.archive_of_studies import NAMES_COUNT, STUDIES_PER_PATIENT, name_of
from tests.benchmarks.bench_qido import flatness, initials_of, percentile_95, pinyin_of


def test_of_a_hundred_searches_ninety_five_are_quicker() -> None:
    assert percentile_95([float(number) for number in range(1, 101)]) == pytest.approx(95.95)


def test_flatness_is_that_of_the_kind_that_suffers_most() -> None:
    small = {"x: day": [1.0, 2.0, 9.0], "x: newest": [4.0, 4.0, 4.0], "x: patient name": [1.0, 1.0, 1.0]}
    large = {"x: day": [3.0, 3.0, 3.0], "x: newest": [4.0, 5.0, 99.0], "x: patient name": [9.0, 9.0, 9.0]}
    assert flatness(small, large) == 1.5


def test_names_are_many_and_told_by_the_number_of_the_study() -> None:
    assert len({name_of(number * STUDIES_PER_PATIENT) for number in range(NAMES_COUNT)}) == NAMES_COUNT
    assert name_of(0) == "王^伟伟"
    assert (pinyin_of(0), initials_of(0)) == ("wangweiwei", "www")
