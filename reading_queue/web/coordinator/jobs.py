"""The administrator's page of jobs: how launches stand, what failed for good, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from reading_queue.errors import HubError
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.holdings import retention
from reading_queue.services.motion import dead_jobs, queue_probes
from reading_queue.services.motion.dead_jobs import DeadJobFilter
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import Form, field, whole_number
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import redirect

JOBS: Final = "/coordinator/jobs"
AGES_H: Final = (0, 1, 24, 168)
DONE: Final = frozenset({"retried", "dismissed"})


def wanted_dead_jobs(values: Form) -> DeadJobFilter:
    """Return the filter of a form or a query. Raises Invalid."""
    hours = field(values, "older_than_h")
    return DeadJobFilter(field(values, "job"), field(values, "error"), whole_number(hours) if hours else 0)


async def show(request: web.Request, viewer: Viewer, refused: HubError | None = None) -> web.StreamResponse:
    """Show the open dead jobs of a filter."""
    wanted, hub, done = wanted_dead_jobs(request.query), request.config_dict[HUB], request.query.get("done", "")
    found = await in_thread(request, dead_jobs.list_dead_jobs, hub, viewer, wanted)
    health = await in_thread(request, queue_probes.work_health, hub, viewer)
    return page(
        request,
        "coordinator/jobs.html",
        health=health,
        status=refused.status if refused is not None else 200,
        refused=words_of(refused) if refused is not None else "",
        done=done if done in DONE else "",
        found=found,
        wanted=wanted,
        here=_address(wanted),
        ages=AGES_H,
        now=hub.clock(),
        reason_characters=retention.REASON_CHARACTERS,
    )


async def retry(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Launch one again."""

    def use_case(number: int) -> None:
        dead_jobs.retry(request.config_dict[HUB], number, viewer)

    return await _act(request, viewer, use_case, "retried")


async def retry_all(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Launch all of the filter again."""
    wanted = wanted_dead_jobs(await request.post())
    await in_thread(request, dead_jobs.retry_all, request.config_dict[HUB], viewer, wanted)
    return redirect(_address(wanted, "retried"))


async def dismiss(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take one off the list, with why."""
    reason = field(await request.post(), "reason")

    def use_case(number: int) -> None:
        dead_jobs.dismiss(request.config_dict[HUB], viewer, number, reason)

    return await _act(request, viewer, use_case, "dismissed")


async def _act(request: web.Request, viewer: Viewer, use_case: Callable[[int], None], done: str) -> web.StreamResponse:
    wanted = wanted_dead_jobs(request.query)
    try:
        await in_thread(request, use_case, whole_number(request.match_info["dead_job_id"]))
    except HubError as exc:
        return await show(request, viewer, exc)
    return redirect(_address(wanted, done))


def _address(wanted: DeadJobFilter, done: str = "") -> str:
    given = {"job": wanted.job, "error": wanted.error, "older_than_h": wanted.older_than_h, "done": done}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"{JOBS}?{query}" if query else JOBS
