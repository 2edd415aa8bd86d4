"""The form of an order on a page, as a browser would send it, and what stands beside its fields."""

from __future__ import annotations

import html
import re
from typing import Protocol


class Page(Protocol):
    """What a server answered."""

    @property
    def text(self) -> str:
        """Its text."""


def form_in(page: Page) -> dict[str, str]:
    """Return what the order's form holds, as a browser would send it."""
    found: dict[str, str] = {}
    body = page.text[page.text.index('id="order-form"') :]
    for tag in re.findall(r"<input[^>]*>", body):
        named = re.search(r'name="(\w+)"', tag)
        if named and ('type="checkbox"' not in tag or " checked" in tag):
            value = re.search(r'value="([^"]*)"', tag)
            found[named[1]] = html.unescape(value[1]) if value else ""
    for name, text in re.findall(r'<textarea name="(\w+)"[^>]*>\n?(.*?)</textarea>', body, re.DOTALL):
        found[name] = html.unescape(text)
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', body, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    found.pop("csrf_token")
    return found


def problem_of(page: Page, name: str) -> str:
    found = re.search(rf'id="problem-{name}"[^>]*>([^<]*)<', page.text)
    return html.unescape(found[1]).strip() if found else ""
