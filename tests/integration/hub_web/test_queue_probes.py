"""Each queue is asked again and again whether anybody works it off, and an administrator sees the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from reading_queue.db.health_tables import WorkerBeat
from reading_queue.services.health import Unhealthy, check_queues
from reading_queue.services.hub import Hub
from reading_queue.services.motion import queue_probes
from reading_queue.services.motion.queue_probes import (
    ASK_AGAIN,
    ASK_EVERY,
    BUSY_FOR,
    FORGOTTEN_AFTER,
    SILENT_AFTER,
    STANDS_AFTER,
)
from reading_queue.worker.jobs import JOBS, PROBES
from storage.ledger.tables import OutboxMessage
from tests.integration.hub_web.county import ADMINISTRATOR, COORDINATOR
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres
ROUTING = {"routing": PROBES["routing"]}
Visitors = Callable[[str], Visitor]


def launches(hub: Hub) -> int:
    with hub.transaction() as session:
        return len(session.scalars(select(OutboxMessage).where(OutboxMessage.job == PROBES["routing"])).all())


def test_every_queue_has_a_probe_of_its_own() -> None:
    assert {JOBS[job].queue: job for job in PROBES.values()} == dict(PROBES)
    assert {job.queue for job in JOBS.values()} == set(PROBES)


def test_a_queue_is_asked_again_once_it_has_answered(hub: Hub, hub_clock: SteerableClock) -> None:
    queue_probes.ask(hub, ROUTING)
    hub_clock.advance(ASK_EVERY.total_seconds())
    queue_probes.ask(hub, ROUTING)
    assert launches(hub) == 1, "one that waits is not asked twice"
    queue_probes.answer(hub, "routing")
    queue_probes.ask(hub, ROUTING)
    assert launches(hub) == 2


def test_a_lost_probe_is_launched_again_and_its_wait_counts_from_the_first(
    hub: Hub, hub_clock: SteerableClock, program_of: Visitors
) -> None:
    queue_probes.ask(hub, ROUTING)
    asked_at = hub_clock.now
    hub_clock.advance(ASK_AGAIN.total_seconds())
    queue_probes.ask(hub, ROUTING)
    assert launches(hub) == 2
    administrator = program_of(ADMINISTRATOR)
    (queue,) = administrator.call("GET", "/queues").json()["queues"]
    assert queue["stands_still"]
    assert queue["waits_since"] == asked_at.isoformat().replace("+00:00", "Z")
    queue_probes.answer(hub, "routing")
    queue_probes.answer(hub, "routing")
    (queue,) = administrator.call("GET", "/queues").json()["queues"]
    assert (queue["took_ms"], queue["stands_still"]) == (ASK_AGAIN.total_seconds() * 1000, False)


def test_the_page_names_a_queue_that_stands_still_and_a_silent_scheduler(
    hub: Hub, hub_clock: SteerableClock, browser_of: Visitors
) -> None:
    queue_probes.ask(hub, PROBES)
    queue_probes.hear_worker(hub, "here/1", PROBES)
    for queue in set(PROBES) - {"routing"}:
        queue_probes.answer(hub, queue)
    hub_clock.advance(max(STANDS_AFTER, SILENT_AFTER).total_seconds() + 1)
    queue_probes.hear_worker(hub, "here/1", PROBES)
    page = browser_of(ADMINISTRATOR).get("/coordinator/jobs").text
    assert page.count("无应答") == 1
    assert "病例分发" in page
    assert "无信号" in page
    assert browser_of(COORDINATOR).get("/coordinator/jobs").status == 403
    hub_clock.advance(FORGOTTEN_AFTER.total_seconds())
    queue_probes.ask(hub, PROBES)
    assert "无信号" not in browser_of(ADMINISTRATOR).get("/coordinator/jobs").text


def test_the_page_says_in_words_which_queue_no_worker_serves(
    hub: Hub, hub_clock: SteerableClock, browser_of: Visitors, program_of: Visitors
) -> None:
    queue_probes.hear_worker(hub, "here/1", set(PROBES) - {"large"})
    queue_probes.ask(hub, PROBES)
    assert check_queues(hub) == "each has a worker", "a probe that has just been asked proves nothing"
    hub_clock.advance(SILENT_AFTER.total_seconds() + 1)
    queue_probes.hear_worker(hub, "here/1", set(PROBES) - {"large"})
    page = browser_of(ADMINISTRATOR).get("/coordinator/jobs").text
    assert page.count("没有工作进程处理此队列") == 1
    assert "counterpart-hub serve worker --queues large" in page
    queues = program_of(ADMINISTRATOR).call("GET", "/queues").json()["queues"]
    assert {one["queue"]: one["workers"] for one in queues} == {queue: int(queue != "large") for queue in PROBES}
    with pytest.raises(Unhealthy, match="serve worker --queues large"):
        check_queues(hub)
    queue_probes.hear_worker(hub, "there/2", {"large"})
    assert "没有工作进程处理此队列" not in browser_of(ADMINISTRATOR).get("/coordinator/jobs").text
    assert check_queues(hub) == "each has a worker"


def test_a_large_job_that_holds_its_worker_is_no_alarm(
    hub: Hub, hub_clock: SteerableClock, browser_of: Visitors
) -> None:
    queue_probes.ask(hub, {"large": PROBES["large"]})
    hub_clock.advance(STANDS_AFTER.total_seconds() + 1)
    queue_probes.hear_worker(hub, "here/1", {"large"})
    page = browser_of(ADMINISTRATOR).get("/coordinator/jobs").text
    assert "工作进程忙碌" in page
    assert "无应答" not in page
    hub_clock.advance(BUSY_FOR["large"].total_seconds())
    queue_probes.hear_worker(hub, "here/1", {"large"})
    assert "无应答" in browser_of(ADMINISTRATOR).get("/coordinator/jobs").text


def test_a_worker_that_is_gone_is_forgotten(hub: Hub, hub_clock: SteerableClock) -> None:
    queue_probes.hear_worker(hub, "here/1", PROBES)
    hub_clock.advance(FORGOTTEN_AFTER.total_seconds() + 1)
    queue_probes.hear_worker(hub, "here/2", {"routing"})
    with hub.transaction() as session:
        assert [one.place for one in session.scalars(select(WorkerBeat))] == ["here/2"]
