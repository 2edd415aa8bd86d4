"""The console's words. What the gateway has written down in English (why something was refused, what to do) is looked
up by its own text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.console.keys import find_viewer
from storage.hl7.wording import ORDER_MESSAGE_WORDS
from storage.screens.words import DEFAULT_LANGUAGE, LANGUAGE_COOKIE, WORDING, Words, use_language

__all__ = ["LOCALES", "WORDING", "WORDS", "catalogue", "choose_language", "in_words", "translate", "translate_or"]

LOCALES: Final = Path(__file__).parent / "locales"
WORDS: Final = Words(LOCALES, ORDER_MESSAGE_WORDS)

catalogue = WORDS.catalogue
translate = WORDS.translate
translate_or = WORDS.translate_or
in_words = WORDS.in_words


def choose_language(request: web.Request) -> None:
    """Set the language of this request: the browser's choice made here, else the account's, else Chinese."""
    viewer = find_viewer(request)
    use_language(request.cookies.get(LANGUAGE_COOKIE) or (viewer.language if viewer is not None else DEFAULT_LANGUAGE))
