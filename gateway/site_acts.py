"""What people at the clinic may do with a study's case at the hub: answer its reader, withdraw it, submit it again.

Durable: each act is one transaction with who asked when; it reaches the hub when the line allows. What the hub then
makes of it is shown beside the study.
"""

from __future__ import annotations

from typing import Final

from gateway.journal.actions import record_action
from gateway.journal.course import acts_of, add_act, find_course
from gateway.journal.database import Journal
from gateway.journal.preliminaries import find_preliminary
from gateway.operations import Asker, NotPossible
from storage.contract.course import WORDS_CHARACTERS_MAX, CaseCourse, SiteAct, SiteActKind
from storage.contract.identifiers import Uid, new_id

NO_WORDS: Final = "Say in a few words what the reader has to know."
TOO_LONG: Final = "The text is too long; shorten it."
NOT_ASKED: Final = "The reader waits for no answer any more."
NOT_PRELIMINARY: Final = "This preliminary report does not stand any more; look at the study again."
SEEN_ALREADY: Final = "Somebody here has acknowledged this preliminary report already."
NOT_RETURNED: Final = "This study was not sent back."
WAITS_ALREADY: Final = "What was asked before is on its way to the hub; wait for what becomes of it."


def answer_reader(journal: Journal, asker: Asker, study_uid: Uid, request_id: str, words: str) -> None:
    """Answer what the reader of the study asked.

    Raises:
        NotPossible: nothing of this kind is asked, there are no words, or an act is on its way; also below.
    """
    course = find_course(journal, study_uid)
    if course is None or course.question is None or course.question.request_id != request_id:
        raise NotPossible(NOT_ASKED)
    _add(journal, asker, study_uid, SiteActKind.ANSWER, words, request_id)


def withdraw_study(journal: Journal, asker: Asker, study_uid: Uid, words: str) -> None:
    """Withdraw the study's case, or ask its reader to let it go."""
    _add(journal, asker, study_uid, SiteActKind.WITHDRAW, words)


def resubmit_study(journal: Journal, asker: Asker, study_uid: Uid, words: str) -> None:
    """Have a study that was sent back read as it is."""
    course: CaseCourse | None = find_course(journal, study_uid)
    if course is None or not course.returned_code:
        raise NotPossible(NOT_RETURNED)
    _add(journal, asker, study_uid, SiteActKind.RESUBMIT, words)


def acknowledge_preliminary(journal: Journal, asker: Asker, study_uid: Uid, submission_id: str, words: str) -> None:
    """Say that the preliminary report was seen here; the words say who was told of it. The first one counts."""
    row = find_preliminary(journal, study_uid)
    if row is None or row.report.submission_id != submission_id or row.ended_at is not None:
        raise NotPossible(NOT_PRELIMINARY)
    if row.told is not None:
        raise NotPossible(SEEN_ALREADY)
    _add(journal, asker, study_uid, SiteActKind.ACKNOWLEDGE, words, submission_id)


def _add(journal: Journal, asker: Asker, study_uid: Uid, kind: SiteActKind, words: str, request_id: str = "") -> None:
    words = words.strip()
    if not words:
        raise NotPossible(NO_WORDS)
    if len(words) > WORDS_CHARACTERS_MAX:
        raise NotPossible(TOO_LONG)
    if any(row.state == "due" and row.act.kind is kind for row in acts_of(journal, study_uid)):
        raise NotPossible(WAITS_ALREADY)
    act = SiteAct(
        act_id=new_id(),
        kind=kind,
        study_uid=study_uid,
        request_id=request_id,
        words=words,
        account_id=asker.actor,
        at=asker.at,
    )
    with journal.transaction() as connection:
        add_act(connection, act)
        record_action(connection, asker.at, asker.actor, f"site_{kind}", study_uid, act_id=act.act_id)
