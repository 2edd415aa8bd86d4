"""How one target is spoken to: what a delivery needs from it, and what it may answer. Pure but for the channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.journal.deliveries import DeliveryRow
from storage.contract.delivery import DeliveryFailure
from storage.contract.wire import DocumentDescriptor


@dataclass(frozen=True, slots=True)
class Parcel:
    """One document for one target, and where its signed bytes lie."""

    delivery: DeliveryRow
    path: Path

    @property
    def descriptor(self) -> DocumentDescriptor:
        """Return what the hub signed about the document."""
        return self.delivery.descriptor


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target has the document; `detail` goes into the ledger: codes and counts only."""

    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The target answered, and did not take the document; it is asked again, slowly."""

    failure: DeliveryFailure


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The target did not answer for this document, and the connection is gone."""

    failure: DeliveryFailure


@dataclass(frozen=True, slots=True)
class NotYet:
    """Something else must come first; that is no failure."""

    look_again_s: float


Outcome = Delivered | Refused | Unanswered | NotYet


class TargetUnavailable(Exception):
    """The target cannot be reached at all; nothing was tried."""

    def __init__(self, failure: DeliveryFailure) -> None:
        super().__init__(failure.words())
        self.failure = failure


class Channel(Protocol):
    """One target's way of taking documents. Used by one thread."""

    def open(self, parcels: Sequence[Parcel]) -> None:
        """Be ready to deliver these; raises TargetUnavailable. After Unanswered it is called again for the rest."""

    def deliver(self, parcel: Parcel) -> Outcome:
        """Try one document once; raises TargetUnavailable. The same document again has the same identity there."""

    def close(self) -> None:
        """End what `open` began, or keep it for the next time; harmless without `open`."""

    def shut_down(self) -> None:
        """Keep nothing: the gateway stops."""
