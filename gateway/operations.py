"""What a person may ask of a running gateway: for one study, for the line, for a delivery.

Used by the command line and the console alike, from any process. Durable: each request is one transaction with who
asked when, so that it survives a restart; the process that serves notices within a second. Each may be repeated.
Nothing here removes a byte: a cancelled study stays in the spool, however long, is shown as cancelled, and goes on when
it is requeued.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.journal import controls, deliveries, quarantine, reader_cases
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal
from gateway.journal.line import set_paused, set_wished_limit
from gateway.journal.returns import requeue_due
from gateway.journal.transfer_changes import change_lane, retry_now, start_again
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane

COMMAND_LINE: Final = "command-line"
THE_LINE: Final = "line"
BYTES_PER_MBIT: Final = 125_000
MBIT_S_MIN: Final = 0.02  # below it, connections would not stay alive


class Verb(StrEnum):
    """What was asked, as the journal's actions and the custody events name it."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    COMPLETE = "complete"
    LANE = "lane"
    LIMIT = "limit"
    REQUEUE_DELIVERY = "requeue_delivery"
    CANCEL_DELIVERY = "cancel_delivery"
    RELEASE = "release"


class NotPossible(Exception):
    """The request makes no sense now; the message says why, in words for the one who asked."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and when: an account's id or COMMAND_LINE."""

    actor: str
    at: datetime


def pause_study(journal: Journal, asker: Asker, study_uid: Uid) -> None:
    """Send nothing more of the study until it is resumed; a pack of it on the line is broken off.

    Raises:
        NotPossible: also in the functions below.
    """
    _require_unfinished(journal, study_uid)
    with journal.transaction() as connection:
        controls.set_study_paused(connection, study_uid, asker.at)
        _note(connection, asker, Verb.PAUSE, study_uid)


def resume_study(journal: Journal, asker: Asker, study_uid: Uid) -> None:
    """Let a paused study go on at once."""
    if controls.find_control(journal, study_uid).paused_at is None:
        raise NotPossible("This study is not paused.")
    with journal.transaction() as connection:
        controls.set_study_paused(connection, study_uid, None)
        retry_now(connection, asker.at, study_uid)
        _note(connection, asker, Verb.RESUME, study_uid)


def cancel_study(journal: Journal, asker: Asker, study_uid: Uid) -> int:
    """Take the study out of the queue and return how many of its instances the hub has not confirmed.

    They stay in the spool, and what comes of the study later waits beside them, until it is requeued. What the hub has
    already is not called back.
    """
    unconfirmed = _require_unfinished(journal, study_uid)
    with journal.transaction() as connection:
        controls.set_cancelled(connection, study_uid, asker.at)
        _note(connection, asker, Verb.CANCEL, study_uid, {"unconfirmed": unconfirmed})
    return unconfirmed


def requeue_study(journal: Journal, asker: Asker, study_uid: Uid, *, anew: bool = False) -> None:
    """Try the study again now, a cancelled or paused one too.

    `anew`: declare it once more and plan it afresh, as if nothing of it had been sent; the hub says what it holds, so
    that only the rest is sent.
    """
    _require_unfinished(journal, study_uid)
    with journal.transaction() as connection:
        controls.set_cancelled(connection, study_uid, None)
        controls.set_study_paused(connection, study_uid, None)
        if anew:
            start_again(connection, study_uid)
        retry_now(connection, asker.at, study_uid)
        _note(connection, asker, Verb.REQUEUE, study_uid, {"anew": anew})


def complete_study(journal: Journal, asker: Asker, study_uid: Uid) -> None:
    """Treat what has arrived of the study as all of it, whatever was announced."""
    if not _count(journal, study_uid, "state = 'incoming'"):
        raise NotPossible("Nothing of this study waits for more images.")
    with journal.transaction() as connection:
        controls.set_forced(connection, study_uid, forced=True)
        _note(connection, asker, Verb.COMPLETE, study_uid)


def change_study_lane(journal: Journal, asker: Asker, study_uid: Uid, lane: Lane) -> None:
    """Move the study to another lane, also while it is on its way; the hub is told, which hurries its reading too."""
    if not _count(journal, study_uid, "1"):
        raise NotPossible("This gateway has no such study.")
    with journal.transaction() as connection:
        controls.set_lane(connection, study_uid, lane)
        change_lane(connection, asker.at, study_uid, lane)
        _note(connection, asker, Verb.LANE, study_uid, {"lane": lane})


def pause_line(journal: Journal, asker: Asker) -> None:
    """Stop all uploads now; receiving goes on, and reports still come home."""
    with journal.transaction() as connection:
        set_paused(connection, asker.at)
        controls.add_action(connection, asker.at, asker.actor, Verb.PAUSE, THE_LINE, {})


