"""The words on screens, in Chinese and English: one JSON catalogue per language.

A key that is missing in the chosen language falls back to Chinese, then to the key itself, so that a page never fails
for want of a word; tests keep the catalogues complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Final

DEFAULT_LANGUAGE: Final = "zh"
LANGUAGES: Final = ("zh", "en")
WORDING: Final = "wording."  # of what is looked up by its own English text
LANGUAGE_COOKIE: Final = "counterpart_language"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
AGE_YEARS_MAX: Final = 130

_language: ContextVar[str] = ContextVar("language", default=DEFAULT_LANGUAGE)


def current_language() -> str:
    """Return the language of this request: "zh" or "en"."""
    return _language.get()


def use_language(wanted: str) -> None:
    """Set the language of this request; Chinese where nobody speaks the one that is wanted."""
    _language.set(wanted if wanted in LANGUAGES else DEFAULT_LANGUAGE)


@cache
def read_catalogue(path: Path) -> Mapping[str, str]:
    """Return the words of one language by key."""
    words: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return words


class Words:
    """The catalogues of one program: `<language>.json` in a folder, and in folders that it shares with another."""

    def __init__(self, folder: Path, *shared: Path) -> None:
        self._folders = (folder, *shared)
        self._read: dict[str, Mapping[str, str]] = {}  # a page asks hundreds of times
        self._patterns: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {}

    def catalogue(self, language: str) -> Mapping[str, str]:
        """Return the words of a language by key."""
        found = self._read.get(language)
        if found is None:
            parts = [read_catalogue(folder / f"{language}.json") for folder in self._folders]
            found = self._read[language] = {key: words for part in parts for key, words in part.items()}
        return found

    def in_words(self, text: str) -> str:
        """Return what was written down in English in the language of this request; what nobody translated stays.

        A key of the catalogue may hold `*` for what differs: `wording.* cannot be reached: *`. What stands there is
        looked up by its own text too.
        """
        words = self.catalogue(_language.get())
        exact = words.get(WORDING + text)
        if exact is not None:
            return exact
        for pattern, key in self._find_patterns(_language.get()):
            match = pattern.fullmatch(text)
            if match is not None:
                return words[key].format(*(words.get(WORDING + part, part) for part in match.groups()))
        return text

    def translate(self, key: str, **values: object) -> str:
        """Return the words for `key` in the language of this request, `{names}` in them replaced by `values`."""
        words = self.catalogue(_language.get()).get(key) or self.catalogue(DEFAULT_LANGUAGE).get(key, key)
        return words.format(**values) if values else words

    def translate_or(self, key: str, otherwise: str) -> str:
        """Return the words for `key`, or `otherwise` where there are none."""
        return self.catalogue(_language.get()).get(key, otherwise)

    def span(self, seconds: float | None, *, tenths: bool = True) -> str:
        """Return a length of time: `3 分 12 秒`, `3 min 12 s`; below 10 s with one decimal, unless not `tenths`."""
        if seconds is None:
            return "—"
        if tenths and abs(seconds) < 10:
            return self.translate("span.seconds", seconds=f"{seconds:.1f}")
        rest = int(abs(seconds)) if tenths else abs(round(seconds))
        sign = "-" if seconds < 0 and rest else ""
        if rest < MINUTE_S:
            return sign + self.translate("span.seconds", seconds=rest)
        if rest < HOUR_S:
            return sign + self.translate("span.minutes", minutes=rest // MINUTE_S, seconds=rest % MINUTE_S)
        if rest < DAY_S:
            return sign + self.translate("span.hours", hours=rest // HOUR_S, minutes=rest % HOUR_S // MINUTE_S)
        return sign + self.translate("span.days", days=rest // DAY_S, hours=rest % DAY_S // HOUR_S)

    def whole_span(self, minutes: int) -> str:
        """Return an agreed length of time, without what is nought: `2 天`, `1 小时 30 分`, `30 min`."""
        parts = (("days", minutes // 1440), ("hours", minutes % 1440 // 60), ("minutes", minutes % 60))
        return " ".join(self.translate(f"span.whole.{unit}", count=count) for unit, count in parts if count)

    def age_at(self, born: date | None, on: datetime) -> str:
        """Return the age in years on a day, or nothing when the birth date is unknown or implausible."""
        if born is None:
            return ""
        day = on.date()
        years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return self.translate("patient.years", years=years) if 0 <= years <= AGE_YEARS_MAX else ""

    def _find_patterns(self, language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Return the keys with places for what differs, the most particular first."""
        found = self._patterns.get(language)
        if found is None:
            keys = [key for key in self.catalogue(language) if key.startswith(WORDING) and "*" in key]
            found = self._patterns[language] = tuple(
                (re.compile("(.*?)".join(map(re.escape, key.removeprefix(WORDING).split("*"))), re.DOTALL), key)
                for key in sorted(keys, key=len, reverse=True)
            )
        return found
