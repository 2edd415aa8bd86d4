"""Several schedulers sweep at the same moment, with clocks that differ, and people act between two of their looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from reading_queue.db.health_tables import QueueProbe
from reading_queue.db.tables import Case, ReadingTask, Session
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.motion import dead_jobs, queue_probes, sweeps
from reading_queue.services.motion.queue_probes import ASK_AGAIN
from reading_queue.services.motion.sweeps import in_hand
from reading_queue.services.reading import reading
from reading_queue.services.routing import escalating
from storage.contract.hops import Hop
from storage.ledger.tables import DeadJob, OutboxMessage, UsedNonce
from storage.tables import Base
from tests.integration.hub_reading.world import World
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

CASES = 12
SCHEDULERS = 3


def with_clocks(hub: Hub) -> list[Hub]:
    """Return the hub as schedulers see it: one clock is right, one fast, one slow."""
    wrong_by_s = (0, 5, -5)
    return [replace(hub, clock=lambda by=by: hub.clock() + timedelta(seconds=by)) for by in wrong_by_s]


def at_once(hub: Hub, sweep: Callable[[Hub], int]) -> int:
    """Let every scheduler begin the sweep at one moment; return how much they did together."""
    start = Barrier(SCHEDULERS)

    def run(one: Hub) -> int:
        start.wait(timeout=60)
        return sweep(one)

    with ThreadPoolExecutor(SCHEDULERS) as pool:
        return sum(pool.map(run, with_clocks(hub)))


def between(hub: Hub, words: str, act: Callable[[], object]) -> Callable[[], int]:
    """Do `act` once, right before the hub's next statement with these words; return a function that says how often."""
    done: list[object] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if words in statement and not done:
            done.append(None)
            act()

    event.listen(hub.engine, "before_cursor_execute", before)
    return lambda: len(done)


@pytest.fixture
def tasks(world: World, wang: Viewer) -> list[str]:
    """The reading tasks of a dozen cases that are offered."""
    return [world.open_task(world.arrive(f"1.2.3.{number}")).reading_task_id for number in range(CASES)]


@pytest.fixture
def wang(world: World) -> Viewer:
    return world.add_physician("wang", wip_max=2 * CASES)


def test_what_one_scheduler_has_in_hand_no_other_launches_again(world: World, hub: Hub, wang: Viewer):
    for number in range(CASES):
        world.declare(f"1.2.3.{number}")
        world.catalogue(f"1.2.3.{number}")
    world.wipe_outbox()
    with hub.transaction() as session:
        in_hand = session.scalars(select(ReadingTask.reading_task_id).limit(4).with_for_update()).all()
        assert sweeps.relaunch_lost(hub) == CASES - len(in_hand), "it neither waits nor does it twice"
    assert at_once(hub, sweeps.relaunch_lost) == len(in_hand)
    with hub.transaction() as session:
        launched = Counter(session.scalars(select(OutboxMessage.subject_id).where(OutboxMessage.job == "cases.route")))
    assert (len(launched), set(launched.values())) == (CASES, {1})


def overdue(hub: Hub, account_id: str, number: int) -> dict[str, Base]:
    """Return a row of each kind that a sweep, or a click, has to do something about."""
    now, long_ago = hub.clock(), hub.clock() - timedelta(days=400)
    job = {"job": "cases.route", "subject_id": f"{number}", "arguments": {"reading_task_id": f"{number}"}}
    times = dict.fromkeys(("created_at", "last_seen_at", "expires_at", "authenticated_at"), long_ago)
    probe = {"asked_at": now - ASK_AGAIN, "launched_at": now - ASK_AGAIN}
    return {
        "nonces": UsedNonce(nonce=f"{number}", used_at=long_ago),
        "sessions": Session(token_sha256=f"{number}", account_id=account_id, csrf_token="", kind="api", **times),
        "launches": OutboxMessage(**job, created_at=long_ago, due_at=long_ago, published_at=long_ago),
        "dead jobs": DeadJob(**job, failed_at=long_ago, reason="RuntimeError"),
        "probes": QueueProbe(queue=("routing", "mail")[number], **probe),
    }


SWEPT: dict[str, Callable[[Hub, Viewer], int]] = {
    "nonces": lambda hub, _: sweeps.prune_expired(hub),
    "sessions": lambda hub, _: sweeps.prune_expired(hub),
    "launches": lambda hub, _: sweeps.prune_outbox(hub),
    "dead jobs": lambda hub, somebody: dead_jobs.retry_all(
        hub, replace(somebody, role=Role.ADMINISTRATOR), dead_jobs.DeadJobFilter()
    ),
    "probes": lambda hub, _: queue_probes.ask(hub, {"routing": "probes.routing", "mail": "probes.mail"}),
}


