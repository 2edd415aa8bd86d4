"""What a later version of a report says otherwise, word by word. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

from reading_queue.domain.report import ReportContent

Piece = tuple[Literal["same", "gone", "new"], str]
PARTS: Final = ("findings", "impression", "recommendation")
# A Chinese character, a run of Latin letters or digits, or anything else, one by one.
_WORD: Final = re.compile(r"[0-9A-Za-z.]+|\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Change:
    """One part of the text that differs, as pieces that are the same, gone or new."""

    part: str
    pieces: tuple[Piece, ...]


def changes_between(before: ReportContent | None, after: ReportContent) -> tuple[Change, ...]:
    """Return which parts differ and how; nothing when there is no version before."""
    if before is None:
        return ()
    pairs = ((part, getattr(before, part), getattr(after, part)) for part in PARTS)
    return tuple(Change(part, tuple(_pieces(old, new))) for part, old, new in pairs if old != new)


def _pieces(old: str, new: str) -> Iterator[Piece]:
    gone, come = _WORD.findall(old), _WORD.findall(new)
    for tag, start, end, new_start, new_end in SequenceMatcher(None, gone, come, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(gone[start:end])
            continue
        if start < end:
            yield "gone", "".join(gone[start:end])
        if new_start < new_end:
            yield "new", "".join(come[new_start:new_end])
