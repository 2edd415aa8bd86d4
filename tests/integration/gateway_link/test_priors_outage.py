"""A PACS that is down for days: tried again and again with growing pauses, told once, given up at last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.console.attention import list_matters
from gateway.journal import priors
from gateway.journal.database import Journal, from_text
from gateway.priors.fetching import RETRY_MAX_S, PriorFetcher, PriorLimits
from gateway.priors.pacs import Pacs
from gateway.scu import Destination
from gateway.spool import RealFiles, Spool
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.priors import PriorOutcome, PriorRequest
from tests.support.ports import own_port

pytestmark = pytest.mark.services

HEARD = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
REQUEST = PriorRequest(
    number=1,
    request_id="a" * 32,
    study_uid=Uid("1.2.3"),
    patient_number="P1",
    patient_name="王^芳",
    lane=Lane.ROUTINE,
    studies_max=5,
    years_max=5,
    requested_at=HEARD,
)


class Outage:
    """The fetcher with a PACS at whose port nobody listens, and a clock that is set."""

    def __init__(self, folder: Path) -> None:
        self.now = HEARD
        self.heard_of = 0
        self.journal = Journal(folder / "journal.sqlite3")
        self.spool = Spool(folder / "spool", RealFiles())
        priors.add_request(self.journal, REQUEST, HEARD)
        ((request_id, taken),) = priors.unreported_outcomes(self.journal, 9)
        priors.note_reported(self.journal, request_id, taken)
        self.fetcher = PriorFetcher(
            self.journal,
            Pacs(Destination("PACS", "127.0.0.1", own_port(), 1), "COUNTERPART"),
            PriorLimits(5, 5, 1024**3, timedelta(days=14)),
            clock=lambda: self.now,
            expect=lambda _uid, _count: None,
            on_outcome=self._on_outcome,
        )

    def _on_outcome(self) -> None:
        self.heard_of += 1

    def try_now(self) -> float:
        """Try, as soon as it is due; return the seconds until the next time."""
        self.now = max(self.now, self._next())
        self.fetcher.step()
        return (self._next() - self.now).total_seconds()

    def report(self) -> list[PriorOutcome]:
        """Let the hub hear what it has not heard."""
        news = priors.unreported_outcomes(self.journal, 9)
        for request_id, outcome in news:
            priors.note_reported(self.journal, request_id, outcome)
        return [outcome for _, outcome in news]

    def matters(self) -> list[str]:
        found = list_matters(self.journal, self.spool, self.now, disk_floor_bytes=0, accounts_offline=timedelta(days=7))
        return [matter.reason for matter in found if matter.kind == "priors_fail"]

    def _next(self) -> datetime:
        return from_text(self.journal.read("SELECT next_attempt_at FROM prior_requests")[0]["next_attempt_at"])


def test_pacs_that_is_down_for_days_is_tried_with_growing_pauses_told_once_and_given_up(tmp_path: Path) -> None:
    outage = Outage(tmp_path)
    pauses = [outage.try_now() for _ in range(12)]
    assert pauses[0] < 30 < pauses[-1] <= RETRY_MAX_S * 1.5
    assert len({round(pause, 3) for pause in pauses[-4:]}) > 1, "the pauses have jitter"
    assert outage.now < HEARD + timedelta(hours=3)
    outage.now = HEARD + timedelta(hours=4)
    outage.try_now()
    (told,) = outage.matters()
    assert "cannot be reached" in told
    outage.report()
    for days in (1, 5, 13):
        outage.now = HEARD + timedelta(days=days)
        outage.try_now()
        assert outage.report() == [], "the hub has heard of it"
    outage.now = HEARD + timedelta(days=14)
    outage.try_now()
    (last,) = outage.report()
    assert (last.state, last.code) == ("failed", "pacs_unreachable")
    assert priors.due_requests(outage.journal, outage.now + timedelta(days=1), 9) == []
    assert outage.matters(), "and the console still says so"


def test_the_hub_hears_of_a_pacs_that_is_down_after_an_hour(tmp_path: Path) -> None:
    outage = Outage(tmp_path)
    outage.try_now()
    assert (outage.report(), outage.heard_of) == ([], 0)
    outage.now = HEARD + priors.TOLD_AFTER
    outage.try_now()
    (news,) = outage.report()
    assert (news.state, news.code, outage.heard_of) == ("failed", "pacs_unreachable", 1)
