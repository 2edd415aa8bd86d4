"""A second opinion up the line (会诊): what can happen to a consultation, as one table. Pure.

The case stays with who asks. A consultation ends exactly once: with an opinion, or without one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, Protocol

from reading_queue.domain.modality import covers_regions
from reading_queue.domain.roles import VERIFIER_TITLE_MIN, Title
from reading_queue.domain.routing import Service


class ConsultState(StrEnum):
    """Where a consultation stands."""

    ASKED = "asked"  # shown to the physicians of the hospital that is asked
    ACCEPTED = "accepted"  # one of them has taken it
    ANSWERED = "answered"  # the opinion is written; it never changes
    DECLINED = "declined"  # the hospital said no, with a reason
    EXPIRED = "expired"  # nobody answered in its time
    WITHDRAWN = "withdrawn"  # who asked does not need it any more, or gave the case out of hand


class ConsultEvent(StrEnum):
    """What can happen to a consultation."""

    ACCEPT = "accept"
    ANSWER = "answer"
    DECLINE = "decline"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


class ConsultActor(StrEnum):
    """Who causes an event: who asked, a physician of the hospital that is asked, the one who accepted, nobody."""

    ASKER = "asker"
    CONSULTANT = "consultant"
    ACCEPTED_BY = "accepted_by"
    SYSTEM = "system"


class ConsultEventNotAllowed(ValueError):
    """The event is not possible in this state, or not for this actor."""


_S, _E, _A = ConsultState, ConsultEvent, ConsultActor
CONSULT_TRANSITIONS: Final[Mapping[tuple[ConsultState, ConsultEvent], tuple[ConsultState, ConsultActor]]] = {
    (_S.ASKED, _E.ACCEPT): (_S.ACCEPTED, _A.CONSULTANT),
    (_S.ASKED, _E.DECLINE): (_S.DECLINED, _A.CONSULTANT),
    (_S.ASKED, _E.EXPIRE): (_S.EXPIRED, _A.SYSTEM),
    (_S.ASKED, _E.WITHDRAW): (_S.WITHDRAWN, _A.ASKER),
    (_S.ACCEPTED, _E.ANSWER): (_S.ANSWERED, _A.ACCEPTED_BY),
    (_S.ACCEPTED, _E.DECLINE): (_S.DECLINED, _A.ACCEPTED_BY),
    (_S.ACCEPTED, _E.EXPIRE): (_S.EXPIRED, _A.SYSTEM),
    (_S.ACCEPTED, _E.WITHDRAW): (_S.WITHDRAWN, _A.ASKER),
}
CONSULT_ENDS: Final = frozenset({_S.ANSWERED, _S.DECLINED, _S.EXPIRED, _S.WITHDRAWN})
CONSULTANT_TITLES: Final = frozenset(title for title in Title if title.rank >= VERIFIER_TITLE_MIN.rank)


class Terms(Protocol):
    """What an agreement is about, whatever keeps it; no modality and no region means all of them."""

    @property
    def services(self) -> Collection[str]:
        """Return the services."""
        ...

    @property
    def modalities(self) -> Collection[str]:
        """Return the modalities."""
        ...

    @property
    def body_regions(self) -> Collection[str]:
        """Return the body regions."""
        ...


def covers(terms: Terms, modality: str, body_region: str) -> bool:
    """Return whether an opinion on such a case may be asked under an agreement."""
    of_modality = not terms.modalities or modality in terms.modalities
    return Service.CONSULTATION in terms.services and of_modality and covers_regions(terms.body_regions, body_region)


def apply_to_consult(state: ConsultState, event: ConsultEvent, *actors: ConsultActor) -> ConsultState:
    """Return the state after `event` caused by somebody who is all of `actors`; raises ConsultEventNotAllowed."""
    to, by = CONSULT_TRANSITIONS.get((state, event), (None, None))
    if to is None or by not in actors:
        raise ConsultEventNotAllowed(f"{event} is not possible while a consultation is {state}")
    return to
