"""When one physician may sign a report alone (单医师报告), and what stands against it. Pure.

The two-physician rule is the rule. An agreement may allow what the reference norm leaves open: an attending physician
or a more senior one signs a plain film alone, where nothing about it is urgent or in doubt, and declares it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from reading_queue.domain.modality import NOT_IMAGES
from reading_queue.domain.roles import VERIFIER_TITLE_MIN, Title
from storage.contract.lanes import Lane

PLAIN_FILM: Final = frozenset({"CR", "DX"})  # modality codes of PS3.3 section C.7.3.1.1.1
NEVER_ALONE: Final = frozenset({Lane.STAT, Lane.URGENT})  # what is an emergency is read by two


class Obstacle(StrEnum):
    """Why the report needs a second physician."""

    NOT_AGREED = "not_agreed"
    TITLE_TOO_LOW = "title_too_low"
    NOT_PLAIN_FILM = "not_plain_film"
    EMERGENCY = "emergency"
    RETURNED = "returned"  # a second physician has looked at it already, and gave the text back
    IN_DOUBT = "in_doubt"  # order and images contradict each other
    NOT_A_FIRST_READING = "not_a_first_reading"  # a verification, or an amendment of what was signed


WORDS: Final = {
    Obstacle.NOT_AGREED: "the agreement under which it is read does not allow one physician to sign alone today",
    Obstacle.TITLE_TOO_LOW: "only an attending physician or a more senior one may sign alone",
    Obstacle.NOT_PLAIN_FILM: "only a plain film (CR, DX) may be signed by one physician",
    Obstacle.EMERGENCY: "an emergency needs a second physician",
    Obstacle.RETURNED: "a second physician has given this text back, and must see it again",
    Obstacle.IN_DOUBT: "order and images do not seem to be of one person; that has to be settled first",
    Obstacle.NOT_A_FIRST_READING: "only a first reading may be signed by one physician, no verification or amendment",
}


@dataclass(frozen=True, slots=True)
class AgreedTerms:
    """What the agreement says under which the physician was asked; both days belong to it."""

    single_physician: bool
    valid_from: date
    valid_until: date


@dataclass(frozen=True, slots=True)
class Reading:
    """What is about to be signed. `modalities` are those of all series of all studies of the case."""

    title: Title
    modalities: frozenset[str]
    lane: Lane
    is_green_channel: bool
    was_returned: bool
    is_in_doubt: bool
    is_first_reading: bool


def find_obstacles(terms: AgreedTerms | None, reading: Reading, today: date) -> tuple[Obstacle, ...]:
    """Return everything that stands against one physician alone; nothing when they may. `today` is the site's date."""
    is_agreed = terms is not None and terms.single_physician and terms.valid_from <= today <= terms.valid_until
    return tuple(_found(reading, is_agreed=is_agreed))


def _found(reading: Reading, *, is_agreed: bool) -> Iterable[Obstacle]:
    if not is_agreed:
        yield Obstacle.NOT_AGREED
    if reading.title.rank < VERIFIER_TITLE_MIN.rank:
        yield Obstacle.TITLE_TOO_LOW
    if not _is_plain_film(reading.modalities):
        yield Obstacle.NOT_PLAIN_FILM
    if reading.lane in NEVER_ALONE or reading.is_green_channel:
        yield Obstacle.EMERGENCY
    if reading.was_returned:
        yield Obstacle.RETURNED
    if reading.is_in_doubt:
        yield Obstacle.IN_DOUBT
    if not reading.is_first_reading:
        yield Obstacle.NOT_A_FIRST_READING


def _is_plain_film(modalities: frozenset[str]) -> bool:
    images = modalities - NOT_IMAGES
    return bool(images) and images <= PLAIN_FILM