def resume_line(journal: Journal, asker: Asker) -> None:
    """Let uploads go on."""
    with journal.transaction() as connection:
        set_paused(connection, None)
        controls.add_action(connection, asker.at, asker.actor, Verb.RESUME, THE_LINE, {})


def limit_line(journal: Journal, asker: Asker, mbit_s: float | None) -> None:
    """Limit all uploads together to `mbit_s` (10^6 bit/s), below what the plan allows; None: the plan alone."""
    if mbit_s is not None and mbit_s < MBIT_S_MIN:
        raise NotPossible(f"A limit is at least {MBIT_S_MIN} Mbit/s; pause the line to stop all uploads.")
    with journal.transaction() as connection:
        set_wished_limit(connection, None if mbit_s is None else mbit_s * BYTES_PER_MBIT)
        controls.add_action(connection, asker.at, asker.actor, Verb.LIMIT, THE_LINE, {"mbit_s": mbit_s})


def requeue_deliveries(
    journal: Journal, asker: Asker, *, document_id: str | None = None, target: str | None = None
) -> int:
    """Try deliveries that wait for their next attempt now, all or those of a document or target; return how many.

    In reader mode claimed cases on their way to a PACS are among them.

    With both named it is one delivery, and one that has ended is made again: what was cancelled, or what the target has
    lost. The target gets the same objects and messages, under the same identities.
    """
    with journal.transaction() as connection:
        if document_id is not None and target is not None:
            hurried = int(deliveries.requeue_delivery(connection, document_id, target, asker.at))
        else:
            hurried = requeue_due(connection, asker.at, document_id, target)
        if document_id is None:
            hurried += reader_cases.requeue_due(connection, asker.at, target)
        subject = document_id or target or "deliveries"
        detail = {"document_id": document_id, "target": target, "deliveries": hurried}
        controls.add_action(connection, asker.at, asker.actor, Verb.REQUEUE_DELIVERY, subject, detail)
    return hurried


def cancel_delivery(journal: Journal, asker: Asker, document_id: str, target: str) -> None:
    """Give up the delivery of a document to one target; the hub hears of it, and the document stays here."""
    with journal.transaction() as connection:
        if not deliveries.cancel_delivery(connection, document_id, target, asker.at):
            raise NotPossible("This delivery does not wait: it is done, cancelled, or there is none.")
        detail = {"document_id": document_id, "target": target}
        controls.add_action(connection, asker.at, asker.actor, Verb.CANCEL_DELIVERY, document_id, detail)


def release_quarantined(journal: Journal, asker: Asker, quarantine_id: str) -> None:
    """Have an object in quarantine tried again as if it had just arrived; refused again, it stays where it is."""
    row = _require_quarantined(journal, quarantine_id)
    with journal.transaction() as connection:
        quarantine.ask_release(connection, quarantine_id, asker.actor, asker.at)
        detail = {"quarantine_id": quarantine_id}
        if row.study_uid is None:
            controls.add_action(connection, asker.at, asker.actor, Verb.RELEASE, quarantine_id, detail)
        else:
            _note(connection, asker, Verb.RELEASE, row.study_uid, detail)


def dismiss_quarantined(journal: Journal, asker: Asker, quarantine_id: str) -> None:
    """Say that nothing has to be done about an object in quarantine; it is kept until its time is over."""
    _require_quarantined(journal, quarantine_id)
    with journal.transaction() as connection:
        controls.add_action(connection, asker.at, asker.actor, quarantine.SETTLED, quarantine_id, {})


def _require_quarantined(journal: Journal, quarantine_id: str) -> quarantine.QuarantineRow:
    row = quarantine.find_quarantined(journal, quarantine_id)
    if row is None:
        raise NotPossible("Nothing lies in quarantine under this number any more.")
    return row


def _require_unfinished(journal: Journal, study_uid: Uid) -> int:
    """Return how many instances of the study the hub has not confirmed."""
    unconfirmed = _count(journal, study_uid, "state IN ('incoming', 'ready')")
    if unconfirmed:
        return unconfirmed
    if _count(journal, study_uid, "1"):
        raise NotPossible("The hub has confirmed every image of this study; nothing of it is on its way.")
    raise NotPossible("This gateway has no such study.")


def _count(journal: Journal, study_uid: Uid, condition: str) -> int:
    query = f"SELECT count(*) AS n FROM instances WHERE study_uid = ? AND {condition}"  # noqa: S608 -- constants
    return int(journal.read(query, (study_uid,))[0]["n"])


def _note(
    connection: sqlite3.Connection,
    asker: Asker,
    verb: Verb,
    study_uid: Uid,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Record the action, and tell the ledger: who asks where a study is shall see that somebody held it."""
    about = dict(detail or {})
    controls.add_action(connection, asker.at, asker.actor, verb, study_uid, about)
    add_custody(connection, Hop.CLINIC_ACTED, study_uid, asker.at, {"verb": verb, "actor": asker.actor} | about)
