"""The parts of pages that the hub and the clinic share: the form above a list."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from storage.screens.templating import load_pages

HEAD = '{% from "screens/filter.html" import day, filter_form, one_of, words %}'


@pytest.fixture
def render(tmp_path: Path):
    """Return what makes text of a page with these words in it."""
    templates = jinja2.Environment(loader=load_pages(tmp_path), autoescape=True, undefined=jinja2.StrictUndefined)
    templates.globals["t"] = lambda key: f"[{key}]"

    def text_of(page: str, **values: object) -> str:
        (tmp_path / "page.html").write_text(HEAD + page, encoding="utf-8")
        return re.sub(r"\s+", " ", templates.get_template("page.html").render(**values))

    return text_of


def test_a_form_has_what_was_asked_and_leads_back_to_the_whole_list(render):
    page = '{% call filter_form("/list", "token", filtered) %}{{ words(text, 64, "what") }}{% endcall %}'
    narrowed = render(page, filtered=True, text='<"x">')
    assert 'action="/list"' in narrowed
    assert 'name="csrf_token" value="token"' in narrowed
    assert 'value="&lt;&#34;x&#34;&gt;"' in narrowed
    assert '<a href="/list">[filter.clear]</a>' in narrowed
    assert "[filter.clear]" not in render(page, filtered=False, text="")


def test_a_choice_shows_codes_in_words_or_pairs_as_they_are(render):
    choice = '{{ one_of("lane", "label", "any", values, chosen, prefix) }}'
    codes = render(choice, values=["stat", "urgent"], chosen="urgent", prefix="lane.")
    assert '<option value="urgent" selected>[lane.urgent]</option>' in codes
    assert '<option value="stat" >[lane.stat]</option>' in codes
    assert '<option value="">any</option>' in codes
    pairs = render(choice, values=[("s1", "<镇>")], chosen=None, prefix="")
    assert '<option value="s1" >&lt;镇&gt;</option>' in pairs
    assert '<option value="CT" >CT</option>' in render(choice, values=["CT"], chosen="", prefix="")
    assert 'for="filter-lane"' in codes
