"""Jobs that failed for good, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.motion import dead_jobs, queue_probes
from reading_queue.services.motion.dead_jobs import DeadJobFilter
from reading_queue.web.api import models
from reading_queue.web.api.handlers import body_of, nothing
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import field, whole_number


class DeadJob(BaseModel):
    """One job that failed for good; `subject_id` is the id of what it is about."""

    dead_job_id: int
    job: str
    subject_id: str
    failed_at: datetime
    error: str
    reason: str


class DeadJobs(BaseModel):
    """The open dead jobs of the filter, oldest first, and how launches stand."""

    count: int
    dead_jobs: list[DeadJob]
    launches_late: int
    launches_late_since: datetime | None
    timers: int
    next_timer_at: datetime | None


class Queues(BaseModel):
    """Each queue with its last answer to a probe, and each scheduler."""

    queues: tuple[queue_probes.QueueView, ...]
    schedulers: tuple[queue_probes.SchedulerView, ...]


class DeadJobChoice(BaseModel):
    """Which dead jobs are meant; what is left out leaves nothing out."""

    model_config = ConfigDict(extra="forbid")

    job: str = Field(default="", max_length=200)
    error: str = Field(default="", max_length=200)
    older_than_h: int = Field(default=0, ge=0)


class Retried(BaseModel):
    """How many were launched again."""

    retried: int


async def show_queues(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer how the queues and schedulers do."""
    health = await in_thread(request, queue_probes.work_health, request.config_dict[HUB], viewer)
    return web.json_response(text=Queues(queues=health.queues, schedulers=health.schedulers).model_dump_json())


async def list_dead_jobs(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the jobs that failed for good and nobody has settled, by job, kind of error and age in hours."""
    query = request.query
    hours = field(query, "older_than_h")
    wanted = DeadJobFilter(field(query, "job"), field(query, "error"), whole_number(hours) if hours else 0)
    found = await in_thread(request, dead_jobs.list_dead_jobs, request.config_dict[HUB], viewer, wanted)
    answer = DeadJobs(
        count=found.count,
        dead_jobs=[_shown(one) for one in found.rows],
        launches_late=found.launches.late,
        launches_late_since=found.launches.late_since,
        timers=found.launches.timers,
        next_timer_at=found.launches.next_timer_at,
    )
    return web.json_response(text=answer.model_dump_json())


async def retry_dead_jobs(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Launch again every dead job of a filter."""
    given = await body_of(request, DeadJobChoice)
    wanted = DeadJobFilter(given.job, given.error, given.older_than_h)
    count = await in_thread(request, dead_jobs.retry_all, request.config_dict[HUB], viewer, wanted)
    return web.json_response(text=Retried(retried=count).model_dump_json())


async def retry_dead_job(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Launch one dead job again."""
    await in_thread(request, dead_jobs.retry, request.config_dict[HUB], _number(request), viewer)
    return nothing()


async def dismiss_dead_job(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take one dead job off the list, and say why."""
    given = await body_of(request, models.ReasonWords)
    await in_thread(request, dead_jobs.dismiss, request.config_dict[HUB], viewer, _number(request), given.reason)
    return nothing()


def _number(request: web.Request) -> int:
    return whole_number(request.match_info["dead_job_id"])


def _shown(dead: Any) -> DeadJob:
    return DeadJob(
        dead_job_id=dead.dead_job_id,
        job=dead.job,
        subject_id=dead.subject_id,
        failed_at=dead.failed_at,
        error=dead_jobs.error_of(dead),
        reason=dead.reason,
    )
