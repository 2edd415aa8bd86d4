"""What the JSON API takes and gives of the network, and of who is away. Additions are harmless to clients."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import AwareDatetime, Field

from reading_queue.domain.network_changes import Action, Kind
from reading_queue.domain.roles import Role
from reading_queue.services.network.network_views import (
    AgreementView,
    DutyView,
    OrganisationLine,
    OrganisationView,
    PhysicianView,
)
from reading_queue.services.network.presence import AbsenceView
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


class Facts(Body):
    """All facts of an organisation, person or physician, named as in a network document, and the version seen."""

    facts: dict[str, Any]
    version: int = Field(ge=0)


class Terms(Facts):
    """All terms of an agreement; `from_day` is a day to come, null for at once."""

    from_day: date | None = None


class AgreementEnd(Body):
    """The last day of an agreement, yesterday at the earliest."""

    last_day: date
    version: int = Field(ge=1)


class NewPerson(Body):
    """Somebody new: facts as in a network document, with `organisation`; of a physician terms and `duty` too."""

    role: Role
    login: str
    facts: dict[str, Any]


class PersonAdded(Answer):
    """The new account. The password is told this once."""

    account_id: str
    physician_id: str | None
    login: str
    password: str


class TemporaryPassword(Answer):
    """A password for one sign-in, told this once; it must be changed then."""

    password: str


class PersonEnd(Body):
    """The last day of somebody, null to let them stay or come again; `version` of the account's facts."""

    last_day: date | None
    version: int = Field(ge=1)


class WrittenDuty(Body):
    """Duty as a network document writes it: "always", a weekly roster or periods."""

    duty: Any
    version: int = Field(ge=1)


class DirectorDuty(Body):
    """When a person is duty director, as a network document writes it; version 0 is of somebody new to it."""

    duty: Any
    version: int = Field(ge=0)


class NetworkFiles(Body):
    """A network's files as text by name: one YAML, or CSV files. `told`: the fingerprint of the plan agreed to."""

    files: dict[str, str] = Field(min_length=1)
    whole: bool = False
    told: str | None = None


class PlannedChange(Answer):
    """One subject that would not stay as it is: its facts afterwards, and name, old and new of those that differ."""

    kind: Kind
    subject: str
    action: Action
    facts: dict[str, Any]
    differing: tuple[tuple[str, Any, Any], ...]


class NetworkPlan(Answer):
    """What importing the files changes; `imported` says whether it was done. Passwords are told this once."""

    changes: tuple[PlannedChange, ...]
    unchanged: int
    warnings: tuple[str, ...]
    fingerprint: str
    imported: bool
    passwords: dict[str, str] = Field(default_factory=dict)


class NetworkDocumentAnswer(Answer):
    """The network as a document that changes nothing when it is imported again."""

    document: dict[str, Any]


class Organisations(Answer):
    """The tree of organisations."""

    organisations: tuple[OrganisationLine, ...]


class OrganisationAnswer(Answer):
    """One organisation."""

    organisation: OrganisationView


class AgreementAnswer(Answer):
    """One agreement."""

    agreement: AgreementView


class SavedAgreement(Answer):
    """Under which id the terms stand: another one where they follow from a day to come."""

    agreement_id: str


class PhysicianAnswer(Answer):
    """One physician."""

    physician: PhysicianView


class DutyAnswer(Answer):
    """A week of a hospital's duty."""

    duty: DutyView
