"""What stands beside the bytes in object storage, so that an empty catalogue can be made again from it. Pure.

Beside each pack lies its record: what the gateway said of it that no instance says itself, and the facts with which it
was catalogued, in the order in which packs were. Beside a study's packs lies one object for each revision that was
recorded. Written before the transaction that catalogues a pack; a pack that is catalogued keeps its record for ever.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from storage.catalogue.indexing import FACTS_VERSION, CatalogueStep, PackFacts, PatientFacts, StudyFacts
from storage.contract.identifiers import Sha256Hex
from storage.contract.manifest import InstanceEntry, Purpose, Sha256Field, SiteIdField, UidField, WireModel

RECORD_SUFFIX: Final = ".record.json"
_RECORD_KEY: Final = re.compile(r"studies/[^/]+/[^/]+/packs/[0-9a-f]{64}\.record\.json")
_REVISION_KEY: Final = re.compile(r"studies/[^/]+/[^/]+/revisions/[0-9]+\.json")


class RecordUnreadable(Exception):
    """An object that should be a record is none; the message names its key."""


class PackRecord(WireModel):
    """One pack as it was catalogued.

    `facts` are what the index took from the bytes, by the rules of `facts_version`; without them, or when the rules
    have changed since, they are taken from the bytes again. `replaces`: instances that were held before in a pack whose
    bytes had been damaged.
    """

    format: Literal["counterpart-pack-record/1"] = "counterpart-pack-record/1"
    number: int = Field(ge=1)
    verified_at: AwareDatetime
    site_id: SiteIdField
    time_zone: str  # of the site, as it was then
    study_uid: UidField
    pack_sha256: Sha256Field
    size_bytes: int = Field(ge=1)
    purpose: Purpose
    first_received_at: AwareDatetime  # of the transfer that brought it
    entries: tuple[InstanceEntry, ...] = Field(min_length=1)
    replaces: tuple[UidField, ...] = ()
    facts_version: int = 0
    facts: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Return where the record lies."""
        return record_key(self.site_id, self.study_uid, self.pack_sha256)

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        return self.model_dump_json().encode()

    def step(self, record_sha256: str) -> CatalogueStep:
        """Return the step of the catalogue that this record tells of."""
        return CatalogueStep(self.number, record_sha256, frozenset(self.replaces))


class RevisionRecord(WireModel):
    """A study's revision: how many instances it had when its set of them was last known to be whole, and when."""

    format: Literal["counterpart-revision/1"] = "counterpart-revision/1"
    site_id: SiteIdField
    study_uid: UidField
    revision: int = Field(ge=1)
    instance_count: int = Field(ge=0)
    catalogued_at: AwareDatetime

    @property
    def key(self) -> str:
        """Return where the record lies."""
        return f"studies/{self.site_id}/{self.study_uid}/revisions/{self.revision}.json"


@dataclass(frozen=True, slots=True)
class CataloguedFacts:
    """All that the index took from a pack's bytes."""

    patient: PatientFacts
    study: StudyFacts
    pack: PackFacts


_FACTS: Final = TypeAdapter(CataloguedFacts)


def pack_key(site_id: str, study_uid: str, pack_sha256: str) -> str:
    """Return where a pack lies for good."""
    return f"studies/{site_id}/{study_uid}/packs/{pack_sha256}.tar"


def headers_key(site_id: str, study_uid: str, pack_sha256: str) -> str:
    """Return where the DICOM JSON of a pack's members lies."""
    return f"studies/{site_id}/{study_uid}/packs/{pack_sha256}.json"


def record_key(site_id: str, study_uid: str, pack_sha256: str) -> str:
    """Return where a pack's record lies."""
    return f"studies/{site_id}/{study_uid}/packs/{pack_sha256}{RECORD_SUFFIX}"


def is_record_key(key: str) -> bool:
    """Return whether the object under this key is a pack's record."""
    return _RECORD_KEY.fullmatch(key) is not None


def is_revision_key(key: str) -> bool:
    """Return whether the object under this key is a revision's record."""
    return _REVISION_KEY.fullmatch(key) is not None


def digest_of(record: bytes) -> Sha256Hex:
    """Return the digest by which the catalogue knows a record."""
    return Sha256Hex(hashlib.sha256(record).hexdigest())


def dump_facts(facts: CataloguedFacts) -> dict[str, Any]:
    """Return the facts as a record holds them: the entries stand in the record already."""
    dumped: dict[str, Any] = _FACTS.dump_python(facts, mode="json")
    for member in dumped["pack"]["members"]:
        del member["entry"]
    return dumped


def find_facts(record: PackRecord) -> CataloguedFacts | None:
    """Return the facts of a record; None when it holds none that are taken by the rules of today."""
    if record.facts is None or record.facts_version != FACTS_VERSION:
        return None
    members = record.facts["pack"]["members"]
    entries = [{"entry": entry, **member} for entry, member in zip(record.entries, members, strict=True)]
    try:
        return _FACTS.validate_python({**record.facts, "pack": {**record.facts["pack"], "members": entries}})
    except ValidationError:
        raise RecordUnreadable(record.key) from None  # it may quote the patient


def parse_pack_record(key: str, data: bytes) -> PackRecord:
    """Return the record; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = PackRecord.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None
    if record.key != key:
        raise RecordUnreadable(key)
    return record


def parse_revision_record(key: str, data: bytes) -> RevisionRecord:
    """Return the record; raises RecordUnreadable when it is none, or lies under another key than its own."""
    try:
        record = RevisionRecord.model_validate_json(data)
    except ValidationError:
        raise RecordUnreadable(key) from None
    if record.key != key:
        raise RecordUnreadable(key)
    return record
