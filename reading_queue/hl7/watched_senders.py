"""The senders of order messages as the configuration file names them now: a new certificate needs no restart.

Nothing is durable. A file that cannot be used leaves the senders as they are; of the rest of the file nothing counts
before a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import structlog

from reading_queue.services.order_messages.senders import OrderSender
from storage.configuration import ConfigurationError, stamp_of

log = structlog.get_logger(__name__)


class WatchedSenders(Mapping[str, OrderSender]):
    """Senders by name. Whoever looks one up looks at the file first: for any number of threads."""

    def __init__(self, file: Path, read: Callable[[Path], Mapping[str, OrderSender]]) -> None:
        """`read` returns the senders that the file names, or raises ConfigurationError, as it does here."""
        self._file, self._read = file, read
        self._lock = threading.Lock()
        self._seen = stamp_of(file)
        self._senders = read(file)

    def __getitem__(self, name: str) -> OrderSender:
        """Return the sender of this name. Raises KeyError."""
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._now())

    def _now(self) -> Mapping[str, OrderSender]:
        found = stamp_of(self._file)
        with self._lock:
            if found != self._seen:
                self._seen = found
                try:
                    self._senders = self._read(self._file)
                    log.info("hl7_senders_read_again", senders=len(self._senders))
                except ConfigurationError as exc:  # said once of each change; those of before count on
                    log.error("hl7_senders_unusable", problems=exc.problems)
            return self._senders
