"""What an update says of a workitem, and what it cannot say: PS3.4 Table CC.2.5-3, its column N-SET, and CC.2.6.2.

Pure. While a workitem is scheduled, whoever plans it says who is to perform it; when it and how urgent it is, is the
network's own to say. Once it is in progress its performer says how far they are and what they did.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.workitems.attributes import BY_TAG, NOT_ALLOWED
from reading_queue.domain.workitems.content import (
    CODE,
    CODE_SCHEME,
    DISCONTINUATION_CODE,
    PERFORMED,
    PROGRESS,
    PROGRESS_PERCENT,
    PROGRESS_TEXT,
    SCHEME,
    STATE,
    TRANSACTION_UID,
    DicomJson,
    NotUnderstood,
    Said,
    items_of,
    text_of,
)
from reading_queue.domain.workitems.states import Operation

PROGRESS_TEXT_CHARACTERS_MAX: Final = 1024  # of an ST
PERFORMED_BYTES_MAX: Final = 64 * 1024
_PERFORMERS, _PERFORMER_CODE, _COMMENT = "00404034", "00404009", "00400400"
_OF_PERFORMER: Final = frozenset({PROGRESS, PERFORMED})
_OF_PLANNER: Final = frozenset({_PERFORMERS, _COMMENT})
_OF_NEITHER: Final = frozenset({TRANSACTION_UID, STATE, "00080005"})
_DECIMAL: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Update:
    """What an update says; `assignee` is the id of the physician who is to perform it, empty when it names nobody."""

    said: Said
    assignee: str
    comment: str
    tags: frozenset[str]

    @property
    def is_of_performer(self) -> bool:
        """Whether it says what only the performer says, once it is in progress."""
        return bool(self.tags & _OF_PERFORMER)

    def leaves_out(self, *, is_claimed: bool) -> bool:
        """Return whether it says more than is kept."""
        return not self.tags <= _OF_NEITHER | (_OF_PERFORMER if is_claimed else _OF_PLANNER)


def parse_update(dataset: DicomJson) -> Update:
    """Return what an update says.

    Raises:
        NotUnderstood: an attribute that is never updated, or a value that its attribute cannot have.
    """
    if text_of(dataset, STATE) not in ("", Operation.CLAIM):
        raise NotUnderstood("Procedure Step State (0074,1000) is not updated but changed, at the workitem's /state")
    rows = (BY_TAG.get(tag) for tag in sorted(dataset.keys() - {STATE}))
    if fixed := [row.words for row in rows if row is not None and row.set == NOT_ALLOWED]:
        raise NotUnderstood(f"an update never changes {', '.join(fixed)}")
    assignee = _parse_assignee(items_of(dataset, _PERFORMERS)) if _PERFORMERS in dataset else ""
    return Update(_parse_said(dataset), assignee, text_of(dataset, _COMMENT), frozenset(dataset))


def parse_reason(item: DicomJson) -> str:
    """Return the code by which a performer, or whoever asks them, ends a workitem; empty when none is given.

    Raises:
        NotUnderstood: it is not in CID 9303.
    """
    code = text_of(next(iter(items_of(item, DISCONTINUATION_CODE)), {}), CODE)
    if code and code not in set(DiscontinuationReason):
        raise NotUnderstood("Procedure Step Discontinuation Reason Code Sequence (0074,100E) has no code of CID 9303")
    return code


def _parse_said(dataset: DicomJson) -> Said:
    progress = next(iter(items_of(dataset, PROGRESS)), {})
    percent = str(next(iter(progress.get(PROGRESS_PERCENT, {}).get("Value", ())), ""))
    if percent and not (_DECIMAL.fullmatch(percent) and float(percent) <= 100):
        raise NotUnderstood("Procedure Step Progress (0074,1004) is a percentage from 0 to 100")
    text = text_of(progress, PROGRESS_TEXT)
    if len(text) > PROGRESS_TEXT_CHARACTERS_MAX:
        raise NotUnderstood(
            f"Procedure Step Progress Description (0074,1006) has at most {PROGRESS_TEXT_CHARACTERS_MAX} characters"
        )
    performed = next(iter(items_of(dataset, PERFORMED)), {})
    if len(json.dumps(performed)) > PERFORMED_BYTES_MAX:
        raise NotUnderstood(f"the performed procedure (0074,1216) has at most {PERFORMED_BYTES_MAX} bytes")
    return Said(percent=percent, text=text, performed=performed, reason=parse_reason(progress))


def _parse_assignee(performers: list[DicomJson]) -> str:
    codes = [code for performer in performers for code in items_of(performer, _PERFORMER_CODE)]
    named = [text_of(code, CODE) for code in codes if text_of(code, CODE_SCHEME) == SCHEME]
    if len(performers) != 1 or len(codes) != 1 or not (named and named[0]):
        words = f"Scheduled Human Performers Sequence (0040,4034) names one physician by their code of {SCHEME}"
        raise NotUnderstood(words)
    return named[0]
