"""The words on the hub's screens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from reading_queue.web.keys import find_viewer
from storage.hl7.wording import ORDER_MESSAGE_WORDS
from storage.screens.words import DEFAULT_LANGUAGE, LANGUAGE_COOKIE, Words, current_language, use_language

LOCALES: Final = Path(__file__).parent / "locales"
WORDS: Final = Words(LOCALES, ORDER_MESSAGE_WORDS)

catalogue = WORDS.catalogue
translate = WORDS.translate
translate_or = WORDS.translate_or
in_words = WORDS.in_words


def fault_in_words(code: str, params: Mapping[str, str], otherwise: str) -> str:
    """Return why a delivery failed, in the language of this request; `otherwise` for a code from newer gateways."""
    words = catalogue(current_language()).get(f"fault.{code}")
    if words is None:
        return otherwise
    try:
        return words.format_map(params)
    except (KeyError, IndexError, ValueError):
        return otherwise


def choose_language(request: web.Request) -> None:
    """Set the language of this request: the account's, else the browser's choice made here, else Chinese."""
    viewer = find_viewer(request)
    use_language(viewer.language if viewer is not None else request.cookies.get(LANGUAGE_COOKIE, DEFAULT_LANGUAGE))
