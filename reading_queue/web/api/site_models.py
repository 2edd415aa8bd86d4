"""What a site or a coordinator says of whose a case is, and of what is read together."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from reading_queue.web.api.models import Answer, Body
from storage.contract.national_id import IdentityKind


class Joining(Body):
    """Which case's studies are read with those of this one, and why."""

    other_case_id: str = Field(max_length=64)
    reason: str = Field(max_length=500)


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
