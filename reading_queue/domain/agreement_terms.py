"""What two agreements may not both say, and what follows when one is changed from a day on. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

ONE_DAY: Final = timedelta(days=1)
_GENERATION: Final = re.compile(r"-v[0-9]+$")

Terms = Mapping[str, Any]  # by the names of services.network.agreements.TERMS


def find_overlapping(terms: Terms, others: Iterable[tuple[str, Terms]], today: date) -> str | None:
    """Return the first other agreement between which and these terms nothing could choose, None when there is none.

    That is: the same pair and stage, and one modality, region, service and day in common, today or later.
    """
    return next((agreement_id for agreement_id, other in others if _overlap(terms, other, today)), None)


def _overlap(one: Terms, other: Terms, today: date) -> bool:
    same = ("requesting_organisation_id", "assisting_organisation_id", "stage")
    return (
        all(one[name] == other[name] for name in same)
        and max(one["valid_from"], other["valid_from"], today) <= min(one["valid_until"], other["valid_until"])
        and share(one["modalities"], other["modalities"])
        and share(one["body_regions"], other["body_regions"])
        and not set(one["services"]).isdisjoint(other["services"])
    )


def share(one: Collection[str], other: Collection[str]) -> bool:
    """Return whether both name the same thing, in capitals or not; naming nothing means everything."""
    return not one or not other or not {name.upper() for name in one}.isdisjoint(name.upper() for name in other)


def split_at(before: Terms, after: Terms, from_day: date, today: date) -> tuple[Terms | None, Terms]:
    """Return what remains of the present terms until the day before `from_day`, and the terms from then on.

    Nothing remains of terms that are changed from today or earlier: they are changed as they stand.
    """
    if from_day <= today or before["valid_from"] >= from_day:
        return None, after
    return {**before, "valid_until": from_day - ONE_DAY}, {**after, "valid_from": from_day}


def last_day_of(before: Terms, wanted: date) -> date:
    """Return the last day of an agreement that ends: one that has not begun by then never comes in force."""
    begins: date = before["valid_from"]
    return max(wanted, begins - ONE_DAY)


def successor(agreement_id: str, taken: Collection[str]) -> str:
    """Return the id for the terms that follow: `renmin-first:qinghe-t01` goes on as `renmin-first-v2:qinghe-t01`."""
    code, colon, requesting = agreement_id.partition(":")
    base, number = _GENERATION.sub("", code), 2
    while f"{base}-v{number}{colon}{requesting}" in taken:
        number += 1
    return f"{base}-v{number}{colon}{requesting}"
