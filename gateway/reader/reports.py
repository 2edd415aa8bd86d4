"""Takes reports from workstations and hands them to the hub, where each becomes the draft of the case its writer holds.

Durable: each report, before it is acknowledged, until the hub has it; what became of it. Volatile: nothing. AA says
that this gateway has the report for good, AE that the hub or this gateway refuses it, in words. While the line is down
reports wait here.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.hub import HubClient, HubError, HubRefused
from gateway.journal.database import Journal, to_text
from gateway.reader.oru import OruUnusable, parse_oru
from storage.contract.wire import ReaderReport
from storage.hl7.acknowledging import read_message
from storage.hl7.faults import MessageRejected
from storage.hl7.message import Message, encode, escape, header, segment
from storage.hl7.order_answers import try_reading

log = structlog.get_logger(__name__)

IDLE_S: Final = 30.0
ANOTHER_PHYSICIAN: Final = "not_the_claimer"
WORDS_CHARACTERS_MAX: Final = 300


class ReportIntake:
    """The handler of the MLLP listener, and one step of a `Loop` for what waits."""

    def __init__(
        self,
        journal: Journal,
        client: HubClient,
        *,
        character_set: str,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._client = client
        self._character_set = character_set
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock

    def handle(self, data: bytes) -> bytes:
        """Keep the report, try the hub at once, and return the acknowledgement."""
        try:
            message = read_message(data, self._character_set)
        except MessageRejected as exc:
            return self._answer(try_reading(data, self._character_set), "AR", exc.fault.words)
        try:
            bodies = parse_oru(message)
        except OruUnusable as exc:
            return self._answer(message, "AE", str(exc))
        key = hashlib.sha256(data).hexdigest()
        self._keep(key, bodies)
        problem = self._send(key, bodies, 0)
        return self._answer(message, "AE" if problem else "AA", problem)

    def step(self) -> float:
        """Send what waits; return the seconds until something is due."""
        due = self._journal.read(
            "SELECT * FROM reader_reports WHERE state = 'due' AND next_attempt_at <= ? ORDER BY received_at LIMIT 50",
            (to_text(self._clock()),),
        )
        for row in due:
            bodies = [ReaderReport.model_validate(body) for body in json.loads(row["bodies"])]
            self._send(row["report_key"], bodies, row["attempts"])
        waiting = self._journal.read("SELECT count(*) AS n FROM reader_reports WHERE state = 'due'")[0]["n"]
        return min(self._retry_delay_max_s, IDLE_S) if waiting else IDLE_S

    def _keep(self, key: str, bodies: list[ReaderReport]) -> None:
        """Make it durable; one that was refused before is tried again, as the sender asks."""
        now = to_text(self._clock())
        with self._journal.transaction() as connection:
            connection.execute(
                "INSERT INTO reader_reports (report_key, received_at, bodies, state, next_attempt_at)"
                " VALUES (?, ?, ?, 'due', ?)"
                " ON CONFLICT DO UPDATE SET state = CASE state WHEN 'refused' THEN 'due' ELSE state END",
                (key, now, json.dumps([body.model_dump(mode="json") for body in bodies], ensure_ascii=False), now),
            )

    def _send(self, key: str, bodies: list[ReaderReport], attempts: int) -> str:
        """Hand the report over as of each physician named until one is its writer; return the refusal in words."""
        refusal = ""
        for body in bodies:
            try:
                self._client.send_reader_report(body)
            except HubRefused as exc:
                refusal = exc.detail
                if exc.code == ANOTHER_PHYSICIAN:
                    continue
                break
            except HubError as exc:
                wait_s = delay_s(attempts + 1, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311
                self._note(key, "due", str(exc), self._clock() + timedelta(seconds=wait_s))
                return ""
            self._note(key, "taken", None, self._clock())
            log.info("workstation_report_taken", report_key=key)
            return ""
        self._note(key, "refused", refusal, self._clock())
        log.warning("workstation_report_refused", report_key=key)
        return refusal

    def _note(self, key: str, state: str, problem: str | None, next_attempt_at: datetime) -> None:
        with self._journal.transaction() as connection:
            connection.execute(
                "UPDATE reader_reports SET state = ?1, problem = ?2, next_attempt_at = ?3, attempts = attempts + 1,"
                " bodies = CASE ?1 WHEN 'taken' THEN '[]' ELSE bodies END WHERE report_key = ?4 AND state <> 'taken'",
                (state, problem, to_text(next_attempt_at), key),
            )

    def _answer(self, message: Message | None, code: str, words: str) -> bytes:
        """Return an ACK (HL7 2.5.1 section 2.14.1), its words in MSA-3 and ERR-8."""
        about = message.get("MSH", 10) if message is not None else ""
        stamp = self._clock().strftime("%Y%m%d%H%M%S%z")
        fields = {3: "COUNTERPART", 7: stamp, 9: "ACK^R01^ACK", 10: f"A{about}"[:20], 11: "P", 12: "2.5.1"}
        if message is not None:
            fields |= {5: escape(message.get("MSH", 3)), 6: escape(message.get("MSH", 4))}
        text = escape(words[:WORDS_CHARACTERS_MAX])
        segments = [header(fields | {18: self._character_set}), segment("MSA", {1: code, 2: escape(about), 3: text})]
        if words:
            segments.append(segment("ERR", {3: "207^Application internal error^HL70357", 4: "E", 8: text}))
        return encode(segments, self._character_set)
