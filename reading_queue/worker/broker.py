"""Whether the broker answers; asked without loading Celery."""

from __future__ import annotations

from kombu import Connection
from kombu.exceptions import OperationalError


class BrokerUnavailable(Exception):
    """The broker did not answer or did not take the message; what was to be published stays in the outbox."""


def check_broker(url: str) -> str:
    """Return words when the broker at `url` answers; raises BrokerUnavailable."""
    try:
        with Connection(url) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, OSError) as exc:
        raise BrokerUnavailable(type(exc).__name__) from exc
    return "answers"
