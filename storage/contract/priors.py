"""Earlier studies that the hub asks a gateway for, and what became of that: the same classes on both sides."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from storage.contract.lanes import Lane
from storage.contract.manifest import UidField, WireModel

PRIOR_REQUESTS_PER_PAGE_MAX = 50


class PriorRequest(WireModel):
    """One case's wish for earlier studies of its patient from the site's own PACS. `number` orders a site's requests.

    `held`: studies of this patient record that the hub holds already, the case's own among them. `studies_max` and
    `years_max` limit what is fetched; the gateway's own limits count as well.
    """

    number: int = Field(ge=1)
    request_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    study_uid: UidField
    study_date: date | None = None
    held: tuple[UidField, ...] = ()
    patient_number: str = Field(min_length=1, max_length=64)
    patient_name: str = Field(max_length=400)
    birth_date: date | None = None
    sex: str = Field(default="", max_length=16)
    modalities: tuple[str, ...] = ()
    body_part: str = Field(default="", max_length=64)
    lane: Lane
    studies_max: int = Field(ge=1, le=100)
    years_max: float = Field(gt=0, le=200)
    requested_at: AwareDatetime


class PriorRequestPage(WireModel):
    """Open requests of the site after the asked number, oldest first. `through`: ask from here next time."""

    requests: tuple[PriorRequest, ...] = Field(max_length=PRIOR_REQUESTS_PER_PAGE_MAX)
    through: int


class PriorOutcome(WireModel):
    """How far a request came. `found` studies belong to this patient, `fetched` of them came; zero is a fine outcome.

    `code` is constant and `reason` the same in English, both empty where all is well.
    """

    state: Literal["taken", "done", "failed"]
    at: AwareDatetime
    found: int = Field(default=0, ge=0)
    fetched: int = Field(default=0, ge=0)
    left_out: int = Field(default=0, ge=0)
    code: str = Field(default="", max_length=64, pattern=r"^[a-z0-9_]*$")
    reason: str = Field(default="", max_length=500)
