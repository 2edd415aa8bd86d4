"""Earlier studies that the hub asks for: requests, what became of them, and which studies were chosen for them.

Durable: every function commits one transaction. Holds patient data: it never enters a log.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.journal.actions import record_action
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.transfers import TransferKey, forget_declaration
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.priors import PriorOutcome, PriorRequest

PROBLEM_CHARACTERS_MAX: Final = 500
TOLD_AFTER: Final = timedelta(hours=1)  # a PACS that restarts needs nobody


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that is to be worked on."""

    request: PriorRequest
    heard_at: datetime
    attempts: int
    outcome: PriorOutcome


def add_request(journal: Journal, request: PriorRequest, now: datetime) -> None:
    """Keep a request; one that is known already stays as it is. It is worked on once the hub knows that we have it."""
    taken = PriorOutcome(state="taken", at=now)
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO prior_requests (request_id, content, state, heard_at, outcome, next_attempt_at)"
            " VALUES (?, ?, 'heard', ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                request.request_id,
                request.model_dump_json(),
                to_text(now),
                taken.model_dump_json(),
                to_text(now),
            ),
        )


def unreported_outcomes(journal: Journal, limit: int) -> list[tuple[str, PriorOutcome]]:
    """Return what the hub has not heard of, oldest request first."""
    rows = journal.read(
        "SELECT request_id, outcome FROM prior_requests WHERE outcome_reported = 0 ORDER BY heard_at LIMIT ?", (limit,)
    )
    return [(row["request_id"], PriorOutcome.model_validate_json(row["outcome"])) for row in rows]


def note_reported(journal: Journal, request_id: str, outcome: PriorOutcome) -> None:
    """Note that the hub has this outcome; a request that was only heard of is now ours to work on."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE prior_requests SET outcome_reported = 1 WHERE request_id = ? AND outcome = ?",
            (request_id, outcome.model_dump_json()),
        )
        connection.execute(
            "UPDATE prior_requests SET state = 'due' WHERE request_id = ? AND state = 'heard'", (request_id,)
        )


def drop_request(journal: Journal, request_id: str) -> None:
    """Work on it no more: the hub does not want it of us."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE prior_requests SET state = 'dropped', outcome_reported = 1, problem = NULL WHERE request_id = ?",
            (request_id,),
        )


def due_requests(journal: Journal, now: datetime, limit: int) -> list[RequestRow]:
    """Return what is to be fetched now, the most urgent case first."""
    rows = journal.read(
        "SELECT * FROM prior_requests WHERE state = 'due' AND next_attempt_at <= ?"
        " ORDER BY CASE json_extract(content, '$.lane') WHEN 'stat' THEN 0 WHEN 'urgent' THEN 1 ELSE 2 END, heard_at"
        " LIMIT ?",
        (to_text(now), limit),
    )
    return [
        RequestRow(
            request=PriorRequest.model_validate_json(row["content"]),
            heard_at=from_text(row["heard_at"]),
            attempts=row["attempts"],
            outcome=PriorOutcome.model_validate_json(row["outcome"]),
        )
        for row in rows
    ]


def finish_request(journal: Journal, request_id: str, outcome: PriorOutcome, *, given_up: bool = False) -> None:
    """Note how it ended; the hub is to hear of it."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE prior_requests SET state = ?, outcome = ?, outcome_reported = 0, problem = ? WHERE request_id = ?",
            (
                "given_up" if given_up else "done",
                outcome.model_dump_json(),
                outcome.reason or None,
                request_id,
            ),
        )


def postpone_request(
    journal: Journal, request_id: str, problem: str, next_attempt_at: datetime, outcome: PriorOutcome | None
) -> None:
    """Note why it did not work and when to try again; `outcome` is what the hub is to hear meanwhile, if anything."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE prior_requests SET attempts = attempts + 1, problem = ?, next_attempt_at = ? WHERE request_id = ?",
            (problem[:PROBLEM_CHARACTERS_MAX], to_text(next_attempt_at), request_id),
        )
        if outcome is not None:
            connection.execute(
                "UPDATE prior_requests SET outcome = ?, outcome_reported = 0 WHERE request_id = ?",
                (outcome.model_dump_json(), request_id),
            )


