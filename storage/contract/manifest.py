"""What a gateway declares about a study: every instance with its digests."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from storage.contract.identifiers import Sha256Hex, SiteId, Uid, parse_sha256, parse_site_id, parse_uid
from storage.contract.lanes import Lane

INSTANCES_PER_MANIFEST_MAX = 20_000

Purpose = Literal["read", "prior", "evidence"]

UidField = Annotated[Uid, AfterValidator(parse_uid)]
SiteIdField = Annotated[SiteId, AfterValidator(parse_site_id)]
Sha256Field = Annotated[Sha256Hex, AfterValidator(parse_sha256)]


class Because(StrEnum):
    """Why a gateway judged a study complete; part of its manifest and of its custody event."""

    FORCED = "forced"
    EXPECTED_COUNT = "expected_count"
    QUIET_PERIOD = "quiet_period"
    ASSOCIATION_STAYED_OPEN = "association_stayed_open"
    STEP_STAYED_OPEN = "step_stayed_open"
    INSTANCES_MISSING = "instances_missing"
    CLOCK_SET_BACK = "clock_set_back"


# There may be more images then: somebody or the gateway's patience ended the waiting for them.
NOT_SURELY_WHOLE = frozenset(
    {Because.FORCED, Because.INSTANCES_MISSING, Because.ASSOCIATION_STAYED_OPEN, Because.STEP_STAYED_OPEN}
)


class WireModel(BaseModel):
    """Frozen, closed and strict enough for a line between two machines: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InstanceEntry(WireModel):
    """One instance as the gateway holds it.

    `received_sha256`: the dataset as received, without file meta. `stored_sha256`: the Part 10 file in the pack.
    `pixel_sha256`: decoded, whole allocated words; None where the gateway did not decode it (exactly:
    storage.dicom.transcoding.pixels). `received_transfer_syntax_uid`: the syntax that it came in when it is stored in
    another one. `values_sha256`: its element values, however they are encoded (exactly: storage.dicom.values).
    """

    sop_instance_uid: UidField
    sop_class_uid: UidField
    series_uid: UidField
    transfer_syntax_uid: UidField
    received_sha256: Sha256Field
    stored_sha256: Sha256Field
    pixel_sha256: Sha256Field | None = None
    received_transfer_syntax_uid: UidField | None = None
    values_sha256: Sha256Field | None = None
    size_bytes: int = Field(ge=132)
    received_at: AwareDatetime


class Manifest(WireModel):
    """All that one transfer of one study carries. `revision` counts this gateway's transfers of the study from 1.

    `purpose`: to be read; an earlier study that the hub asked for beside one that is read; or what a reader added to a
    study, such as key images and measurements. No gateway declares the last.
    """

    format: Literal["counterpart-manifest/1"] = "counterpart-manifest/1"
    site_id: SiteIdField
    study_uid: UidField
    revision: int = Field(ge=1)
    lane: Lane = Lane.ROUTINE
    calling_ae_title: str = Field(max_length=16)
    complete_because: str = Field(max_length=64)  # a Because of this release or another
    expected_instances: int | None = Field(default=None, ge=1)
    completed_at: AwareDatetime
    purpose: Purpose = "read"
    instances: tuple[InstanceEntry, ...] = Field(min_length=1, max_length=INSTANCES_PER_MANIFEST_MAX)

    @model_validator(mode="after")
    def _instances_are_sorted_and_unique(self) -> Manifest:
        uids = [entry.sop_instance_uid for entry in self.instances]
        if uids != sorted(set(uids)):
            raise ValueError("instances must be sorted by SOP Instance UID, each named once")
        return self

    def sha256(self) -> Sha256Hex:
        """Return the digest of the manifest's own JSON: its identity when it is declared again, in whichever lane."""
        identity = self.model_copy(update={"lane": Lane.ROUTINE})
        without = {"purpose"} if self.purpose == "read" else set[str]()  # as manifests were before there were priors
        return Sha256Hex(hashlib.sha256(identity.model_dump_json(exclude=without).encode()).hexdigest())

    def last_received_at(self) -> datetime:
        """Return when the newest instance became durable in the spool."""
        return max(entry.received_at for entry in self.instances)
