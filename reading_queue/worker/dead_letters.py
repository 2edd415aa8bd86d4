"""Dead letters: what RabbitMQ has given up comes back into the database, where sweeps and persons see it.

Durable: a letter stays in its queue until the transaction that tells of it has committed; what is told twice is
launched twice, and every job may run twice. With Redis there is no such queue: the sweeps launch again what it loses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog
from amqp.exceptions import AMQPError
from kombu import Connection, Queue
from kombu.exceptions import DecodeError, OperationalError
from kombu.message import Message

from reading_queue.services.hub import Hub
from reading_queue.worker.broker import BrokerUnavailable
from reading_queue.worker.failures import DeadLettered, launch_each, lay_down, record_failure

DEAD_QUEUE: Final = Queue(
    "counterpart.dead", routing_key="counterpart.dead", queue_arguments={"x-queue-type": "quorum"}
)
BATCH: Final = 100  # letters that one look takes

_log = structlog.get_logger(__name__)


class DeadLetters:
    """Takes dead letters out of their queue over one connection, opened when needed. One thread uses it."""

    def __init__(self, hub: Hub, connect: Callable[[], Connection], known_jobs: Collection[str]) -> None:
        self._hub = hub
        self._connect = connect
        self._known = known_jobs
        self._connection: Connection | None = None

    def collect(self) -> int:
        """Bring at most BATCH letters into the database, and return how many.

        Raises:
            BrokerUnavailable: it could not be reached; the letters stay where they are.
        """
        taken = 0
        try:
            queue = self._open()
            while taken < BATCH and (message := queue.get(accept=["json"])) is not None:
                self._settle(message)
                message.ack()
                taken += 1
        except (OperationalError, AMQPError, OSError) as exc:
            self.close()
            raise BrokerUnavailable(type(exc).__name__) from exc
        except Exception:
            self.close()  # and the letter goes back to its queue
            raise
        return taken

    def close(self) -> None:
        """Give the connection back; the next look opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _open(self) -> Queue:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.ensure_connection(max_retries=1, interval_start=0)
        queue: Queue = DEAD_QUEUE(self._connection.default_channel)
        queue.declare()
        return queue

    def _settle(self, message: Message) -> None:
        """Launch a job that we know once more, as after any failure that passes; lay down what we do not."""
        job, why = str((message.headers or {}).get("task", "unreadable")), _reason(message.headers or {})
        arguments = _arguments(message)
        attempt = int(arguments.pop("attempt", 1)) if arguments else 1
        if arguments is None or len(arguments) != 1:
            lay_down(self._hub, job, {"message_id": _identity(message)}, f"{why}: cannot be read")
            return
        if any(isinstance(subject, list) for subject in arguments.values()):
            launch_each(self._hub, job, arguments, DeadLettered(why))
        elif job in self._known:
            record_failure(self._hub, job, arguments, attempt, DeadLettered(why))
        else:
            lay_down(self._hub, job, arguments, f"{why}: this version knows no such job")


def _arguments(message: Message) -> dict[str, Any] | None:
    """Return a job's keyword arguments; None for what is no job of ours."""
    try:
        _, arguments, _ = message.payload
    except (DecodeError, TypeError, ValueError):
        return None
    return dict(arguments) if isinstance(arguments, Mapping) else None


def _identity(message: Message) -> str:
    return str((message.headers or {}).get("id") or message.delivery_tag)


def _reason(headers: Mapping[str, Any]) -> str:
    deaths = headers.get("x-death") or [{}]
    return f"the broker gave it up ({deaths[0].get('reason', 'no reason given')})"
