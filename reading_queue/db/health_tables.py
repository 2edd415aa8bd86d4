"""How the hub's own work goes: probes through its queues, and its schedulers and workers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class QueueProbe(Base):
    """The newest probe of one queue; it waits for its answer while `answered_at` is empty or before `asked_at`."""

    __tablename__ = "queue_probes"

    queue: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]
    launched_at: Mapped[datetime]  # later than `asked_at` where a probe was lost and launched again
    answered_at: Mapped[datetime | None]
    answered_by: Mapped[str | None]  # machine and process
    took_ms: Mapped[int | None]  # the last answer, from asking to answering

    @property
    def waits(self) -> bool:
        """Whether the newest probe has no answer yet."""
        return self.answered_at is None or self.answered_at < self.asked_at


class SchedulerBeat(Base):
    """One process of the scheduler, and when it was last heard."""

    __tablename__ = "scheduler_beats"

    place: Mapped[str] = mapped_column(primary_key=True)  # machine and process
    since: Mapped[datetime]
    heard_at: Mapped[datetime]


class WorkerBeat(Base):
    """One queue that one process of a worker serves, and when it was last heard."""

    __tablename__ = "worker_beats"

    place: Mapped[str] = mapped_column(primary_key=True)  # machine and process
    queue: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    heard_at: Mapped[datetime]
