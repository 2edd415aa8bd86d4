"""A hub that is away for days: nothing is lost, little is asked, and the queue goes on in its order."""

from __future__ import annotations

from datetime import timedelta

from gateway import operations
from gateway.backoff import DELAY_MAX_S, FIRST_DELAY_S, OLD_AFTER, OLD_DELAY_FACTOR
from gateway.clock import utc_now
from gateway.journal.database import from_text
from gateway.operations import Asker
from gateway.spool.layout import SpoolState
from gateway.status import line_words, problems_of, read_status
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

ATTEMPTS = 24
ASKER = Asker("technician-1", utc_now())
A_WHILE_S = 6 * 3600.0  # passes before each attempt once the delays have grown


def waits_of(clinic: Clinic, clock: SteerableClock, attempt: int) -> dict[Uid, float]:
    """Return how long each study waits, once each has failed so often."""

    def failed_again() -> dict[Uid, float]:
        rows = clinic.journal.read("SELECT study_uid, attempts, next_attempt_at FROM transfers")
        assert {row["attempts"] for row in rows} == {attempt}
        return {row["study_uid"]: (from_text(row["next_attempt_at"]) - clock()).total_seconds() for row in rows}

    return eventually(failed_again, every_s=0.005)


def test_days_without_the_hub_cost_few_attempts_and_lose_neither_a_study_nor_its_order(
    clinic: Clinic, hub: HubStandIn
) -> None:
    clock = SteerableClock(utc_now())
    settings = {"url": hub.url, "long_poll_s": 1, "retry_delay_max_s": DELAY_MAX_S, "custody_report_s": 0.5}
    hub.stop()
    lanes = [Lane.BACKGROUND, Lane.ROUTINE, Lane.URGENT, Lane.STAT]
    studies = {clinic.add_study(lane=lane): lane for lane in lanes}
    operations.pause_line(clinic.journal, ASKER)
    clock.advance(60)
    began = clock()
    link = clinic.connect(clock=clock, upload_streams=1, hub=settings)
    for attempt in range(1, ATTEMPTS):
        waits = waits_of(clinic, clock, attempt)
        cap_s = DELAY_MAX_S * (OLD_DELAY_FACTOR if clock() - began >= OLD_AFTER else 1)
        full_s = min(FIRST_DELAY_S * 2 ** (attempt - 1), cap_s)
        assert all(full_s / 2 <= wait_s <= full_s for wait_s in waits.values())
        assert len(set(waits.values())) == len(studies)  # they do not all come at the same moment
        clock.advance(max(*waits.values(), A_WHILE_S if attempt > 10 else 0))
        link.study_became_ready()
    waits_of(clinic, clock, ATTEMPTS)
    assert clock() - began > timedelta(days=3)
    assert {uid: clinic.state_of(uid) for uid in studies} == dict.fromkeys(studies, "ready")
    for uid in studies:
        assert len(list((clinic.spool.root / SpoolState.READY / f"{uid}.1").iterdir())) == 3
    told = read_status(clinic.journal)
    assert "the hub cannot be reached since" in line_words(told["line"])
    assert all(any(uid in words and "cannot be reached" in words for words in problems_of(told)) for uid in studies)
    _come_back_in_order(clinic, hub, clock, studies)


def _come_back_in_order(clinic: Clinic, hub: HubStandIn, clock: SteerableClock, studies: dict[Uid, Lane]) -> None:
    """Let the line go on when every study has its address, so that only the order of the lanes decides."""
    hub.start()
    clock.advance(DELAY_MAX_S * OLD_DELAY_FACTOR)
    clinic.links[0].actions_asked()
    eventually(lambda: _assert(len(hub.grants) == len(studies)))
    operations.resume_line(clinic.journal, ASKER)

    def all_confirmed() -> None:
        assert {clinic.state_of(uid) for uid in studies} == {"confirmed"}

    eventually(all_confirmed)
    of_pack = {row["pack_sha256"]: row["study_uid"] for row in clinic.journal.read("SELECT * FROM packs")}
    puts = [line.rpartition("/")[2] for line in hub.seen if line.startswith("PUT")]
    assert [studies[of_pack[sha]] for sha in puts] == [Lane.STAT, Lane.URGENT, Lane.ROUTINE, Lane.BACKGROUND]
    assert "the hub was last reached at" in line_words(read_status(clinic.journal)["line"])


def _assert(condition: bool) -> None:
    assert condition
