"""The keys under which a person's name is found: by its characters, its letters, its pinyin, and the pinyin's initials.

Pure. A name is found by the beginning of each of its parts, and every Chinese character begins a part: 王小东 by 王,
小东, wang, wangxiao, wangx, xiaodong, wxd or xd. A key is compared as a whole, so that an index answers at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, product
from typing import Final

KEY_CHARACTERS_MAX: Final = 24  # of one key: what is searched for is compared as far as this
NAME_CHARACTERS_MAX: Final = 64  # of one component group (PS3.5 section 6.2)
GROUPS_MAX: Final = 3
READINGS_MAX: Final = 8  # of one name, where its characters are read in several ways

Readings = Callable[[str], Sequence[str]]  # the ways to read a character, in pinyin without tones; none for others

_BETWEEN_PARTS: Final = re.compile(r"[\s^=*?]+")


def keys_of_name(name: str, readings: Readings) -> list[str]:
    """Return all keys of a PN (PS3.5 section 6.2), each component group for itself."""
    keys: set[str] = set()
    for group in name.split("=")[:GROUPS_MAX]:
        parts = parts_of(group[:NAME_CHARACTERS_MAX])
        keys.update(_beginnings(parts))
        alternatives = [readings(letter) or (letter,) for part in parts for letter in part]
        if any(map(_is_wide, "".join(parts))):
            for syllables in islice(product(*alternatives), READINGS_MAX):
                keys.update(_of_syllables(syllables))
    return sorted(keys)


def keys_of_search(text: str) -> list[str]:
    """Return the keys that a name has when all words of `text` are found in it; none when nothing is asked for."""
    words = (compact(word)[:KEY_CHARACTERS_MAX] for word in _BETWEEN_PARTS.split(text))
    return sorted({word for word in words if word})


def keys_of_pattern(pattern: str) -> list[str]:
    """Return keys that every name has in which a component group matches a DICOM pattern literally.

    There may be none: what begins inside a word has no key.
    """
    keys = set()
    for found in re.finditer(r"[^*?]+", pattern):
        letters = compact(found.group())
        if letters and (found.start() == 0 or _is_wide(letters[0])):
            keys.add(letters[:KEY_CHARACTERS_MAX])
    return sorted(keys)


def parts_of(group: str) -> list[str]:
    """Return the parts of one component group that have letters, each as `compact` writes it."""
    return [part for part in map(compact, _BETWEEN_PARTS.split(group)) if part]


def compact(text: str) -> str:
    """Return the letters and digits of a text, without case, accents or width; the same for a part as in the whole."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if letter.isalnum())


def _beginnings(parts: Sequence[str]) -> Iterator[str]:
    """Yield what stands from the beginning of each part on, at every length."""
    letters = "".join(parts)
    ends = accumulate(len(part) for part in parts)
    starts = {end - len(part) for part, end in zip(parts, ends, strict=True)}
    starts |= {place for place, letter in enumerate(letters) if _is_wide(letter)}
    for start in starts:
        yield from (letters[start:end] for end in range(start + 1, min(len(letters), start + KEY_CHARACTERS_MAX) + 1))


def _of_syllables(syllables: Sequence[str]) -> Iterator[str]:
    """Yield, from each syllable on, whole syllables with and without the first letter of the next, and the initials."""
    for start in range(len(syllables)):
        rest = syllables[start:]
        spelt = ""
        for syllable in rest:
            yield from _fitting((spelt + syllable[0], spelt + syllable))
            spelt += syllable
        yield from _fitting(accumulate(syllable[0] for syllable in rest))


def _fitting(keys: Iterable[str]) -> Iterator[str]:
    return (key for key in keys if len(key) <= KEY_CHARACTERS_MAX)


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) == "W"
