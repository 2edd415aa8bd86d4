"""Removes reports that came home long ago and went wherever they had to go: the hub keeps them for good.

Never a report that waits for a target, whose receipts the hub has not heard, or whose announcement is the newest, by
which the hub is asked for the next. All documents of a case go together. Durable: the files go before their rows, so
that a stop between them is finished by the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.journal.database import Journal
from gateway.journal.returns import forget_case, list_cases_done_before
from gateway.returns.store import DocumentStore

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 6 * 3600.0
CASES_AT_ONCE_MAX: Final = 200


class DocumentRetention:
    """One step of a `Loop`."""

    def __init__(
        self, journal: Journal, store: DocumentStore, *, keep: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._journal = journal
        self._store = store
        self._keep = keep
        self._clock = clock

    def step(self) -> float:
        """Remove what is old; return the seconds until there may be more."""
        cases = list_cases_done_before(self._journal, self._clock() - self._keep, CASES_AT_ONCE_MAX)
        for case_id in cases:
            self._store.remove_case(case_id)
            forget_case(self._journal, case_id)
        if cases:
            log.info("old_documents_removed", cases=len(cases))
        return 0.0 if len(cases) == CASES_AT_ONCE_MAX else LOOK_EVERY_S
