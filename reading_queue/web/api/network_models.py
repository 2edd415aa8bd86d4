"""What the JSON API takes and gives of the network: who is away. Additions are harmless to clients."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from reading_queue.services.presence import AbsenceView
from reading_queue.web.api.models import Answer, Body


class Away(Body):
    """Until when somebody is away, and why; the reason may be left out by who says it of themselves."""

    until: AwareDatetime
    reason: str = Field(default="", max_length=500)


class OwnAbsence(Answer):
    """The caller's absence, null while they are there."""

    absence: AbsenceView | None


class Absences(Answer):
    """Who is away now."""

    absences: tuple[AbsenceView, ...]
