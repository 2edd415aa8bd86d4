"""Where a page of a list ends, as a word that clients give back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reading_queue.domain.page_places import Place


@pytest.mark.parametrize("key", ["a" * 32, "1.2.840 b", "王"])
def test_a_place_is_one_word_of_an_address_and_comes_back_to_the_microsecond(key: str) -> None:
    place = Place(datetime(2026, 3, 2, 1, 0, 0, 123456, UTC), key)
    assert place.text().replace("-", "").replace("_", "").isalnum()
    assert Place.of_text(place.text()) == place


@pytest.mark.parametrize(
    "text", ["2", "!", "MjAyNi0wMy0wMg", "MjAyNi0wMy0wMiB4", "_w", Place(datetime(2026, 3, 2, tzinfo=UTC), "\n").text()]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whichever: the caller says in words what to do
        Place.of_text(text)
