"""What stands between a site and the readers of its cases, on its way to the site's gateway and back.

Both roads are additions to the gateway API: an older hub answers 404 to a newer gateway, an older gateway never asks.
The texts may name a patient; they travel like orders, signed, and enter no log.

| request | body | answer |
|---|---|---|
| GET  /gateway/v1/courses | | CoursesAnswer |
| POST /gateway/v1/site-acts | SiteActs | SiteActsAnswer |
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, Field

from storage.contract.manifest import UidField, WireModel

COURSES_PER_ANSWER_MAX: Final = 500
ACTS_PER_BATCH_MAX: Final = 50
WORDS_CHARACTERS_MAX: Final = 2000


class SiteQuestion(WireModel):
    """What the reader of a case waits for (待补充资料). `wants` are codes; a newer hub may know more of them."""

    request_id: str = Field(max_length=64)
    wants: tuple[str, ...] = Field(max_length=20)
    question: str = Field(max_length=WORDS_CHARACTERS_MAX)
    asked_by: str = Field(max_length=200)
    asked_at: AwareDatetime


class CaseCourse(WireModel):
    """One case of the site that waits for the site, or for its reader's answer to the site."""

    study_uids: tuple[UidField, ...]
    question: SiteQuestion | None = None
    returned_code: str = Field(default="", max_length=64)  # CID 9303; empty unless it was sent back
    returned_words: str = ""
    withdrawal_asked: bool = False  # and the reader has not answered yet
    withdrawal_refusal: str = ""  # why the reader goes on


class CoursesAnswer(WireModel):
    """Every such case as it is now, the newest first; what is not named waits for nothing."""

    courses: tuple[CaseCourse, ...] = Field(max_length=COURSES_PER_ANSWER_MAX)


class SiteActKind(StrEnum):
    """What people at the site may do with a case."""

    ANSWER = "answer"  # what the reader asked
    WITHDRAW = "withdraw"  # at once while nobody reads it, else the reader is asked
    RESUBMIT = "resubmit"  # have it read as it is, with what was missing in words
    ACKNOWLEDGE = "acknowledge"  # the preliminary report `request_id` was seen; the words say who was told of it


class SiteAct(WireModel):
    """One act of a named person at the clinic, also of a time without line; doing it again is harmless."""

    act_id: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    kind: SiteActKind
    study_uid: UidField
    request_id: str = Field(default="", max_length=64)  # of ANSWER, and of ACKNOWLEDGE the submission's
    words: str = Field(min_length=1, max_length=WORDS_CHARACTERS_MAX)
    account_id: str = Field(max_length=64)
    at: AwareDatetime


class SiteActs(WireModel):
    """Acts in the order in which they were done."""

    acts: tuple[SiteAct, ...] = Field(min_length=1, max_length=ACTS_PER_BATCH_MAX)


class SiteActRefusal(WireModel):
    """An act that makes no sense any more, or is not this person's to do, with the reason in English."""

    act_id: str
    code: str
    reason: str


class SiteActsAnswer(WireModel):
    """What became of every act of the batch."""

    done: tuple[str, ...]
    refused: tuple[SiteActRefusal, ...] = ()
