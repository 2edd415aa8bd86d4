"""An administrator's page and interface of jobs that failed for good: filter, try again, dismiss; and who did it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from reading_queue.services.hub import Hub
from reading_queue.services.motion.dead_jobs import find_dead_jobs
from reading_queue.worker.failures import OTHER_ATTEMPTS_MAX, lay_down, record_failure
from storage.ledger.tables import AuditEvent, DeadJob, OutboxMessage
from tests.integration.hub_web.county import ADMINISTRATOR, COORDINATOR
from tests.integration.hub_web.serving import Visitor
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

PAGE = "/coordinator/jobs"
Visitors = Callable[[str], Visitor]


@pytest.fixture
def dead(hub: Hub, hub_clock: SteerableClock) -> list[int]:
    """The numbers of three dead jobs: an old routing, a new routing, and a rendering that ended its process."""
    record_failure(hub, "cases.route", {"reading_task_id": "task-1"}, OTHER_ATTEMPTS_MAX, RuntimeError("王小明"))
    hub_clock.advance(2 * 3600)
    record_failure(hub, "cases.route", {"reading_task_id": "task-2"}, OTHER_ATTEMPTS_MAX, LookupError("王小明"))
    lay_down(hub, "reports.render", {"report_id": "report-1"}, "its process ended: out of memory, or a crash")
    return [one.dead_job_id for one in find_dead_jobs(hub)]


def launched(hub: Hub) -> list[str]:
    with hub.transaction() as session:
        jobs = ("cases.route", "reports.render")
        return sorted(session.scalars(select(OutboxMessage.subject_id).where(OutboxMessage.job.in_(jobs))))


def audited(hub: Hub) -> list[tuple[str | None, str, str]]:
    with hub.transaction() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "dead_job"))
        return [(one.account_id, one.object_id, one.detail["act"]) for one in events]


def account_of(hub: Hub, dead_job_id: int) -> str | None:
    with hub.transaction() as session:
        return session.get_one(DeadJob, dead_job_id).settled_by


def test_the_page_filters_by_step_kind_of_error_and_age(browser_of: Visitors, dead: list[int]) -> None:
    admin = browser_of(ADMINISTRATOR)
    page = admin.get(PAGE).text
    assert all(one in page for one in ("task-1", "task-2", "report-1", "builtins.RuntimeError"))
    assert "王小明" not in page
    assert "task-1" not in admin.get(f"{PAGE}?job=reports.render").text
    assert "task-1" not in admin.get(f"{PAGE}?error=builtins.LookupError").text
    old = admin.get(f"{PAGE}?older_than_h=1").text
    assert "task-1" in old
    assert "task-2" not in old


def test_a_retry_and_a_dismissal_say_who_and_why(hub: Hub, browser_of: Visitors, dead: list[int]) -> None:
    admin = browser_of(ADMINISTRATOR)
    assert admin.post(f"{PAGE}/{dead[0]}/retry").status == 303
    assert launched(hub) == ["task-1"]
    assert admin.post(f"{PAGE}/{dead[0]}/retry").status == 409
    assert admin.post(f"{PAGE}/{dead[2]}/dismiss", reason="").status == 422
    assert admin.post(f"{PAGE}/{dead[2]}/dismiss", reason="the report was written again").status == 303
    assert [one.dead_job_id for one in find_dead_jobs(hub)] == [dead[1]]
    who = account_of(hub, dead[0])
    assert who is not None
    assert audited(hub) == [(who, str(dead[0]), "retried"), (who, str(dead[2]), "dismissed")]


def test_all_of_a_filter_are_launched_by_one_click(hub: Hub, browser_of: Visitors, dead: list[int]) -> None:
    assert browser_of(ADMINISTRATOR).post(f"{PAGE}/retry", job="cases.route").status == 303
    assert launched(hub) == ["task-1", "task-2"]
    assert [one.job for one in find_dead_jobs(hub)] == ["reports.render"]
    assert len(audited(hub)) == 2


def test_a_program_does_the_same(hub: Hub, program_of: Visitors, dead: list[int]) -> None:
    admin = program_of(ADMINISTRATOR)
    found = admin.call("GET", "/dead-jobs?error=builtins.LookupError").json()
    assert [one["dead_job_id"] for one in found["dead_jobs"]] == [dead[1]]
    assert admin.call("POST", f"/dead-jobs/{dead[2]}/dismiss", {"reason": "written again"}).status == 204
    assert admin.call("POST", f"/dead-jobs/{dead[0]}/retry").status == 204
    assert admin.call("POST", "/dead-jobs/retry", {}).json() == {"retried": 1}
    assert admin.call("GET", "/dead-jobs").json()["count"] == 0
    assert launched(hub) == ["task-1", "task-2"]


def test_a_coordinator_has_no_part_in_it(browser_of: Visitors, dead: list[int]) -> None:
    coordinator = browser_of(COORDINATOR)
    assert coordinator.get(PAGE).status == 403
    assert coordinator.post(f"{PAGE}/{dead[0]}/retry").status == 403
