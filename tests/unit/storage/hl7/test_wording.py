"""Every reason for which an order message is refused has its words in both languages of the screens."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import storage.hl7
from storage.hl7.wording import ORDER_MESSAGE_WORDS
from storage.screens.words import WORDING, read_catalogue

ROOT = Path(storage.hl7.__file__).parents[2]
SOURCES = (
    *sorted((ROOT / "storage" / "hl7").glob("*.py")),
    *sorted((ROOT / "reading_queue/services/order_messages").glob("*.py")),
)
WHERE_FAULTS_HAVE_THEIR_WORDS = {"words", "same", "other", "NOT_CONFIGURED", "NO_SITE", "USED_CONTROL_ID", "NO_TIME"}


def sentences() -> Iterator[str]:
    """Yield what stands in the code as the words of a fault; what differs in them is `*`."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if names & WHERE_FAULTS_HAVE_THEIR_WORDS and isinstance(node, ast.Assign | ast.AnnAssign):
                yield from texts_of(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fault":
                for argument in node.args[2:3]:
                    yield from texts_of(argument)


def texts_of(value: ast.expr | None) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    if isinstance(value, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in value.values)


def test_every_fault_has_words_in_both_languages() -> None:
    found = {text for text in sentences() if " " in text}
    assert len(found) > 30
    for language in ("zh", "en"):
        words = read_catalogue(ORDER_MESSAGE_WORDS / f"{language}.json")
        assert {text for text in found if WORDING + text not in words} == set(), language


def test_both_languages_know_the_same_faults() -> None:
    chinese, english = (read_catalogue(ORDER_MESSAGE_WORDS / f"{language}.json") for language in ("zh", "en"))
    assert list(chinese) == list(english)
