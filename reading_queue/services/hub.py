"""What every use case is given: database, objects, keys, policy and clock. Built once by `bootstrap`.

A service function takes the hub first, is one use case, and opens one transaction. No network or object-store
call happens inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from storage.ledger.tables import OutboxMessage
from storage.objects.protocol import ObjectStore


class KeyWrapper(Protocol):
    """Keeps private keys unreadable at rest and derives secrets; backed by a key file or an HSM."""

    def wrap(self, secret: bytes) -> bytes:
        """Return `secret` encrypted and authenticated."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the secret; raises ValueError when it was altered or wrapped by another key."""

    def derive(self, purpose: str) -> bytes:
        """Return a 32-byte secret bound to `purpose`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and times of the reading side; every one is a configuration key of `[policy]`."""

    offer_width: int = 3  # physicians to whom one reading task is offered at once
    offer_ttl_s: int = 900
    lease_s: int = 900
    reauthentication_s: int = 900  # a signature needs a password given this recently
    grant_ttl_s: int = 3600
    nonce_ttl_s: int = 300
    session_idle_s: int = 8 * 3600
    session_max_s: int = 24 * 3600
    dead_job_rest_s: int = 24 * 3600  # a job that failed for good is left to a person for this long
    outbox_keep_s: int = 24 * 3600  # a launch that was published longer ago than this leaves the outbox
    enrolment_ttl_s: int = 7 * 24 * 3600
    failed_logins_max: int = 8
    login_lock_s: int = 300
    page_size_max: int = 200
    time_limit_default_min: dict[str, int] = field(
        default_factory=lambda: {"stat": 120, "urgent": 240, "routine": 1440, "background": 4320}
    )


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub's dependencies, handed to every service function."""

    engine: Engine
    objects: ObjectStore
    keys: KeyWrapper
    policy: Policy
    network_name: str
    audience: str  # what gateways sign for: one name per network
    public_url: str
    clock: Callable[[], datetime]

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit when the block ends, roll back when it raises. Objects stay readable after the commit."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session


OUTBOX_CHANNEL = "outbox"  # NOTIFY wakes the relay; the row is what counts


def launch(
    session: Session, now: datetime, job: str, *, due_at: datetime | None = None, attempt: int = 1, **subject: str
) -> None:
    """Write an outbox row: `job` will be launched once this transaction commits.

    `subject` is the job's one argument, the id of what it is about; `attempt` counts from 1.
    """
    ((name, subject_id),) = subject.items()
    arguments: dict[str, Any] = {name: subject_id} if attempt == 1 else {name: subject_id, "attempt": attempt}
    session.add(
        OutboxMessage(
            job=job,
            subject_id=subject_id,
            arguments=arguments,
            created_at=now,
            due_at=due_at or now,
            published_at=None,
        )
    )
    session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": OUTBOX_CHANNEL})
