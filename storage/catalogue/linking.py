"""Whether two patient records of different sites are one person: linked, suggested to a person, or nothing. Pure.

Linked only when national ID, name, birth date and sex all agree and nothing is in doubt; suggested when the national ID
agrees and something else does not, or when one side has none and the other three agree. Two different national IDs are
two persons. Whoever decides the doubtful ones is somebody else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import islice, product
from typing import Final

from storage.catalogue.name_keys import NAME_CHARACTERS_MAX, READINGS_MAX, Readings, parts_of
from storage.catalogue.tables import UNKNOWN_SEXES

WRITTEN_GROUPS: Final = 2  # of a PN: alphabetic and ideographic; the third says how it sounds (PS3.5 section 6.2)
PERSON_KEYS_MAX: Final = 32

# What stands for a name where nobody knew it, as `compact` writes it.
NOBODY: Final = frozenset(
    {"无名氏", "无名", "未具名", "佚名", "匿名", "未知", "anonymous", "anonymized", "unknown", "unnamed", "noname"}
)


class Trait(StrEnum):
    """What two records are compared by."""

    NATIONAL_ID = "national_id"
    NAME = "name"
    BIRTH_DATE = "birth_date"
    SEX = "sex"


class Likeness(StrEnum):
    """How one trait of two records compares."""

    AGREES = "agrees"
    SIMILAR = "similar"  # of names only: other characters that sound the same, pinyin, or the parts in another order
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # one of them, or neither, says it


class Doubt(StrEnum):
    """Why records whose four traits agree are not linked without a person."""

    SEVERAL_IDS = "several_ids"  # one record has more than one national ID
    ID_SHARED = "id_shared"  # another record of the same site has this national ID too
    ID_UNPROVED = "id_unproved"  # the number holds another birth date or sex than its record: perhaps somebody else's
    DISPUTED = "disputed"  # one record's own studies say two birth dates or sexes


class Verdict(StrEnum):
    """What follows."""

    LINKED = "linked"
    SUGGESTED = "suggested"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class IdentityFacts:
    """One patient record. National IDs are keys that say nothing themselves; equal keys are equal numbers.

    `proved_ids`: those whose number holds the record's own birth date and sex. `shared_ids`: those that another record
    of the same site has too.
    """

    name: str  # PN with its component groups
    birth_date: date | None
    sex: str
    national_ids: frozenset[str] = frozenset()
    proved_ids: frozenset[str] = frozenset()
    shared_ids: frozenset[str] = frozenset()
    is_disputed: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """What follows from two records, and why."""

    verdict: Verdict
    traits: Mapping[Trait, Likeness]
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    written: frozenset[str]  # in Hanzi, kana or Hangul
    latin: frozenset[str]
    spelt: frozenset[str]  # how either may be typed in letters, parts in any turn


def compare(one: IdentityFacts, other: IdentityFacts, readings: Readings) -> Comparison:
    """Return what two records of different sites are to each other; the same whichever comes first."""
    traits = {
        Trait.NATIONAL_ID: _compare_ids(one, other),
        Trait.NAME: compare_names(one.name, other.name, readings),
        Trait.BIRTH_DATE: _compare_values(one.birth_date, other.birth_date),
        Trait.SEX: _compare_values(_known_sex(one.sex), _known_sex(other.sex)),
    }
    doubts = tuple(_doubts(one, other))
    return Comparison(_decide(traits, doubts), traits, doubts)


def compare_names(one: str, other: str, readings: Readings) -> Likeness:
    """Return how two PN compare: by characters where both have them, else by how they are typed in letters."""
    first, second = _parse_name(one, readings), _parse_name(other, readings)
    if not (first.spelt and second.spelt):
        return Likeness.UNKNOWN
    if first.written and second.written:
        is_same = bool(first.written & second.written)
    else:
        is_same = not first.written and not second.written and bool(first.latin & second.latin)
    if is_same:
        return Likeness.AGREES
    return Likeness.SIMILAR if first.spelt & second.spelt else Likeness.DIFFERS


def person_keys(facts: IdentityFacts, readings: Readings) -> frozenset[str]:
    """Return texts of which two records share one whose birth date and sex agree and whose names agree or are similar.

    None for a record that does not say all three. They name the patient: never keep them as they are.
    """
    sex = _known_sex(facts.sex)
    if facts.birth_date is None or sex is None:
        return frozenset()
    spelt = sorted(_parse_name(facts.name, readings).spelt)
    return frozenset(f"{facts.birth_date.isoformat()}|{sex}|{name}" for name in spelt[:PERSON_KEYS_MAX])


def _decide(traits: Mapping[Trait, Likeness], doubts: Sequence[Doubt]) -> Verdict:
    alike = {trait for trait, likeness in traits.items() if likeness is Likeness.AGREES}
    match traits[Trait.NATIONAL_ID]:
        case Likeness.AGREES:
            return Verdict.LINKED if len(alike) == len(Trait) and not doubts else Verdict.SUGGESTED
        case Likeness.UNKNOWN:
            named = traits[Trait.NAME] in (Likeness.AGREES, Likeness.SIMILAR)
            return Verdict.SUGGESTED if named and {Trait.BIRTH_DATE, Trait.SEX} <= alike else Verdict.NOTHING
        case _:
            return Verdict.NOTHING


def _doubts(one: IdentityFacts, other: IdentityFacts) -> list[Doubt]:
    common = one.national_ids & other.national_ids
    found = {
        Doubt.SEVERAL_IDS: len(one.national_ids) > 1 or len(other.national_ids) > 1,
        Doubt.ID_SHARED: bool(common & (one.shared_ids | other.shared_ids)),
        Doubt.ID_UNPROVED: bool(common - (one.proved_ids & other.proved_ids)),
        Doubt.DISPUTED: one.is_disputed or other.is_disputed,
    }
    return [doubt for doubt, is_so in found.items() if is_so]


def _compare_ids(one: IdentityFacts, other: IdentityFacts) -> Likeness:
    if not (one.national_ids and other.national_ids):
        return Likeness.UNKNOWN
    return Likeness.AGREES if one.national_ids & other.national_ids else Likeness.DIFFERS


def _compare_values(one: object, other: object) -> Likeness:
    if one is None or other is None:
        return Likeness.UNKNOWN
    return Likeness.AGREES if one == other else Likeness.DIFFERS


def _known_sex(sex: str) -> str | None:
    return None if sex in UNKNOWN_SEXES else sex


def _parse_name(name: str, readings: Readings) -> _Name:
    written, latin, spelt = set(), set(), set()
    for group in name.split("=")[:WRITTEN_GROUPS]:
        parts = parts_of(group[:NAME_CHARACTERS_MAX])
        letters = "".join(parts)
        if not letters or letters in NOBODY:
            continue
        if any(unicodedata.east_asian_width(letter) == "W" for letter in letters):
            written.add(letters)
            spelt.update(_spell(letters, readings))
        else:
            latin.add(letters)
            spelt.update("".join((*parts[turn:], *parts[:turn])) for turn in range(len(parts)))
    return _Name(frozenset(written), frozenset(latin), frozenset(spelt))


def _spell(letters: str, readings: Readings) -> list[str]:
    alternatives = [readings(letter) or (letter,) for letter in letters]
    return ["".join(syllables) for syllables in islice(product(*alternatives), READINGS_MAX)]
