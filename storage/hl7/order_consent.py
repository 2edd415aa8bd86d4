"""Whether the patient agreed to the remote read: a consent segment (CON, 2.5.1 chapter 9) or an observation. Pure.

Only types and observations that the settings name are believed: a consent to an operation is none to a remote read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import Message

ACTIVE: Final = "A"  # CON-11, table 0498; all else (limited, pending, refused, rescinded, bypassed) is no consent
_YES: Final = frozenset({"Y", "YES", "1", "373066001"})  # OBX-5: table 0136, SNOMED CT
_NO: Final = frozenset({"N", "NO", "0", "373067005"})


@dataclass(frozen=True, slots=True)
class SaidConsent:
    """What a message says. `given` is None where it is not understood; `at` is as sent, empty where nothing is.

    `by`: who agreed, empty where it is the patient. `moment` is `at`, once it was read.
    """

    given: bool | None
    by: str
    at: str
    where: str
    at_where: str
    moment: datetime | None = None


def read_consent(
    message: Message, observations: Sequence[int], segments: Sequence[int], codes: LocalCodes
) -> SaidConsent | None:
    """Return the consent among these OBX and CON segments; of several, one that is not given counts before the others.

    None where there is none.
    """
    found = [*_from_segments(message, segments, codes), *_from_observations(message, observations, codes)]
    return min(found, key=lambda one: one.given is True, default=None)


def is_about_consent(message: Message, place: int, codes: LocalCodes) -> bool:
    """Return whether the OBX at this place says whether somebody agreed."""
    return any(message.at(place, 3, component).strip().upper() in codes.consents for component in (1, 4))


def _from_segments(message: Message, segments: Sequence[int], codes: LocalCodes) -> Iterator[SaidConsent]:
    for place in segments:
        kinds = {message.at(place, 2, component).strip().upper() for component in (1, 4)}
        if kinds.isdisjoint(codes.consents):
            continue
        number = next((one for one in (13, 14) if message.at(place, one).strip()), 13)
        name = "".join(message.at(place, 24, component).strip() for component in (1, 2))
        status = message.at(place, 11).strip().upper()
        at = message.at(place, number).strip()
        yield SaidConsent(status == ACTIVE if status else None, name, at, "CON-11", f"CON-{number}")


def _from_observations(message: Message, places: Sequence[int], codes: LocalCodes) -> Iterator[SaidConsent]:
    for place in places:
        if is_about_consent(message, place, codes):
            value = message.at(place, 5).strip().upper()
            given = True if value in _YES else False if value in _NO else None
            yield SaidConsent(given, "", message.at(place, 14).strip(), "OBX-5", "OBX-14")
