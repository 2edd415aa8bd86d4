"""Which studies at the PACS are earlier ones of the same person, and which of them to fetch. Pure.

A patient number alone names nobody: clinics give numbers anew, and two systems count on their own. Where birth date,
sex or name of both sides can be compared and differ, the study is somebody else's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from storage.contract.identifiers import Uid
from storage.contract.priors import PriorRequest

DAYS_PER_YEAR: Final = 365.25
UNKNOWN_SEXES: Final = ("", "O")


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """One answer of the PACS. `instance_count` is None where it does not say."""

    study_uid: Uid
    patient_number: str
    patient_name: str  # PN, its component groups between =
    birth_date: date | None
    sex: str
    study_date: date | None
    modalities: frozenset[str]
    description: str = ""
    instance_count: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """`fetch` in the order in which to fetch; `found` are all of this person's, `here` of them here or at the hub.

    `other_people`: studies under the same number that are not of this person.
    """

    fetch: tuple[FoundStudy, ...]
    found: int
    here: int
    other_people: int


def choose(
    request: PriorRequest,
    answers: Sequence[FoundStudy],
    *,
    studies_max: int,
    years_max: float,
    known: Collection[Uid] = (),
) -> Choice:
    """Return what to fetch: earlier than the case's day, the same modality and body part first, then the newest.

    Studies without a date, or of the case's own day, may be on their way here to be read, and are left alone.
    """
    before = request.study_date or request.requested_at.date()
    oldest = before - timedelta(days=min(years_max, request.years_max) * DAYS_PER_YEAR)
    of_number = [one for one in answers if one.patient_number == request.patient_number]
    of_number = [one for one in of_number if one.study_uid != request.study_uid]
    same = [one for one in of_number if is_same_person(request, one)]
    earlier = {one.study_uid: one for one in same if one.study_date is not None and oldest <= one.study_date < before}
    here = {*request.held, *known}
    wanted = [one for uid, one in earlier.items() if uid not in here]
    wanted.sort(key=lambda one: (_distance(request, one), -(one.study_date or oldest).toordinal(), one.study_uid))
    taken = sum(1 for uid in earlier if uid in here)
    room = max(0, min(studies_max, request.studies_max) - taken)
    return Choice(tuple(wanted[:room]), len(earlier), taken, len(of_number) - len(same))


def is_same_person(request: PriorRequest, study: FoundStudy) -> bool:
    """Return whether a study under the same patient number is of the same person.

    Nothing that both sides say may differ, and birth date or sex must be among what both say: a name alone proves
    nothing.
    """
    if study.patient_number != request.patient_number:
        return False
    compared = 0
    if request.birth_date is not None and study.birth_date is not None:
        if request.birth_date != study.birth_date:
            return False
        compared += 1
    if request.sex not in UNKNOWN_SEXES and study.sex not in UNKNOWN_SEXES:
        if request.sex != study.sex:
            return False
        compared += 1
    return compared > 0 and names_agree(request.patient_name, study.patient_name)


def names_agree(one: str, other: str) -> bool:
    """Return whether two PN may name one person: the same in Hanzi where both have them, else in letters.

    A name in Hanzi alone and one in letters alone cannot be compared, and do not disagree.
    """
    for wide in (True, False):
        left, right = _written(one, wide=wide), _written(other, wide=wide)
        if left and right:
            return not left.isdisjoint(right)
    return True


def _written(name: str, *, wide: bool) -> set[str]:
    """Return the component groups of a PN in Hanzi (`wide`) or in letters, without what divides their parts."""
    groups = (unicodedata.normalize("NFKC", group).casefold() for group in name.split("="))
    plain = ("".join(letter for letter in group if letter.isalnum()) for group in groups)
    return {group for group in plain if group and any(map(_is_wide, group)) is wide}


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) == "W"


def _distance(request: PriorRequest, study: FoundStudy) -> int:
    """Return how unlike the case's study it is: 0 for the same modality and body part, 3 for neither."""
    other_modality = bool(request.modalities) and study.modalities.isdisjoint(request.modalities)
    part = request.body_part.casefold()
    other_part = bool(part) and part not in study.description.casefold()
    return 2 * other_modality + other_part
