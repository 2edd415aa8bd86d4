"""What a site or a coordinator says of whose a case is, of what is read together, and of preliminary reports."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from reading_queue.services.cases.joining import PartnerView
from reading_queue.services.reports.preliminary import PreliminaryView
from reading_queue.web.api.models import Answer, Body
from storage.contract.national_id import IdentityKind


class Joining(Body):
    """Which case's studies are read with those of this one, and why."""

    other_case_id: str = Field(max_length=64)
    reason: str = Field(max_length=500)


class Partners(Answer):
    """The cases with which one may be read together, the newest first."""

    partners: tuple[PartnerView, ...]


class Preliminary(Answer):
    """What stands of an emergency until the second physician signs; null of every other case."""

    preliminary: PreliminaryView | None


class Told(Body):
    """Who was told of a preliminary report."""

    told: str = Field(max_length=2000)


class PreliminarySeen(Answer):
    """Whether this is the first word of the site about the preliminary report; later ones change nothing."""

    is_first: bool


class Received(Body):
    """The report that the clinic has: the newest of its case."""

    report_id: str = Field(max_length=64)


class Separation(Body):
    """Which study is read alone, and why."""

    study_uid: str = Field(max_length=64)
    reason: str = Field(max_length=500)


class Separated(Answer):
    """The case that reads a separated study now."""

    case_id: str


class OrderCorrection(Body):
    """Who the order shall say the patient is; without kind and number these stay as they are."""

    patient_name: str = Field(max_length=64)
    birth_date: date | None = None
    sex: str = Field(max_length=1)
    identity_kind: IdentityKind | None = None
    identity_number: str = Field(default="", max_length=64)
    reason: str = Field(max_length=500)
