"""The jobs: thin, named `area.verb`, ids in, one service call, safe to run any number of times."""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from celery import Celery, Task, signals
from celery.exceptions import Reject, TimeLimitExceeded
from sqlalchemy.orm import configure_mappers

from reading_queue.worker.failures import count_delivery, forget_deliveries, launch_each, record_failure
from reading_queue.worker.queues import CREWS, LARGE_TIME_LIMIT_S, QUEUES
from reading_queue.worker.runtime import Runtime, RuntimePerProcess

RECORDED_MAX: Final = 100  # ids of messages that were cut off, kept to know a signal that comes twice
SOFT_BEFORE_HARD_S: Final = 30
ROUTED_TOGETHER_MAX: Final = 16  # about a tenth of a second: an urgent case that comes next waits no longer
REQUEUE_PAUSE_S: Final = 1.0  # before a job is given back because not even its failure could be recorded

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of job: the queue it waits in and the service call it makes with its arguments.

    `time_limit_s` is the hard limit of a job that may take longer than others. A broker delivers such a job again while
    it runs, so its service must see that and return at once.

    With `run_together` one message may bring up to `together_max` subjects of a short job: all are done, or none.
    """

    queue: str
    run: Callable[..., object]
    time_limit_s: int | None = None
    run_together: Callable[[Runtime, Sequence[str]], object] | None = None
    together_max: int = 1


def verify_pack(runtime: Runtime, *, granted_pack_id: str) -> None:
    """Prove one uploaded pack and catalogue it."""
    from reading_queue.services.arrival import verification

    verification.verify_pack(runtime.hub, granted_pack_id)


def verify_large_pack(runtime: Runtime, *, granted_pack_id: str) -> None:
    """Compose, prove and catalogue one pack that came in parts."""
    from reading_queue.services.arrival import verification

    verification.verify_large_pack(runtime.hub, granted_pack_id)


def route_case(runtime: Runtime, *, reading_task_id: str) -> None:
    """Offer one reading task to the physicians who may take it; emergencies that wait behind it come first."""
    from reading_queue.services.routing import routing

    routing.route_emergencies_before(runtime.hub, [reading_task_id])
    routing.route(runtime.hub, reading_task_id)


def route_cases(runtime: Runtime, reading_task_ids: Sequence[str]) -> None:
    """Offer several reading tasks; emergencies that wait behind them come first."""
    from reading_queue.services.routing import routing

    routing.route_emergencies_before(runtime.hub, reading_task_ids)
    routing.route_together(runtime.hub, reading_task_ids)


def render_report(runtime: Runtime, *, report_id: str) -> None:
    """Make and store the documents of one signed report."""
    from reading_queue.services.reports import reports

    reports.render(runtime.hub, report_id, runtime.fonts_dir)


def prepare_metadata(runtime: Runtime, *, study_id: str) -> None:
    """Put the headers of one study into one object."""
    from reading_queue.services.holdings import prepared_metadata

    prepared_metadata.prepare(runtime.hub, study_id)


def link_patient(runtime: Runtime, *, patient_id: str) -> None:
    """Look for the records of one patient at other sites."""
    from reading_queue.services.patients import linking

    linking.link(runtime.hub, patient_id)


def scrub_pack(runtime: Runtime, *, pack_id: str) -> None:
    """Read one stored pack again and compare it with its digests."""
    from reading_queue.services.holdings import scrubbing

    scrubbing.scrub(runtime.hub, pack_id)


def erase_study(runtime: Runtime, *, request_id: str) -> None:
    """Delete one study that two persons let go."""
    from reading_queue.services.holdings import erasing

    erasing.erase(runtime.hub, request_id)


def answer_probe(runtime: Runtime, *, queue: str) -> None:
    """Say that a worker has come to what waits in this queue."""
    from reading_queue.services.motion import queue_probes

    queue_probes.answer(runtime.hub, queue)


PRELOADED: Final = (
    "reading_queue.services.routing.routing",
    "reading_queue.services.arrival.verification",
    "reading_queue.services.reports.reports",
    "reading_queue.services.holdings.prepared_metadata",
    "reading_queue.services.patients.linking",
)


LOADED_WITH_THE_FIRST_IMAGE: Final = (
    "imagecodecs", "imagecodecs._htj2k", "imagecodecs._jpegls", "imagecodecs._jpeg2k", "encodings.gb18030",
)  # fmt: skip


def preload() -> None:
    """Load what the jobs will need before the worker forks: its children share it and start at once.

    Nothing here starts a thread.
    """
    from storage.catalogue import pinyin

    for name in (*PRELOADED, *LOADED_WITH_THE_FIRST_IMAGE):
        importlib.import_module(name)
    pinyin.readings("王")  # and with it the whole table
    configure_mappers()


PROBES: Final[Mapping[str, str]] = {queue: f"queues.answer_{queue}" for queue in QUEUES}  # the job by its queue

JOBS: Final[Mapping[str, Job]] = {
    **{job: Job(queue, answer_probe) for queue, job in PROBES.items()},
    "cases.route": Job("routing", route_case, run_together=route_cases, together_max=ROUTED_TOGETHER_MAX),
    "transfers.verify_pack": Job("transfers", verify_pack),
    "transfers.verify_large_pack": Job("large", verify_large_pack, time_limit_s=LARGE_TIME_LIMIT_S),
    "reports.render": Job("documents", render_report),
    "studies.prepare_metadata": Job("metadata", prepare_metadata),
    "patients.link": Job("background", link_patient),
    "packs.scrub": Job("background", scrub_pack),
    "studies.erase": Job("background", erase_study),
    "packs.scrub_large": Job("large", scrub_pack, time_limit_s=LARGE_TIME_LIMIT_S),
}


# What the relay publishes first.
FIRST: Final = tuple(name for name, job in JOBS.items() if job.queue in CREWS["routing"])
TOGETHER_MAX: Final[Mapping[str, int]] = {name: job.together_max for name, job in JOBS.items() if job.run_together}


def register_jobs(app: Celery, process: RuntimePerProcess, jobs: Mapping[str, Job] = JOBS) -> None:
    """Make `app` able to run `jobs`."""
    for name, job in jobs.items():
        task = app.task(name=name, bind=True)(_runner(name, job, process))
        if job.time_limit_s is not None:
            task.time_limit, task.soft_time_limit = job.time_limit_s, job.time_limit_s - SOFT_BEFORE_HARD_S

    recorded: deque[str] = deque(maxlen=RECORDED_MAX)

    def after_hard_time_limit(
        sender: Any = None, task_id: str = "", exception: Any = None, kwargs: Any = None, **_: Any
    ) -> None:
        """Record once what the killed child could not; runs in the worker's parent, which keeps no connection.

        Celery 5.7 sends this signal twice for one time limit.
        """
        if not isinstance(exception, TimeLimitExceeded) or task_id in recorded:
            return
        recorded.append(task_id)
        runtime = process.open_once()
        try:
            arguments = dict(kwargs)
            if _is_together(arguments):
                launch_each(runtime.hub, sender.name, arguments, exception)
                return
            record_failure(runtime.hub, sender.name, arguments, int(arguments.pop("attempt", 1)), exception)
        finally:
            runtime.hub.engine.dispose()

    signals.task_failure.connect(after_hard_time_limit, weak=False, dispatch_uid=f"hard-time-limit-{id(app)}")


def _runner(name: str, job: Job, process: RuntimePerProcess) -> Callable[..., None]:
    def run(task: Task[..., None], *, attempt: int = 1, **arguments: Any) -> None:
        delivered_again = bool((task.request.delivery_info or {}).get("redelivered"))
        try:
            runtime = process.get()
            if _is_together(arguments):
                _run_together(runtime, name, job, arguments, delivered_again=delivered_again)
                return
            if delivered_again and not count_delivery(runtime.hub, name, arguments, attempt):
                return
            job.run(runtime, **arguments)
            if delivered_again or attempt > 1:
                forget_deliveries(runtime.hub, name, arguments)
        except Exception as failure:  # noqa: BLE001 -- the border of a job: every failure is recorded, none is raised
            _settle(process, name, arguments, attempt, failure)

    return run


def _is_together(arguments: Mapping[str, Any]) -> bool:
    return any(isinstance(subject, list) for subject in arguments.values())


def _run_together(
    runtime: Runtime, name: str, job: Job, arguments: Mapping[str, Any], *, delivered_again: bool
) -> None:
    """Do all, or launch each by itself: one of them may be what fails, or what ends the process."""
    (subjects,) = arguments.values()
    if delivered_again or job.run_together is None:
        launch_each(runtime.hub, name, arguments, None)
        return
    try:
        job.run_together(runtime, subjects)
    except Exception as failure:  # noqa: BLE001 -- whichever of them it was shows when each is alone
        launch_each(runtime.hub, name, arguments, failure)


def _settle(
    process: RuntimePerProcess, name: str, arguments: Mapping[str, Any], attempt: int, failure: Exception
) -> None:
    try:
        if _is_together(arguments):
            launch_each(process.get().hub, name, arguments, failure)
        else:
            record_failure(process.get().hub, name, arguments, attempt, failure)
    except Exception as exc:
        # Without a database nothing can be recorded: the message goes back to its queue, a moment later.
        _log.exception("job_failure_not_recorded", job=name, attempt=attempt, **arguments)
        threading.Event().wait(REQUEUE_PAUSE_S)
        raise Reject(reason="failure not recorded", requeue=True) from exc
