"""What object storage says of links that persons decided, so that a new catalogue keeps to them. Pure.

One object for each link under `links/`, with every decision on it; the newest takes the place of the one before. It
names the two patient records as their packs' records do: by site and number.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from storage.catalogue.pack_records import RecordUnreadable
from storage.contract.manifest import SiteIdField, WireModel

LINKS: Final = "links/"


class DecisionRecord(WireModel):
    """One act of one person; `by` is an account id."""

    act: str
    at: AwareDatetime
    by: str
    reason: str


class RecordName(WireModel):
    """One patient record."""

    site_id: SiteIdField
    patient_number: str


class LinkRecord(WireModel):
    """One link with all that persons decided of it, oldest first; `patient_a` is of the site that sorts first."""

    format: Literal["counterpart-link/1"] = "counterpart-link/1"
    link_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    patient_a: RecordName
    patient_b: RecordName
    state: Literal["suggested", "linked", "refused"]
    changed_at: AwareDatetime
    decisions: tuple[DecisionRecord, ...] = Field(min_length=1)

    @property
    def key(self) -> str:
        """Return where the record lies."""
        return link_key(self.link_id)


def link_key(link_id: str) -> str:
    """Return where the record of a link lies."""
    return f"{LINKS}{link_id}.json"


def parse_link(key: str, data: bytes) -> LinkRecord:
    """Return the record; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = LinkRecord.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None  # it may quote a patient
    if record.key != key or record.patient_a.site_id >= record.patient_b.site_id:
        raise RecordUnreadable(key)
    return record
