"""The Celery application: messages are hints, acknowledged when the job is done, delivered again when it died.

Durable: nothing here. The outbox in the database is the truth; a broker wiped clean delays work and loses none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from celery import Celery, signals
from celery.worker.consumer import Consumer
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from reading_queue.heartbeat import BEAT_EVERY_S
from reading_queue.worker.broker import BrokerUnavailable
from reading_queue.worker.crews import end_with_parent
from reading_queue.worker.dead_letters import DEAD_QUEUE
from reading_queue.worker.jobs import JOBS, Job, register_jobs
from reading_queue.worker.queues import QUEUES, Crew
from reading_queue.worker.runtime import RuntimePerProcess

# A job gets the soft limit as an exception inside it, the hard limit ends its process.
SOFT_TIME_LIMIT_S: Final = 14
HARD_TIME_LIMIT_S: Final = 17
# Redis delivers again what nobody acknowledged for this long: the time after which a killed worker's job is repeated.
# A message that Redis hands to a worker just as it dies, before that has written it down, is in no queue any more: only
# the sweeps launch its job again (`sweeps.GRACE`).
VISIBILITY_TIMEOUT_S: Final = 20
RESTORE_EVERY_S: Final = 2
# One worker at a time gives back; how long one that was killed meanwhile keeps the others from it (kombu's own: 300 s).
RESTORE_LOCK_S: Final = 5
# RabbitMQ closes the channel of a consumer that has not acknowledged for this long (its own default), and gives all its
# messages to somebody else. A message waits unacknowledged for a free child, too: hence one short job more.
CONSUMER_TIMEOUT_S: Final = 1800
# What was given back this often goes to the queue of dead letters, so that no message goes round for ever. The failures
# that a job's own process causes are counted in the database and end much earlier (`failures.DELIVERIES_MAX`).
DELIVERY_LIMIT: Final = 20
CHILD_START_S: Final = 60.0
# How long a worker that has lost its broker waits between attempts; Celery's own waits grow to half a minute.
RECONNECT_STEP_S: Final = 1
RECONNECT_MAX_S: Final = 3

# A queue's arguments are fixed when it is declared: whoever changes them changes the prefix, too.
QUORUM_PREFIX: Final = "counterpart."
QUORUM_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD_QUEUE.name,
    "x-consumer-timeout": CONSUMER_TIMEOUT_S * 1000,  # known to RabbitMQ from 3.12 on
}


class TimeLimitsClash(Exception):
    """A job may run longer than the broker waits before it gives the job to somebody else."""


class PromptConsumer(Consumer):
    """Celery's consumer, which is back a few seconds after its broker is, however long that was gone."""

    def ensure_connected(self, conn: Connection) -> Connection:
        """Return the connection once it stands; Celery gives no setting for its waits."""
        ensure = partial(
            conn.ensure_connection,
            interval_start=RECONNECT_STEP_S,
            interval_step=RECONNECT_STEP_S,
            interval_max=RECONNECT_MAX_S,
        )
        conn.ensure_connection = ensure  # type: ignore[method-assign]
        return super().ensure_connected(conn)


def make_celery(
    broker_url: str,
    process: RuntimePerProcess,
    *,
    jobs: Mapping[str, Job] = JOBS,
    visibility_timeout_s: int = VISIBILITY_TIMEOUT_S,
    hard_time_limit_s: int = HARD_TIME_LIMIT_S,
) -> Celery:
    """Return the application that publishes and runs `jobs` over the broker at `broker_url` (Redis or RabbitMQ).

    Raises:
        TimeLimitsClash: a job may outlive the time after which the broker delivers it again.
    """
    redis = is_redis(broker_url)
    if redis and hard_time_limit_s >= visibility_timeout_s:
        raise TimeLimitsClash(
            f"jobs may run {hard_time_limit_s} s, but Redis gives them to another worker after {visibility_timeout_s} s"
        )
    longest_s = max(job.time_limit_s or hard_time_limit_s for job in jobs.values())
    if not redis and longest_s + hard_time_limit_s >= CONSUMER_TIMEOUT_S:
        raise TimeLimitsClash(
            f"jobs may wait {hard_time_limit_s} s and run {longest_s} s, but RabbitMQ gives them to another worker "
            f"after {CONSUMER_TIMEOUT_S} s"
        )
    app = Celery("reading_queue", broker=broker_url, set_as_current=False)
    app.conf.update(
        **_delivery(hard_time_limit_s),
        **_wire(jobs, _prefix(broker_url), QUORUM_ARGUMENTS if not redis else None),
        broker_transport_options=_redis_options(visibility_timeout_s) if redis else {"confirm_publish": True},
    )
    register_jobs(app, process, jobs)
    return app


