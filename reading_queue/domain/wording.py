"""What is checked in a report's text before a physician may sign it. Pure.

Problems stop the signature. Warnings may be meant and must be confirmed. Both are whole sentences, constant, so that
a screen can translate them; they never quote the text.
"""

from __future__ import annotations

import re
from typing import Final

from reading_queue.domain.report import ReportText

CHARACTERS_MAX: Final = 20_000  # of one part

FINDINGS_EMPTY: Final = "The findings are empty."
IMPRESSION_EMPTY: Final = "The impression is empty."
TEMPLATE_RESIDUE: Final = "A blank of the template is not filled in."
TOO_LONG: Final = "A part of the text is longer than a report may be."
CONTROL_CHARACTERS: Final = "The text holds control characters; paste it again as plain text."
SIDES_DIFFER: Final = "The impression names a side that the findings do not name."

_RESIDUE: Final = re.compile(r"[XＸ×]{3,}|x{3,}|_{2,}|＿{2,}|待补充|待完善|请填写|\{\{|\}\}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BOTH: Final = re.compile(r"双侧|两侧|双肺|两肺|左、右|\bbilateral\b|\bboth\b", re.IGNORECASE)
_NOT_A_SIDE: Final = re.compile(r"左右")  # "3 cm 左右" means about 3 cm
_LEFT: Final = re.compile(r"左|\bleft\b", re.IGNORECASE)
_RIGHT: Final = re.compile(r"右|\bright\b", re.IGNORECASE)


def find_unstorable(text: ReportText) -> tuple[str, ...]:
    """Return why the text cannot even be kept as a draft."""
    parts = (text.findings, text.impression, text.recommendation)
    found = {
        TOO_LONG: any(len(part) > CHARACTERS_MAX for part in parts),
        CONTROL_CHARACTERS: any(_CONTROL.search(part) for part in parts),
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def find_problems(text: ReportText) -> tuple[str, ...]:
    """Return why the text cannot be signed; empty when it can."""
    parts = (text.findings, text.impression, text.recommendation)
    found = {
        FINDINGS_EMPTY: not text.findings.strip(),
        IMPRESSION_EMPTY: not text.impression.strip(),
        TEMPLATE_RESIDUE: any(_RESIDUE.search(part) for part in parts),
    }
    return find_unstorable(text) + tuple(sentence for sentence, holds in found.items() if holds)


def find_warnings(text: ReportText) -> tuple[str, ...]:
    """Return what looks like a slip and may be meant."""
    described, concluded = _sides(text.findings), _sides(text.impression)
    return (SIDES_DIFFER,) if described and concluded - described else ()


def _sides(part: str) -> frozenset[str]:
    part = _NOT_A_SIDE.sub("", part)
    if _BOTH.search(part):
        return frozenset({"left", "right"})
    sides = {"left": _LEFT, "right": _RIGHT}
    return frozenset(side for side, pattern in sides.items() if pattern.search(part))
