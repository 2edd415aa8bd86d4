"""The words on screens, in Chinese and English: one JSON catalogue per language in `locales/`.

A key that is missing in the chosen language falls back to Chinese, then to the key itself, so that a page never fails
for want of a word; a test keeps both catalogues complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from reading_queue.services.accounts import LANGUAGES
from reading_queue.web.keys import find_viewer

DEFAULT_LANGUAGE: Final = "zh"
LANGUAGE_COOKIE: Final = "counterpart_language"
LOCALES: Final = Path(__file__).parent / "locales"

_language: ContextVar[str] = ContextVar("language", default=DEFAULT_LANGUAGE)


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the words of a language by key."""
    words: dict[str, str] = json.loads((LOCALES / f"{language}.json").read_text(encoding="utf-8"))
    return words


def translate(key: str, **values: object) -> str:
    """Return the words for `key` in the language of this request, `{names}` in them replaced by `values`."""
    words = catalogue(_language.get()).get(key) or catalogue(DEFAULT_LANGUAGE).get(key, key)
    return words.format(**values) if values else words


def translate_or(key: str, otherwise: str) -> str:
    """Return the words for `key`, or `otherwise` where there are none."""
    return catalogue(_language.get()).get(key, otherwise)


def current_language() -> str:
    """Return the language of this request: "zh" or "en"."""
    return _language.get()


def choose_language(request: web.Request) -> None:
    """Set the language of this request: the account's, else the browser's choice made here, else Chinese."""
    viewer = find_viewer(request)
    wanted = viewer.language if viewer is not None else request.cookies.get(LANGUAGE_COOKIE, DEFAULT_LANGUAGE)
    _language.set(wanted if wanted in LANGUAGES else DEFAULT_LANGUAGE)
