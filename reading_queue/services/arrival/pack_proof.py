"""Whether a pack is what its gateway said it is, and what the catalogue learns from it. Reads; writes nothing.

Nothing is believed: every digest is taken again from the bytes, every UID read again from the instance's own header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from storage.catalogue.exam_start import find_exam_start
from storage.catalogue.header_facts import (
    BITS_ALLOCATED,
    PERFORMED_DATE,
    PERFORMED_TIME,
    requests_of,
    text_of,
    unsigned_of,
)
from storage.catalogue.indexing import MemberFacts, PatientFacts, SeriesFacts, StudyFacts
from storage.catalogue.pack_records import headers_key, pack_key, record_key
from storage.catalogue.patient_numbers import invent_number
from storage.contract.identifiers import InvalidIdentifier, Sha256Hex
from storage.contract.manifest import InstanceEntry, Purpose
from storage.dicom.digests import InstanceDigests, digest_instance
from storage.dicom.headers import InstanceHeader, MissingIdentifier, NotDicom, parse_date, read_header
from storage.dicom.json_model import DicomJson, instance_json
from storage.dicom.structure import DatasetTruncated, PixelDataShort, Structure, check_structure
from storage.dicom.transcoding import NotRestorable
from storage.dicomweb.bulkdata import stored_address
from storage.packs import PackDamaged, PackedFile, ScannedPack, scan_pack
from storage.packs.reading import MEMBER_IN_MEMORY_BYTES_MAX, Reopen

UNREADABLE: Final = (NotDicom, DatasetTruncated, PixelDataShort, MissingIdentifier, InvalidIdentifier)


class PackRefused(Exception):
    """The pack does not prove; `code` is constant, `reason` is words for a person and names UIDs only.

    `parts`: the numbers of those parts that must come again; empty when it is the whole pack.
    """

    def __init__(self, code: str, reason: str, parts: tuple[int, ...] = ()) -> None:
        self.code = code
        self.reason = reason
        self.parts = parts
        super().__init__(f"{code}: {reason}")


@dataclass(frozen=True, slots=True)
class PartClaim:
    """What a gateway said of one part of a large pack, and where it may lie, its newest upload first."""

    number: int
    offset_bytes: int  # in the pack
    size_bytes: int
    sha256: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackClaim:
    """What a gateway said of one pack, and where its bytes lie; `entries` are those that the pack should hold.

    `parts` are all parts of a large pack in order, empty for one that was uploaded whole.
    """

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
    parts: tuple[PartClaim, ...] = ()
    purpose: Purpose = "read"

    @property
    def object_key(self) -> str:
        """Where the pack lies for good."""
        return pack_key(self.site_id, self.study_uid, self.pack_sha256)

    @property
    def headers_key(self) -> str:
        """Where the DICOM JSON of its members lies."""
        return headers_key(self.site_id, self.study_uid, self.pack_sha256)

    @property
    def record_key(self) -> str:
        """Where its record lies."""
        return record_key(self.site_id, self.study_uid, self.pack_sha256)

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


def prove_pack(chunks: Iterable[bytes], claim: PackClaim, reopen: Reopen) -> ProvedPack:
    """Return what a pack holds once everything claimed of it is proved by its bytes.

    `reopen` reads a stretch of the same pack again; see `scan_pack`.

    Raises:
        PackRefused: it is damaged, has another digest, holds another study, or an instance that is not as declared.
    """
    members: list[MemberFacts] = []
    headers: list[InstanceHeader] = []
    datasets: list[DicomJson] = []

    def on_member(found: PackedFile, file: BinaryIO) -> None:
        entry = _entry_of(claim, found)
        passed = found.size_bytes <= MEMBER_IN_MEMORY_BYTES_MAX  # a larger one is read once more, so proved once more
        structure, header, dataset, digests = _read(entry, file, found.stored_sha256 if passed else None)
        _check_identity(claim, entry, header)
        members.append(_member_facts(_proved(entry, digests), header, dataset, structure, found.offset_bytes))
        headers.append(header)
        datasets.append(dataset)

    try:
        scanned = scan_pack(chunks, on_member, reopen=reopen)
    except PackDamaged as exc:
        raise PackRefused("damaged", str(exc)) from exc
    _check_whole(claim, scanned)
    return ProvedPack(
        patient=_patient_facts(claim, headers[0]),
        study=_study_facts(claim, headers[0]),
        members=tuple(members),
        headers_json=json.dumps(datasets, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def _entry_of(claim: PackClaim, found: PackedFile) -> InstanceEntry:
    uid = found.sop_instance_uid
    entry = claim.entries.get(uid)
    if entry is None:
        raise PackRefused("not_in_manifest", f"the pack holds instance {uid}, which was not declared for it")
    if found.size_bytes != entry.size_bytes:
        reason = f"instance {uid} was declared with {entry.size_bytes} bytes and has {found.size_bytes}"
        raise PackRefused("size_differs", reason)
    if found.stored_sha256 != entry.stored_sha256:
        raise PackRefused("hash_differs", f"instance {uid} has another SHA-256 than declared")
    return entry


def _read(
    entry: InstanceEntry, file: BinaryIO, stored_sha256: Sha256Hex | None
) -> tuple[Structure, InstanceHeader, DicomJson, InstanceDigests]:
    """Return what the instance itself says, once its digests are those of the manifest.

    One that the gateway compressed must give back the dataset that it received.
    """
    uid = entry.sop_instance_uid
    try:
        structure = check_structure(file)
        header = read_header(file)
        compressed = entry.received_transfer_syntax_uid is not None
        digests = digest_instance(file, structure, compressed_here=compressed, stored_sha256=stored_sha256)
        dataset = instance_json(file, bulk_data_uri=stored_address)
    except UNREADABLE as exc:
        raise PackRefused("damaged", f"instance {uid} cannot be read: {exc}") from exc
    except NotRestorable as exc:
        raise PackRefused("not_restorable", f"instance {uid} does not give back what was received: {exc}") from exc
    if digests.stored_sha256 != entry.stored_sha256:
        raise PackRefused("hash_differs", f"instance {uid} has another SHA-256 than declared")
    if digests.received_sha256 != entry.received_sha256:
        raise PackRefused("hash_differs", f"the dataset of instance {uid} has another SHA-256 than declared")
    if digests.received_transfer_syntax_uid != entry.received_transfer_syntax_uid:
        raise PackRefused("uid_differs", f"instance {uid} came in another transfer syntax than declared")
    if _differ(digests.pixel_sha256, entry.pixel_sha256):
        raise PackRefused("hash_differs", f"the pixels of instance {uid} have another SHA-256 than declared")
    if _differ(digests.values_sha256, entry.values_sha256):
        raise PackRefused("hash_differs", f"the element values of instance {uid} have another SHA-256 than declared")
    return structure, header, dataset, digests


def _differ(proved: str | None, declared: str | None) -> bool:
    return proved is not None and declared is not None and proved != declared


def _proved(entry: InstanceEntry, digests: InstanceDigests) -> InstanceEntry:
    """Return the entry with the digests that the bytes gave, where the gateway gave none or nothing here takes them."""
    return entry.model_copy(update={"pixel_sha256": digests.pixel_sha256, "values_sha256": digests.values_sha256})


def _check_identity(claim: PackClaim, entry: InstanceEntry, header: InstanceHeader) -> None:
    if header.study_uid != claim.study_uid:
        raise PackRefused("wrong_study", f"instance {entry.sop_instance_uid} belongs to another study")
    own = (header.sop_instance_uid, header.sop_class_uid, header.series_uid, header.transfer_syntax_uid)
    declared = (entry.sop_instance_uid, entry.sop_class_uid, entry.series_uid, entry.transfer_syntax_uid)
    if own != declared:
        raise PackRefused("uid_differs", f"instance {entry.sop_instance_uid} has other UIDs than declared")


def _check_whole(claim: PackClaim, scanned: ScannedPack) -> None:
    if scanned.pack_sha256 != claim.pack_sha256:
        raise PackRefused("hash_differs", "the pack has another SHA-256 than declared")
    if (scanned.site_id, scanned.study_uid) != (claim.site_id, claim.study_uid):
        raise PackRefused("wrong_study", "the pack was made for another site or study")
    absent = claim.entries.keys() - {member.sop_instance_uid for member in scanned.members}
    if absent:
        raise PackRefused("instance_missing", f"the pack lacks {len(absent)} of the instances declared for it")


def _member_facts(
    entry: InstanceEntry, header: InstanceHeader, dataset: DicomJson, structure: Structure, offset_bytes: int
) -> MemberFacts:
    return MemberFacts(
        entry=entry,
        series=SeriesFacts(
            series_uid=header.series_uid,
            modality=header.modality,
            number=header.series_number,
            description=header.series_description,
            body_part=header.body_part,
            performed_date=parse_date(text_of(dataset, PERFORMED_DATE)),
            performed_time=text_of(dataset, PERFORMED_TIME),
            requests=requests_of(dataset),
        ),
        number=header.instance_number,
        rows=header.rows,
        columns=header.columns,
        bits_allocated=unsigned_of(dataset, BITS_ALLOCATED),
        frame_count=header.frame_count,
        offset_bytes=offset_bytes,
        frame_spans=structure.frame_spans(),
    )


def _patient_facts(claim: PackClaim, header: InstanceHeader) -> PatientFacts:
    """Return the patient; one without a number is never taken for another one without a number."""
    return PatientFacts(
        number=header.patient_number or invent_number(claim.study_uid),
        name=header.patient_name,
        birth_date=header.birth_date,
        sex=header.sex,
    )


def _study_facts(claim: PackClaim, header: InstanceHeader) -> StudyFacts:
    return StudyFacts(
        study_uid=header.study_uid,
        accession_number=header.accession_number,
        study_number=header.study_number,
        description=header.study_description,
        body_part=header.body_part,
        referring_physician=header.referring_physician,
        study_date=header.study_date,
        study_time=header.study_time,
        exam_started_at=find_exam_start(
            header.study_date,
            header.study_time,
            timezone_offset=header.timezone_offset,
            site_time_zone=claim.time_zone,
            first_received_at=claim.first_received_at,
        ),
        character_set=header.character_set,
        character_set_repair=header.character_set_repair,
        first_received_at=claim.first_received_at,
    )
