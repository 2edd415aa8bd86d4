"""Tells the hub what people at the clinic did about cases that wait for them, and fetches which cases do."""

from __future__ import annotations

from gateway.hub.telling import TellingSync, require_told
from gateway.journal import course
from storage.contract.course import ACTS_PER_BATCH_MAX, SiteActs


class CourseSync(TellingSync):
    """What readers ask of the clinic, and what it answers."""

    name = "courses"

    def _report(self) -> None:
        while due := course.due_acts(self._journal, ACTS_PER_BATCH_MAX):
            answer = self._client.report_site_acts(SiteActs(acts=tuple(due)))
            require_told(answer, (act.act_id for act in due))
            course.note_answer(self._journal, answer)

    def _fetch(self) -> None:
        course.take_over_courses(self._journal, self._client.fetch_courses().courses)
