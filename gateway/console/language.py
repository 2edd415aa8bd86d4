"""The console's words. What the gateway has written down in English (why something was refused, what to do) is looked
up by its own text.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.console.keys import find_viewer
from storage.screens.words import DEFAULT_LANGUAGE, LANGUAGE_COOKIE, Words, current_language, use_language

LOCALES: Final = Path(__file__).parent / "locales"
WORDING: Final = "wording."
WORDS: Final = Words(LOCALES)

catalogue = WORDS.catalogue
translate = WORDS.translate
translate_or = WORDS.translate_or


def in_words(text: str) -> str:
    """Return what the gateway wrote down in the language of this request; text that nobody translated stays.

    A key of the catalogue may hold `*` for what differs: `wording.* cannot be reached: *`.
    """
    words = catalogue(current_language())
    exact = words.get(WORDING + text)
    if exact is not None:
        return exact
    for pattern, key in _patterns(current_language()):
        match = pattern.fullmatch(text)
        if match is not None:
            return words[key].format(*match.groups())
    return text


def choose_language(request: web.Request) -> None:
    """Set the language of this request: the browser's choice made here, else the account's, else Chinese."""
    viewer = find_viewer(request)
    use_language(request.cookies.get(LANGUAGE_COOKIE) or (viewer.language if viewer is not None else DEFAULT_LANGUAGE))


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the keys with places for what differs, the most particular first."""
    keys = [key for key in catalogue(language) if key.startswith(WORDING) and "*" in key]
    return tuple(
        (re.compile("(.*?)".join(map(re.escape, key.removeprefix(WORDING).split("*"))), re.DOTALL), key)
        for key in sorted(keys, key=len, reverse=True)
    )
