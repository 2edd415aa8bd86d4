"""Fetches the earlier studies that the hub asked for from the site's PACS, one study after the other.

Durable: which studies are wanted, before the PACS is asked to send them; what came, as everything that is received.
Volatile: the association. A study that was cut off is asked for again: what is held already changes nothing. A PACS
that is down is tried for days; nothing else waits for it, and no case does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.journal import priors
from gateway.journal.database import Journal
from gateway.journal.priors import TOLD_AFTER, RequestRow
from gateway.priors.choice import FoundStudy, choose
from gateway.priors.pacs import Pacs, PacsTrouble, StudyNotSent
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.priors import PriorOutcome

log = structlog.get_logger(__name__)

IDLE_S: Final = 30.0
AT_ONCE: Final = 1
FIRST_RETRY_S: Final = 5.0
RETRY_MAX_S: Final = 600.0
LIMIT_RECHECK: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PriorLimits:
    """How much is fetched: studies and years for one case, bytes within an hour; how long a PACS is tried."""

    studies_max: int
    years_max: float
    bytes_per_hour_max: int
    give_up_after: timedelta


class PriorFetcher:
    """One step of a `Loop`. `expect` hears how many instances of a study are to arrive; `on_outcome` of each end."""

    def __init__(
        self,
        journal: Journal,
        pacs: Pacs,
        limits: PriorLimits,
        *,
        clock: Callable[[], datetime],
        expect: Callable[[Uid, int], None],
        on_outcome: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._pacs = pacs
        self._limits = limits
        self._clock = clock
        self._expect = expect
        self._on_outcome = on_outcome

    def step(self) -> float:
        """Work on one request; return the seconds to wait."""
        due = priors.due_requests(self._journal, self._clock(), AT_ONCE)
        for row in due:
            try:
                self._work_on(row)
            except PacsTrouble as exc:
                self._postpone(row, exc, PriorOutcome(state="failed", at=self._clock()))
        return 0.0 if due else min(IDLE_S, FIRST_RETRY_S)

    def _work_on(self, row: RequestRow) -> None:
        request = row.request
        answers = self._pacs.find_studies(request.patient_number)
        known = priors.known_studies(self._journal, [one.study_uid for one in answers])
        choice = choose(
            request,
            answers,
            studies_max=self._limits.studies_max,
            years_max=self._limits.years_max,
            known=known,
        )
        lane = Lane.URGENT if request.lane is Lane.STAT else Lane.BACKGROUND
        uids = [one.study_uid for one in choice.fetch]
        priors.want_studies(self._journal, request.request_id, uids, lane, self._pacs.destination.ae_title)
        not_sent: list[StudyNotSent] = []
        for study in choice.fetch:
            if self._is_over_limit():
                priors.wait_with_request(self._journal, request.request_id, self._clock() + LIMIT_RECHECK)
                return
            try:
                self._fetch(study)
            except StudyNotSent as exc:  # it holds up none of the others
                not_sent.append(exc)
        outcome = PriorOutcome(
            state="failed" if not_sent else "done",
            at=self._clock(),
            found=choice.found,
            fetched=choice.here + len(uids) - len(not_sent),
            left_out=choice.other_people,
        )
        log.info("priors_fetched", request_id=request.request_id, found=choice.found, fetched=outcome.fetched)
        if not_sent:
            self._postpone(row, not_sent[0], outcome)
            return
        priors.finish_request(self._journal, request.request_id, outcome)
        self._on_outcome()

    def _fetch(self, study: FoundStudy) -> None:
        if study.instance_count is not None:
            self._expect(study.study_uid, study.instance_count)
        self._pacs.move_study(study.study_uid)
        priors.mark_fetched(self._journal, study.study_uid, self._clock())

    def _is_over_limit(self) -> bool:
        since = self._clock() - timedelta(hours=1)
        return priors.bytes_since(self._journal, since) >= self._limits.bytes_per_hour_max

    def _postpone(self, row: RequestRow, trouble: PacsTrouble, outcome: PriorOutcome) -> None:
        """Try again later, give up after days; the hub hears of what lasts, each code once."""
        now = self._clock()
        age = now - row.heard_at
        failed = outcome.model_copy(update={"code": trouble.code, "reason": str(trouble)})
        log.info("priors_delayed", request_id=row.request.request_id, code=trouble.code, attempts=row.attempts + 1)
        if age >= self._limits.give_up_after:
            priors.finish_request(self._journal, row.request.request_id, failed, given_up=True)
            self._on_outcome()
            return
        wait_s = delay_s(row.attempts + 1, age, random.random(), first_s=FIRST_RETRY_S, max_s=RETRY_MAX_S)  # noqa: S311
        is_news = age >= TOLD_AFTER and row.outcome.code != trouble.code
        priors.postpone_request(
            self._journal,
            row.request.request_id,
            str(trouble),
            now + timedelta(seconds=wait_s),
            failed if is_news else None,
        )
        if is_news:
            self._on_outcome()
