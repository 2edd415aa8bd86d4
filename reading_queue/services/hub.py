"""What every use case is given: database, objects, keys, policy and clock. Built once by `bootstrap`.

A service function takes the hub first, is one use case, and opens one transaction. No network or object-store
call happens inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.services.policy import Policy
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
    order_senders: Mapping[str, OrderSender] = field(default_factory=dict)  # by name

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit when the block ends and what it put off is done, roll back when it raises.

        Objects stay readable after the commit.
        """
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session
            for deed in session.info.pop(_LAST, ()):
                deed()


_LAST: Final = "done_last"


def do_last(session: Session, deed: Callable[[], None]) -> None:
    """Put something off to the end of the hub's transaction: what waits for others is done with nothing after it."""
    session.info.setdefault(_LAST, []).append(deed)


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