def is_redis(broker_url: str) -> bool:
    """Return whether the broker is Redis or Valkey, not RabbitMQ."""
    return broker_url.startswith(("redis", "rediss", "redis+socket"))


def _delivery(hard_time_limit_s: int) -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_time_limit": hard_time_limit_s,
        "task_soft_time_limit": min(SOFT_TIME_LIMIT_S, hard_time_limit_s - 1),
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_proc_alive_timeout": CHILD_START_S,
        "worker_consumer": f"{__name__}:{PromptConsumer.__name__}",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }


def _prefix(broker_url: str) -> str:
    return "" if is_redis(broker_url) else QUORUM_PREFIX


def _wire(jobs: Mapping[str, Job], prefix: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = [*QUEUES, *sorted({job.queue for job in jobs.values()} - set(QUEUES))]
    names = [prefix + kind for kind in kinds]
    exchange = Exchange("reading_queue", type="direct", durable=True)
    return {
        "task_queues": [Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in names],
        "task_routes": {name: {"queue": prefix + job.queue} for name, job in jobs.items()},
        "task_default_queue": names[0],
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "enable_utc": True,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _redis_options(visibility_timeout_s: int) -> dict[str, Any]:
    return {
        "visibility_timeout": visibility_timeout_s,
        "unacked_restore_interval": RESTORE_EVERY_S,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": RESTORE_LOCK_S,
        "queue_order_strategy": "priority",  # the order of the crew's queues
    }


def run_crew(
    app: Celery,
    process: RuntimePerProcess,
    crew: Crew,
    *,
    beat: Callable[[], None],
) -> int:
    """Run the jobs of the crew's queues in its child processes until SIGTERM, and return the exit status.

    The parent's loop calls `beat` for as long as it turns and has a broker.
    """

    parent = os.getpid()

    def open_in_child(**_: Any) -> None:
        end_with_parent(parent)
        process.get()

    def beat_from_now_on(sender: Any = None, **_: Any) -> None:
        beat()
        sender.timer.call_repeatedly(BEAT_EVERY_S, beat)

    signals.worker_process_init.connect(open_in_child, weak=False)
    signals.worker_ready.connect(beat_from_now_on, weak=False)
    worker = app.Worker(
        pool="prefork",
        concurrency=crew.children,
        hostname=f"{crew.name}@{socket.gethostname()}",
        queues=[_prefix(app.conf.broker_url) + queue for queue in crew.queues],
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


class Publisher:
    """Publishes jobs over one connection, opened when needed and opened anew after a failure. One thread uses it."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Connection | None = None
        self._producer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, job: str, arguments: Mapping[str, Any]) -> None:
        """Return when the broker has the message.

        Raises:
            BrokerUnavailable: it could not be reached or did not confirm.
        """
        try:
            if self._producer is None:
                self._connection = self._app.connection_for_write()
                self._connection.ensure_connection(max_retries=1, interval_start=0)
                self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)
            self._app.send_task(job, kwargs=dict(arguments), producer=self._producer, retry=False)
        except (OperationalError, OSError) as exc:
            self.close()
            raise BrokerUnavailable(type(exc).__name__) from exc

    def close(self) -> None:
        """Give the connection back; the next publish opens a new one."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()
