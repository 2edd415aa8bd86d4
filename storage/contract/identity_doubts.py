"""Doubts whose a case is, on their way to the site's gateway, and how people there settle them on the way back.

Additions to the gateway API: an older hub answers 404 to a newer gateway, an older gateway never asks. Each body names
its format. The texts name patients; they travel like orders, signed, and enter no log.

| request | body | answer |
|---|---|---|
| GET  /gateway/v1/identity-doubts | | IdentityDoubtsAnswer |
| POST /gateway/v1/identity-settlements | IdentitySettlements | SiteActsAnswer (storage.contract.course) |
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field, model_validator

from storage.contract.manifest import Sha256Field, UidField, WireModel
from storage.contract.national_id import IdentityKind

DOUBTS_PER_ANSWER_MAX: Final = 200
SETTLEMENTS_PER_BATCH_MAX: Final = 50
REASON_CHARACTERS_MAX: Final = 500


class PersonTold(WireModel):
    """Who one side says the patient is. `name` is a PN, alphabetic=ideographic; `identity_number` is masked."""

    patient_number: str = Field(max_length=64)
    name: str = Field(max_length=400)
    birth_date: date | None = None
    sex: str = Field(default="", max_length=16)
    identity_kind: IdentityKind = IdentityKind.NONE
    identity_number: str = Field(default="", max_length=64)


class IdentityDoubt(WireModel):
    """What contradicts between a study and its order, or in the study alone, that nobody has settled.

    `mismatches` are codes; a newer hub may know more of them. `facts_sha256` is a digest of what was compared: who
    settles the doubt says by it what they have seen. `holds`: the case is offered to nobody meanwhile.
    """

    conflict_id: str = Field(max_length=64)
    study_uid: UidField
    order_id: str = Field(default="", max_length=64)
    accession_number: str = Field(default="", max_length=64)
    mismatches: tuple[str, ...] = Field(max_length=20)
    facts_sha256: Sha256Field
    found_at: AwareDatetime
    holds: bool
    in_images: PersonTold
    in_order: PersonTold | None = None  # None where the images contradict themselves


class IdentityDoubtsAnswer(WireModel):
    """Every open doubt of the site as it is now, the newest first; what is not named is settled."""

    format: Literal["counterpart-identity-doubts/1"] = "counterpart-identity-doubts/1"
    doubts: tuple[IdentityDoubt, ...] = Field(max_length=DOUBTS_PER_ANSWER_MAX)


class SettlementKind(StrEnum):
    """Which side is right."""

    CONFIRM = "confirm"  # both: it is one patient, whatever is written
    UNLINK = "unlink"  # the images are another patient's than the order: the order is taken from the study
    CORRECT = "correct"  # the images: the order is corrected


class CorrectedPerson(WireModel):
    """Who the order shall say the patient is; `identity_kind` None leaves kind and number as they are."""

    patient_name: str = Field(default="", max_length=64)
    birth_date: date | None = None
    sex: Literal["M", "F", "O", ""] = ""
    identity_kind: IdentityKind | None = None
    identity_number: str = Field(default="", max_length=64)

    def changes(self) -> dict[str, Any]:
        """Return the fields of the order that are said."""
        unsaid = {"identity_kind", "identity_number"} if self.identity_kind is None else set[str]()
        return self.model_dump(exclude=unsaid)


class IdentitySettlement(WireModel):
    """How a named person at the clinic settled a doubt, also in a time without line; doing it again is harmless.

    `facts_sha256`: what they had seen. The hub does not do it where order or images have changed since.
    """

    act_id: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    conflict_id: str = Field(min_length=1, max_length=64)
    study_uid: UidField
    facts_sha256: Sha256Field
    kind: SettlementKind
    person: CorrectedPerson | None = None
    reason: str = Field(min_length=1, max_length=REASON_CHARACTERS_MAX)
    account_id: str = Field(max_length=64)
    at: AwareDatetime

    @model_validator(mode="after")
    def _says_who_it_is(self) -> IdentitySettlement:
        if (self.person is not None) != (self.kind is SettlementKind.CORRECT):
            raise ValueError("a correction, and nothing else, says who the order names")
        return self


class IdentitySettlements(WireModel):
    """Settlements in the order in which they were made."""

    format: Literal["counterpart-identity-settlements/1"] = "counterpart-identity-settlements/1"
    settlements: tuple[IdentitySettlement, ...] = Field(min_length=1, max_length=SETTLEMENTS_PER_BATCH_MAX)
