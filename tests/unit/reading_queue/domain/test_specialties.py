"""Whose field a study is."""

from __future__ import annotations

from datetime import date

import pytest

from reading_queue.domain.specialties import specialties_for

TODAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("modality", "region", "birth_date", "expected"),
    [
        ("CT", "HEAD", date(1960, 5, 1), ("neuro",)),
        ("CT", "chest", None, ("chest",)),
        ("DX", "CHEST", date(2008, 3, 3), ("paediatric", "chest")),
        ("DX", "CHEST", date(2008, 3, 2), ("chest",)),  # eighteen today
        ("MG", "BREAST", date(1970, 1, 1), ("breast",)),
        ("US", "ABDOMEN", date(2026, 3, 1), ("paediatric", "ultrasound", "abdomen")),
        ("CT", "", None, ()),
        ("CT", "ABDOMEN/CHEST", None, ("abdomen", "chest")),  # read together
    ],
)
def test_the_most_telling_specialty_comes_first(
    modality: str, region: str, birth_date: date | None, expected: tuple[str, ...]
) -> None:
    assert specialties_for(modality, region, birth_date, TODAY) == expected
