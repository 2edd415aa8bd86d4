"""What object storage says of holds and deletions, so that a new catalogue keeps to them. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from storage.catalogue.pack_records import RecordUnreadable
from storage.contract.manifest import Sha256Field, SiteIdField, UidField, WireModel

DELETIONS: Final = "deletions/"
_HOLD_KEY: Final = re.compile(r"studies/[^/]+/[^/]+/holds/[0-9a-f]{32}\.json")


class HoldRecord(WireModel):
    """One hold as it is now."""

    format: Literal["counterpart-hold/1"] = "counterpart-hold/1"
    hold_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    site_id: SiteIdField
    study_uid: UidField
    reason: str
    placed_by: str
    placed_at: AwareDatetime
    released_by: str | None
    released_at: AwareDatetime | None

    @property
    def key(self) -> str:
        """Return where the record lies."""
        return f"studies/{self.site_id}/{self.study_uid}/holds/{self.hold_id}.json"


class Tombstone(WireModel):
    """A study that was deleted: who decided it and why, and what it was, without anything of the patient."""

    format: Literal["counterpart-deletion/1"] = "counterpart-deletion/1"
    site_id: SiteIdField
    study_uid: UidField
    deleted_at: AwareDatetime
    reason: str
    requested_by: str  # account ids
    approved_by: str
    stored_sha256s: dict[UidField, Sha256Field]

    @property
    def key(self) -> str:
        """Return where the record lies."""
        return f"{DELETIONS}{self.site_id}/{self.study_uid}.json"


def is_hold_key(key: str) -> bool:
    """Return whether the object under this key is a hold."""
    return _HOLD_KEY.fullmatch(key) is not None


def parse_hold(key: str, data: bytes) -> HoldRecord:
    """Return the hold; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = HoldRecord.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None
    if record.key != key:
        raise RecordUnreadable(key)
    return record


def parse_tombstone(key: str, data: bytes) -> Tombstone:
    """Return the tombstone; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = Tombstone.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None
    if record.key != key:
        raise RecordUnreadable(key)
    return record
