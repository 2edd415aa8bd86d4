"""Tells the hub what people at the clinic did about cases that wait for them, and fetches which cases do.

Durable: acts that the hub has not answered, and what it last said, in the journal. A hub of an earlier version knows
nothing of it: then nothing is shown, and acts wait. Volatile: how often in a row it failed.
"""

from __future__ import annotations

import random
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.hub.client import HubClient
from gateway.hub.errors import HubError, HubRefused
from gateway.journal import course
from gateway.journal.database import Journal
from storage.contract.course import ACTS_PER_BATCH_MAX, SiteActs

log = structlog.get_logger(__name__)

FETCH_EVERY_S: Final = 10.0
OLD_HUB_RETRY_S: Final = 600.0


class CourseSync:
    """One step of a `Loop`. `wake` it when somebody acted."""

    def __init__(self, journal: Journal, client: HubClient, *, retry_delay_max_s: float) -> None:
        self._journal = journal
        self._client = client
        self._retry_delay_max_s = retry_delay_max_s
        self._failures = 0

    def step(self) -> float:
        """Report what is due, fetch what waits; return the seconds to wait."""
        try:
            self._report()
            course.take_over_courses(self._journal, self._client.fetch_courses().courses)
        except HubRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return OLD_HUB_RETRY_S
            return self._later(exc)
        except HubError as exc:
            return self._later(exc)
        self._failures = 0
        return FETCH_EVERY_S

    def _later(self, exc: HubError) -> float:
        self._failures += 1
        log.info("courses_delayed", reason=str(exc), failures=self._failures)
        return delay_s(self._failures, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311

    def _report(self) -> None:
        while due := course.due_acts(self._journal, ACTS_PER_BATCH_MAX):
            answer = self._client.report_site_acts(SiteActs(acts=tuple(due)))
            told = {*answer.done, *(one.act_id for one in answer.refused)}
            if not told & {act.act_id for act in due}:
                raise HubError("the hub said nothing of the acts that it was given")
            course.note_answer(self._journal, answer)
            for refusal in answer.refused:
                log.warning("site_act_refused", act_id=refusal.act_id, code=refusal.code)
