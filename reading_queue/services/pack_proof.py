"""Whether a pack is what its gateway said it is, and what the catalogue learns from it. Reads; writes nothing.

Nothing is believed: every digest is taken again from the bytes, every UID read again from the instance's own header.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from storage.catalogue.indexing import MemberFacts, PatientFacts, StudyFacts
from storage.contract.manifest import InstanceEntry


class PackRefused(Exception):
    """The pack does not prove; `code` is constant, `reason` is words for a person and names UIDs only."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code}: {reason}")


@dataclass(frozen=True, slots=True)
class PackClaim:
    """What a gateway said of one pack, and where its bytes lie; `entries` are those that the pack should hold."""

    granted_pack_id: str
    grant_id: str
    transfer_id: str
    site_id: str
    study_uid: str
    time_zone: str
    pack_sha256: str
    size_bytes: int
    staging_key: str
    entries: dict[str, InstanceEntry]
    first_received_at: datetime

    @property
    def object_key(self) -> str:
        """Where the pack lies for good."""
        return f"studies/{self.site_id}/{self.study_uid}/packs/{self.pack_sha256}.tar"

    @property
    def headers_key(self) -> str:
        """Where the DICOM JSON of its members lies."""
        return f"studies/{self.site_id}/{self.study_uid}/packs/{self.pack_sha256}.json"

    @property
    def quarantine_key(self) -> str:
        """Where it lies when it did not prove."""
        return f"quarantine/{self.grant_id}/{self.pack_sha256}.tar"


@dataclass(frozen=True, slots=True)
class ProvedPack:
    """What a pack that proved tells the catalogue; `headers_json` is DICOM JSON (PS3.18 F.2) of all members."""

    patient: PatientFacts
    study: StudyFacts
    members: tuple[MemberFacts, ...]
    headers_json: bytes


def prove_pack(chunks: Iterable[bytes], claim: PackClaim) -> ProvedPack:
    """Return what a pack holds once everything claimed of it is proved by its bytes.

    Raises:
        PackRefused: it is damaged, has another digest, holds another study, or an instance that is not as declared.
    """
    raise NotImplementedError