def wait_with_request(journal: Journal, request_id: str, until: datetime) -> None:
    """Go on later: nothing is wrong, a limit was reached."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE prior_requests SET next_attempt_at = ?, problem = NULL WHERE request_id = ?",
            (to_text(until), request_id),
        )


def want_studies(journal: Journal, request_id: str, study_uids: Sequence[Uid], lane: Lane, ae_title: str) -> None:
    """Note which studies are about to come for a request, so that they are known for what they are."""
    with journal.transaction() as connection:
        connection.executemany(
            "INSERT INTO prior_studies (study_uid, request_id, lane, source_ae_title)"
            " VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(uid, request_id, lane, ae_title) for uid in study_uids],
        )


def mark_fetched(journal: Journal, study_uid: Uid, now: datetime) -> None:
    """Note that the PACS has sent everything of a study."""
    with journal.transaction() as connection:
        connection.execute("UPDATE prior_studies SET fetched_at = ? WHERE study_uid = ?", (to_text(now), study_uid))


def find_prior_lane(
    journal: Journal, study_uid: Uid, calling_ae_titles: Collection[str], last_received_at: datetime
) -> Lane | None:
    """Return the lane of what came as an earlier study; None: it is to be read.

    What anybody but the PACS sends is to be read, and so is what the PACS sends once it has answered our request.
    """
    rows = journal.read("SELECT * FROM prior_studies WHERE study_uid = ?", (study_uid,))
    if not rows or set(calling_ae_titles) != {rows[0]["source_ae_title"]}:
        return None
    fetched_at = rows[0]["fetched_at"]
    if fetched_at is not None and last_received_at > from_text(fetched_at):
        return None
    return Lane(rows[0]["lane"])


def read_after_all(journal: Journal, study_uid: Uid, calling_ae_title: str, now: datetime) -> bool:
    """Have a study that came as a prior read, because somebody has sent it again for that; return whether it was one.

    It is declared anew, to be read; of its images nothing is sent twice. Called for images that are held already.
    """
    if not journal.read("SELECT 1 FROM prior_studies WHERE study_uid = ?", (study_uid,)):
        return False
    if find_prior_lane(journal, study_uid, {calling_ae_title}, now) is not None:
        return False
    with journal.transaction() as connection:
        rows = connection.execute(
            "SELECT revision FROM transfers WHERE study_uid = ? AND json_extract(manifest, '$.purpose') = 'prior'",
            (study_uid,),
        ).fetchall()
        for row in rows:
            key = TransferKey(study_uid, row["revision"])
            forget_declaration(connection, key)
            connection.execute(
                "UPDATE transfers SET lane = ?1, manifest = json_set(manifest, '$.purpose', 'read', '$.lane', ?1),"
                " next_attempt_at = ?2, attempts = 0, problem = NULL WHERE study_uid = ?3 AND revision = ?4",
                (Lane.ROUTINE, to_text(now), *key),
            )
        if rows:
            record_action(connection, now, calling_ae_title, "read_after_all", study_uid)  # which has it sent now
    return bool(rows)


def known_studies(journal: Journal, study_uids: Sequence[Uid]) -> frozenset[Uid]:
    """Return those of these studies that are here, or came through here, other than as a prior that is still wanted."""
    if not study_uids:
        return frozenset()
    places = ", ".join("?" for _ in study_uids)
    rows = journal.read(
        f"SELECT study_uid FROM studies s WHERE study_uid IN ({places}) AND NOT EXISTS"  # noqa: S608 -- constants
        " (SELECT 1 FROM prior_studies p WHERE p.study_uid = s.study_uid AND p.fetched_at IS NULL)",
        tuple(study_uids),
    )
    return frozenset(Uid(row["study_uid"]) for row in rows)


def bytes_since(journal: Journal, since: datetime) -> int:
    """Return the bytes of earlier studies that arrived after a time and are still here."""
    rows = journal.read(
        "SELECT coalesce(sum(i.size_bytes), 0) AS n FROM instances i JOIN prior_studies p USING (study_uid)"
        " WHERE i.received_at > ?",
        (to_text(since),),
    )
    return int(rows[0]["n"])


def list_problems(journal: Journal, told_after: timedelta, now: datetime, limit: int) -> list[dict[str, object]]:
    """Return the requests that fail for longer than `told_after` or were given up, newest first; ids and words."""
    rows = journal.read(
        "SELECT request_id, state, heard_at, attempts, problem FROM prior_requests"
        " WHERE problem IS NOT NULL AND state IN ('due', 'given_up') AND heard_at <= ? ORDER BY heard_at DESC LIMIT ?",
        (to_text(now - told_after), limit),
    )
    return [dict(row) for row in rows]
