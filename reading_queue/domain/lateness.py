"""Where the time of a case went: from its clocks, one span after the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Span(StrEnum):
    """What a case waited for."""

    TO_ARRIVE = "to_arrive"  # from the start of the examination to the first image at the clinic's gateway
    TO_TRANSFER = "to_transfer"  # until all of it was here and could be offered
    TO_OFFER = "to_offer"  # until somebody could be asked
    TO_CLAIM = "to_claim"  # until somebody took it
    TO_WRITE = "to_write"  # until its author signed
    TO_VERIFY = "to_verify"  # until the second physician signed


@dataclass(frozen=True, slots=True)
class Spent:
    """One span of a case's way; `is_open`: it lasts still."""

    span: Span
    lasted: timedelta
    is_open: bool = False


def spans_of(moments: Sequence[datetime | None], now: datetime) -> list[Spent]:
    """Return how long each span lasted.

    `moments`: start of the examination, first image, ready, offered, claimed, submitted, signed; None where it is not
    known or not reached. What is not known goes into the span after it; a moment before the one before counts as it.
    """
    found: list[Spent] = []
    at = next((moment for moment in moments if moment is not None), now)
    is_over = moments[-1] is not None
    last = max((place for place, moment in enumerate(moments) if moment is not None), default=0)
    for place, span in enumerate(Span, start=1):
        moment = moments[place]
        if moment is not None:
            found.append(Spent(span, max(moment - at, timedelta())))
            at = max(at, moment)
        elif place > last and not is_over:
            found.append(Spent(span, max(now - at, timedelta()), is_open=True))
            break
    return found