@pytest.mark.parametrize("swept", SWEPT)
def test_what_another_has_in_hand_is_neither_waited_for_nor_done_twice(hub: Hub, wang: Viewer, swept: str):
    with hub.transaction() as session:
        rows = [overdue(hub, wang.account_id, number)[swept] for number in range(2)]
        session.add_all(rows)
    with hub.transaction() as other:
        assert other.scalars(select(type(rows[0])).limit(1).with_for_update()).one()
        assert SWEPT[swept](hub, wang) == 1
    assert SWEPT[swept](hub, wang) == 1
    assert SWEPT[swept](hub, wang) == 0


def test_a_scheduler_that_looked_before_another_launched_does_not_launch_again(world: World, hub: Hub, wang: Viewer):
    world.declare("1.2.3")
    world.catalogue("1.2.3")
    world.wipe_outbox()
    gate = func.pg_advisory_xact_lock_shared(1).is_(None)
    now = hub.clock()
    lost = select(ReadingTask.reading_task_id).where(~in_hand(hub, "cases.route", ReadingTask.reading_task_id, now))

    def is_looking() -> None:
        with hub.transaction() as session:
            assert session.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

    with hub.transaction() as closed, ThreadPoolExecutor(1) as pool:
        closed.execute(select(func.pg_advisory_xact_lock(1)))
        slow = pool.submit(sweeps.launch_all, hub, now, lost.where(~gate), "cases.route", "reading_task_id")
        eventually(is_looking)
        assert sweeps.relaunch_lost(hub) == 1
        closed.commit()
        assert slow.result(timeout=60) == 0


def test_each_step_of_a_limit_is_told_once_by_however_many_schedulers(
    world: World, hub: Hub, hub_clock: SteerableClock, tasks: list[str]
):
    with hub.transaction() as session:
        due_at = max(session.scalars(select(Case.due_at)).all())
        case_ids = session.scalars(select(Case.case_id)).all()
    hub_clock.now = due_at + timedelta(minutes=1)
    at_once(hub, escalating.escalate_due)
    at_once(hub, escalating.escalate_due)
    for case_id in case_ids:
        assert world.hops(case_id).count(Hop.ESCALATED) == 3


def test_a_claim_that_lapses_ends_once_by_however_many_schedulers(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, tasks: list[str]
):
    for task_id in tasks:
        reading.claim(hub, wang, task_id)
    hub_clock.advance(hub.policy.lease_s + 10)
    ended = at_once(hub, sweeps.expire_leases) + sweeps.expire_leases(hub)
    assert ended == CASES
    with hub.transaction() as session:
        replacements = Counter(session.scalars(select(ReadingTask.replaces_id)))
    assert [replacements[task_id] for task_id in tasks] == [1] * CASES


def test_who_is_heard_between_two_looks_of_the_sweep_keeps_the_case(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, tasks: list[str]
):
    reading.claim(hub, wang, tasks[0])
    hub_clock.advance(hub.policy.lease_s + 1)
    times = between(hub, "FOR UPDATE", lambda: reading.heartbeat(hub, wang, tasks[0]))
    assert sweeps.expire_leases(hub) == 0
    assert times() == 1
    with hub.transaction() as session:
        assert session.get_one(ReadingTask, tasks[0]).state == "in_progress"


def test_offers_of_a_case_that_somebody_has_in_hand_end_at_the_next_look(
    world: World, hub: Hub, hub_clock: SteerableClock, tasks: list[str]
):
    hub_clock.advance(hub.policy.offer_ttl_s)
    with hub.transaction() as other:
        assert other.scalars(select(Case).limit(1).with_for_update()).one()
        assert sweeps.expire_offers(hub) == CASES - 1
    assert sweeps.expire_offers(hub) == 1


def test_a_case_that_is_claimed_between_two_looks_is_not_offered_anew(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer, tasks: list[str]
):
    hub_clock.advance(hub.policy.offer_ttl_s - 1)  # open to who takes it now, over for a scheduler that is fast
    fast = replace(hub, clock=lambda: hub.clock() + timedelta(seconds=5))
    between(hub, "FOR UPDATE", lambda: reading.claim(hub, wang, tasks[0]))
    sweeps.expire_offers(fast)
    with hub.transaction() as session:
        task = session.get_one(ReadingTask, tasks[0])
        assert (task.state, session.get_one(Case, task.case_id).state) == ("in_progress", CaseState.READING)
