"""Both catalogues are complete, and every word that code can ask for is in them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import pytest

from gateway.forwarder.conflicts import WhyQuarantined
from gateway.scp.c_store_status import C_STORE_FAILURES, UNEXPECTED
from gateway.spool.rebuild import _REASONS as SPOOL_REASONS
from reading_queue import services
from reading_queue.domain import wording
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.links import TRANSITIONS, LinkAct, LinkState
from reading_queue.domain.roles import Role
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import HubError
from reading_queue.services.access.accounts import LANGUAGES
from reading_queue.services.arrival import pack_proof, verification
from reading_queue.services.cases.attention import StuckKind
from reading_queue.services.cases.statistics import Connection
from reading_queue.services.holdings.study_list import Progress
from reading_queue.services.orders.order_matching import REASON_NEEDED
from reading_queue.services.patients.identity_settling import OTHERWISE
from reading_queue.services.reading.page_marks import CHANGES
from reading_queue.web import language, middlewares
from reading_queue.web.radiologist.views import DONE
from reading_queue.web.rendering import FOLDER
from storage.catalogue.linking import Doubt, Likeness, Trait
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.wire import DocumentKind
from storage.screens.templating import SHARED

WORDS = {name: language.catalogue(name) for name in LANGUAGES}
FAMILIES: dict[str, Iterable[str] | type[StrEnum]] = {
    "role": Role,
    "lane": Lane,
    "state": CaseState,
    "changes": CHANGES,
    "phase": Phase,
    "hop": Hop,
    "cancel": DiscontinuationReason,
    "connection": Connection,
    "stuck": StuckKind,
    "stuck.next": StuckKind,
    "done": DONE,
    "progress": Progress,
    "document": DocumentKind,
    "escalations": Escalation,
    "links.state": LinkState,
    "links.none": LinkState,
    "links.by_facts": LinkState,
    "links.done": LinkAct,
    "link.acted": LinkAct,
    "link.act": [f"{act}.{state}" for state, act in TRANSITIONS],
    "link.trait": Trait,
    "link.likeness": Likeness,
    "link.doubt": Doubt,
}


def errors_below(parent: type[HubError]) -> set[str]:
    return {parent.code}.union(*(errors_below(child) for child in parent.__subclasses__()))


def placeholders(words: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", words))


def test_both_languages_have_the_same_keys_in_the_same_order() -> None:
    assert list(WORDS["zh"]) == list(WORDS["en"])


def test_both_languages_name_the_same_values() -> None:
    differing = {key for key, words in WORDS["zh"].items() if placeholders(words) != placeholders(WORDS["en"][key])}
    assert not differing


def test_no_word_is_empty_and_english_is_english() -> None:
    assert all(words.strip() for catalogue in WORDS.values() for words in catalogue.values())
    assert not {key for key, words in WORDS["en"].items() if re.search(r"[\u4e00-\u9fff]", words)}


def test_every_key_of_a_template_is_in_the_catalogue() -> None:
    asked = {
        key
        for path in (*FOLDER.rglob("*.html"), *SHARED.glob("*.html"))
        for key in re.findall(r"""\bt\(['"]([\w.]+)['"]\s*[,)]""", path.read_text(encoding="utf-8"))
    }
    assert len(asked) > 100
    assert asked <= WORDS["zh"].keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_of_a_family_has_its_word(family: str) -> None:
    assert {f"{family}.{member}" for member in FAMILIES[family]} <= WORDS["zh"].keys()


def test_every_refusal_of_a_use_case_has_its_words() -> None:
    assert middlewares.ForgeryRefused.code in errors_below(HubError)
    # Refusals of gateways and operators never reach a page.
    of_pages = {code for code in errors_below(HubError) if code in WORDS["zh"] or f"error.{code}" in WORDS["zh"]}
    declared = {child.code for child in HubError.__subclasses__() if child.__module__ == "reading_queue.errors"}
    assert declared <= of_pages


def test_no_key_stands_twice() -> None:
    for name in LANGUAGES:
        text = (language.LOCALES / f"{name}.json").read_text(encoding="utf-8")
        keys = [key for key, _ in json.loads(text, object_pairs_hook=list)]
        assert len(keys) == len(set(keys)), name


def test_every_use_case_that_asks_for_words_says_in_words_what_is_missing() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(services.__path__[0]).rglob("*.py"))
    asked = set(re.findall(r'parse_words\(\w+, "([^"]+)"', sources)) | {OTHERWISE, REASON_NEEDED}
    assert len(asked) > 15
    assert {f"wording.{sentence}" for sentence in asked} <= WORDS["zh"].keys()


def test_every_finding_about_a_text_has_its_words() -> None:
    sentences = {value for name, value in vars(wording).items() if name.isupper() and isinstance(value, str)}
    assert {f"wording.{sentence}" for sentence in sentences} <= WORDS["zh"].keys()


def test_every_reason_of_a_refused_pack_or_a_quarantined_instance_has_its_words() -> None:
    sources = "".join(inspect.getsource(module) for module in (pack_proof, verification))
    of_packs = set(re.findall(r'PackRefused\("(\w+)"', sources))
    of_gateways = {failure.code for _, failure in C_STORE_FAILURES if failure.keep_in_quarantine} | {UNEXPECTED.code}
    assert len(of_packs) > 5
    codes = of_packs | of_gateways | set(WhyQuarantined) | set(SPOOL_REASONS)
    assert {f"reason.{code}" for code in codes} <= WORDS["zh"].keys()
