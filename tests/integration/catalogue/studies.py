"""What packs of a study hold, as their proof tells the catalogue; no bytes lie behind it."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

from storage.catalogue.indexing import MemberFacts, PackFacts, PatientFacts, SeriesFacts, StudyFacts
from storage.contract.identifiers import Sha256Hex, Uid
from storage.contract.manifest import InstanceEntry

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
PATIENT = PatientFacts(number="P-1", name="王^芳", birth_date=date(1980, 2, 29), sex="F")
SERIES = 4


def study_facts(study_uid: str) -> StudyFacts:
    return StudyFacts(
        study_uid=study_uid,
        accession_number="A-1",
        study_number="1",
        description="胸部CT平扫",
        body_part="CHEST",
        referring_physician="",
        study_date=date(2026, 3, 2),
        study_time="085500",
        exam_started_at=None,
        character_set="GB18030",
        character_set_repair=None,
        first_received_at=NOW,
    )


def make_packs(study_uid: str, *, instances: int, packs: int) -> list[PackFacts]:
    """Return `packs` packs with `instances` instances in all, which lie in SERIES series."""
    numbers = range(instances)
    return [_pack(study_uid, pack, [number for number in numbers if number % packs == pack]) for pack in range(packs)]


def _pack(study_uid: str, number: int, instances: list[int]) -> PackFacts:
    digest = _sha256(f"{study_uid} pack {number}")
    return PackFacts(
        pack_sha256=digest,
        object_key=f"studies/site/{study_uid}/packs/{digest}.tar",
        headers_key=f"studies/site/{study_uid}/packs/{digest}.json",
        size_bytes=16 * 1024 * 1024,
        members=tuple(_member(study_uid, instance) for instance in instances),
    )


def _member(study_uid: str, number: int) -> MemberFacts:
    series = number % SERIES
    entry = InstanceEntry(
        sop_instance_uid=Uid(f"{study_uid}.9.{number}"),
        sop_class_uid=Uid("1.2.840.10008.5.1.4.1.1.2"),
        series_uid=Uid(f"{study_uid}.{series}"),
        transfer_syntax_uid=Uid("1.2.840.10008.1.2.4.201"),
        received_sha256=_sha256(f"{study_uid} received {number}"),
        stored_sha256=_sha256(f"{study_uid} stored {number}"),
        size_bytes=250_000,
        received_at=NOW,
    )
    return MemberFacts(
        entry=entry,
        series=SeriesFacts(
            series_uid=entry.series_uid,
            modality="CT",
            number=series,
            description="骨窗",
            body_part="CHEST",
            performed_date=None,
            performed_time="",
            requests=(),
        ),
        number=number,
        rows=512,
        columns=512,
        bits_allocated=16,
        frame_count=1,
        offset_bytes=512 + 250_512 * number,
        frame_spans=[{"spans": [[1200, 248_800]]}],
    )


def _sha256(text: str) -> Sha256Hex:
    return Sha256Hex(hashlib.sha256(text.encode()).hexdigest())
