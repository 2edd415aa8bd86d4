"""When one physician may sign alone: every combination of what counts, against the rule typed apart from the code."""

from __future__ import annotations

from datetime import date
from itertools import product

import pytest

from reading_queue.domain.roles import Title
from reading_queue.domain.single_physician import WORDS, AgreedTerms, Obstacle, Reading, find_obstacles
from storage.contract.lanes import Lane

TODAY = date(2026, 3, 2)
ALLOWED = AgreedTerms(single_physician=True, valid_from=date(2026, 1, 1), valid_until=date(2026, 12, 31))
PLAIN = {frozenset({"DX"}), frozenset({"CR"}), frozenset({"CR", "DX"}), frozenset({"DX", "PR", "SR"})}
OTHERS = {
    frozenset({"CT"}),
    frozenset({"CT", "DX"}),
    frozenset({"DX", "US"}),
    frozenset({"MG"}),
    frozenset({"RF"}),
    frozenset({"SR"}),
    frozenset(),
}


def reading(**changes: object) -> Reading:
    facts: dict[str, object] = {
        "title": Title.ATTENDING,
        "modalities": frozenset({"DX"}),
        "lane": Lane.ROUTINE,
        "is_green_channel": False,
        "was_returned": False,
        "is_in_doubt": False,
        "is_first_reading": True,
    }
    return Reading(**{**facts, **changes})  # type: ignore[arg-type]


def test_one_physician_signs_alone_only_where_nothing_at_all_stands_against_it():
    may = 0
    for title, modalities, lane in product(Title, sorted(PLAIN | OTHERS, key=sorted), Lane):
        for green, returned, doubt, first, agreed in product((False, True), repeat=5):
            terms = ALLOWED if agreed else AgreedTerms(False, ALLOWED.valid_from, ALLOWED.valid_until)
            found = find_obstacles(
                terms,
                reading(
                    title=title,
                    modalities=modalities,
                    lane=lane,
                    is_green_channel=green,
                    was_returned=returned,
                    is_in_doubt=doubt,
                    is_first_reading=first,
                ),
                TODAY,
            )
            expected = {
                Obstacle.NOT_AGREED: not agreed,
                Obstacle.TITLE_TOO_LOW: title == "resident",
                Obstacle.NOT_PLAIN_FILM: modalities not in PLAIN,
                Obstacle.EMERGENCY: lane in ("stat", "urgent") or green,
                Obstacle.RETURNED: returned,
                Obstacle.IN_DOUBT: doubt,
                Obstacle.NOT_A_FIRST_READING: not first,
            }
            assert set(found) == {one for one, stands in expected.items() if stands}
            may += not found
    assert may == 3 * len(PLAIN) * 2


@pytest.mark.parametrize(
    ("terms", "today", "may"),
    [
        (None, TODAY, False),
        (ALLOWED, date(2026, 1, 1), True),
        (ALLOWED, date(2026, 12, 31), True),
        (ALLOWED, date(2025, 12, 31), False),
        (ALLOWED, date(2027, 1, 1), False),
    ],
)
def test_the_agreement_counts_on_its_days_alone(terms: AgreedTerms | None, today: date, may: bool):
    assert (find_obstacles(terms, reading(), today) == ()) == may


def test_every_obstacle_has_words():
    assert set(WORDS) == set(Obstacle)
