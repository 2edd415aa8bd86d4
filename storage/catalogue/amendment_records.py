"""Corrections as object storage tells of them, so that a new catalogue makes the same ones. Pure.

What concerns one study lies beside its packs, what concerns a site's patients under `patients/`: a patient outlives a
study. Both are numbered from 1 without gaps. `step` places a correction among the packs, which count in the same order.
Originals are never touched. What stays when all studies are deleted names patients by the site's own number alone.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from storage.catalogue.pack_records import RecordUnreadable
from storage.contract.manifest import SiteIdField, UidField, WireModel
from storage.contract.rejection_codes import RejectionCode

PATIENTS: Final = "patients/"
_KEY: Final = re.compile(r"(?:studies/[^/]+/[^/]+|patients/[^/]+)/amendments/[1-9][0-9]*\.json")


class PatientMerge(WireModel):
    """All studies under one number, those to come too, belong to another one (HL7 A40: the latter survives)."""

    kind: Literal["merge"] = "merge"
    from_number: str = Field(min_length=1)
    into_number: str = Field(min_length=1)


class KnownPatient(WireModel):
    """What the record of a patient said when a study was moved to it."""

    name: str
    birth_date: date | None
    sex: str


class StudyMove(WireModel):
    """The study belongs to the patient of this number; `patient` is for a new catalogue that knows no other study."""

    kind: Literal["move"] = "move"
    to_number: str = Field(min_length=1)
    patient: KnownPatient


class Rejection(WireModel):
    """A rejection note (IHE RAD TF-2 4.66, TF-3 4.9 IOCM) hides instances of its study, and itself."""

    kind: Literal["rejection"] = "rejection"
    code: RejectionCode
    note_uid: UidField
    sop_instance_uids: tuple[UidField, ...] = Field(min_length=1)


class Identity(WireModel):
    """Which birth date and sex of a contradicted record are right; studies that say others are shown with these.

    `keep`: what the record says (`held`), or what the study says that contradicted it (`new`).
    """

    kind: Literal["identity"] = "identity"
    patient_number: str = Field(min_length=1)
    keep: Literal["held", "new"]
    contradicting_study_uid: UidField


class Withdrawal(WireModel):
    """An earlier correction counts no more."""

    kind: Literal["withdrawal"] = "withdrawal"
    amendment_id: str = Field(pattern=r"^[0-9a-f]{32}$")


About = Annotated[PatientMerge | StudyMove | Rejection | Identity | Withdrawal, Field(discriminator="kind")]


class AmendmentRecord(WireModel):
    """One correction: who made it, when, why, and what it says. `study_uid` is None when it is about patients."""

    format: Literal["counterpart-amendment/1"] = "counterpart-amendment/1"
    step: int = Field(ge=1)
    amendment_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    site_id: SiteIdField
    study_uid: UidField | None
    number: int = Field(ge=1)
    made_by: str | None  # account id; None: a note that came from the site
    made_at: AwareDatetime
    reason: str
    about: About

    @property
    def key(self) -> str:
        """Return where the record lies."""
        if self.study_uid is None:
            return f"{PATIENTS}{self.site_id}/amendments/{self.number}.json"
        return f"studies/{self.site_id}/{self.study_uid}/amendments/{self.number}.json"

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        return self.model_dump_json().encode()


def is_amendment_key(key: str) -> bool:
    """Return whether the object under this key is a correction."""
    return _KEY.fullmatch(key) is not None


def parse_amendment(key: str, data: bytes) -> AmendmentRecord:
    """Return the correction; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = AmendmentRecord.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None
    if record.key != key:
        raise RecordUnreadable(key)
    return record
