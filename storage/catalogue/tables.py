"""Patients, studies, series, instances, packs; and the transfers by which they arrive.

Catalogue identity is (site, UID): one site can never touch another's study.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.tables import Base

UNKNOWN_SEXES: Final = ("", "O")  # of (0010,0040): what contradicts nothing
_NEWEST_FIRST: Final = (text("study_date DESC NULLS LAST"), "study_id")  # the order in which searches answer


def number_search_indexes(table: str, column: str) -> tuple[Index, Index]:
    """Return the indexes by which a number is found by its beginning and by its end, whatever its letters' case."""
    lowered = func.lower(text(column))
    ways = {"begins": lowered, "ends": func.reverse(lowered)}
    begins, ends = (
        Index(f"ix_{table}_{column}_{end}", words.label(end), postgresql_ops={end: "text_pattern_ops"})
        for end, words in ways.items()
    )
    return begins, ends


class Patient(Base):
    """A patient as one site knows them; `patient_number` is (0010,0020), unique within its issuer, the site.

    Birth date and sex are the first that were said. A study that says another one marks the record as contradicted: it
    may be two people's.
    """

    __tablename__ = "patients"
    __table_args__ = (
        UniqueConstraint("site_id", "patient_number"),
        Index("ix_patients_number", "patient_number", postgresql_ops={"patient_number": "text_pattern_ops"}),
        *number_search_indexes("patients", "patient_number"),
        Index("ix_patients_contradicted_at", "contradicted_at", postgresql_where=text("contradicted_at IS NOT NULL")),
    )

    patient_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    patient_number: Mapped[str]
    name: Mapped[str]  # decoded, for people; the object keeps its own bytes
    birth_date: Mapped[date | None] = mapped_column(Date)
    sex: Mapped[str]
    contradicted_at: Mapped[datetime | None]  # when the last study came that says another birth date or sex
    contradicting_study_uid: Mapped[str] = mapped_column(server_default="")
    # The record that stands for this one since somebody merged them.
    merged_into_id: Mapped[str | None] = mapped_column(ForeignKey("patients.patient_id"), index=True)


class Study(Base):
    """A study of one site. Counts are of what is shown; `revision` rises when that changes, or its patient."""

    __tablename__ = "studies"
    __table_args__ = (
        UniqueConstraint("site_id", "study_uid"),
        Index("ix_studies_study_uid", "study_uid"),
        Index("ix_studies_site_accession", "site_id", "accession_number"),
        Index("ix_studies_newest", *_NEWEST_FIRST),
        Index("ix_studies_site_newest", "site_id", *_NEWEST_FIRST),
        Index("ix_studies_name_keys", "name_keys", postgresql_using="gin"),
        Index("ix_studies_birth_date", "patient_birth_date"),
        Index("ix_studies_accession", "accession_number", postgresql_ops={"accession_number": "text_pattern_ops"}),
        *number_search_indexes("studies", "accession_number"),
        Index("ix_studies_number", "study_number", postgresql_ops={"study_number": "text_pattern_ops"}),
        Index("ix_studies_metadata_due_at", "metadata_due_at", postgresql_where=text("metadata_due_at IS NOT NULL")),
        Index("ix_studies_unrecorded", "study_id", postgresql_where=text("revision > recorded_revision")),
    )

    study_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    study_uid: Mapped[str]
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.patient_id"), index=True)
    # This, its keys and the next two: of its own headers, or of the record it was refiled under (amendment_tables).
    patient_name: Mapped[str] = mapped_column(server_default="")
    name_keys: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")  # storage.catalogue.name_keys
    patient_birth_date: Mapped[date | None] = mapped_column(Date)
    patient_sex: Mapped[str] = mapped_column(server_default="")
    accession_number: Mapped[str] = mapped_column(server_default="")
    study_number: Mapped[str] = mapped_column(server_default="")  # (0020,0010) Study ID
    description: Mapped[str] = mapped_column(server_default="")
    body_part: Mapped[str] = mapped_column(server_default="")
    referring_physician: Mapped[str] = mapped_column(server_default="")
    study_date: Mapped[date | None] = mapped_column(Date)
    study_time: Mapped[str] = mapped_column(server_default="")  # DICOM TM as sent
    exam_started_at: Mapped[datetime | None]  # None when the study's own time is missing or implausible
    character_set: Mapped[str] = mapped_column(server_default="")
    character_set_repair: Mapped[str | None]  # which repair the index needed, if any
    modalities: Mapped[list[str]]
    series_count: Mapped[int]
    instance_count: Mapped[int]
    size_bytes: Mapped[int]
    revision: Mapped[int]
    revision_instance_count: Mapped[int] = mapped_column(server_default="0")  # instance_count when it last rose
    recorded_revision: Mapped[int] = mapped_column(server_default="0")  # the newest that object storage tells of
    first_received_at: Mapped[datetime]  # at the gateway
    catalogued_at: Mapped[datetime]
    metadata_due_at: Mapped[datetime | None]  # since when its headers are to be prepared anew

    patient: Mapped[Patient] = relationship(lazy="raise_on_sql")


class PreparedMetadata(Base):
    """The object with all headers of a study as it was at one revision with so many instances.

    `series`: by UID, where each series lies in it (`storage.dicomweb.prepared.Stretch`).
    """

    __tablename__ = "prepared_metadata"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    revision: Mapped[int]
    instance_count: Mapped[int]
    object_key: Mapped[str]
    size_bytes: Mapped[int]
    json_bytes: Mapped[int]  # of what it unpacks to
    series: Mapped[dict[str, Any]]
    prepared_at: Mapped[datetime]


class Series(Base):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_uid"), Index("ix_series_series_uid", "series_uid"))

    series_id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"))
    series_uid: Mapped[str]
    modality: Mapped[str]
    number: Mapped[int | None]
    description: Mapped[str] = mapped_column(server_default="")
    body_part: Mapped[str] = mapped_column(server_default="")
    performed_date: Mapped[date | None] = mapped_column(Date)  # (0040,0244)
    performed_time: Mapped[str] = mapped_column(server_default="")  # (0040,0245), TM as sent
    # (0040,0275) Request Attributes: [{"step_id", "procedure_id"}, …]
    requests: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")
    instance_count: Mapped[int]


SOUND, DAMAGED, MISSING = "sound", "damaged", "missing"  # how the bytes of a pack were last found


class Pack(Base):
    """One verified object that holds many instances of one study.

    `number` orders packs as they were catalogued; it and all else that a new catalogue needs stand in the pack's record
    in object storage (`storage.catalogue.pack_records`). `condition` is how the bytes were when they were last read.
    """

    __tablename__ = "packs"
    __table_args__ = (
        UniqueConstraint("study_id", "pack_sha256"),
        CheckConstraint("condition IN ('sound', 'damaged', 'missing')", name="condition_is_known"),
        Index("ix_packs_unrecorded", "number", postgresql_where=text("record_sha256 IS NULL")),
        Index("ix_packs_checked_at", "checked_at"),
        Index("ix_packs_unsound", "condition_since", postgresql_where=text("condition <> 'sound'")),
    )

    pack_id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"))
    pack_sha256: Mapped[str]
    object_key: Mapped[str]
    headers_key: Mapped[str]  # DICOM JSON of the members, prepared when the pack was verified
    size_bytes: Mapped[int]
    verified_at: Mapped[datetime]
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    record_sha256: Mapped[str | None]  # of the record in object storage; None: it has none yet
    # When all its bytes were last read and agreed, or were found not to.
    checked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    condition: Mapped[str] = mapped_column(server_default=SOUND)
    condition_since: Mapped[datetime | None]
    # Which instances cannot be given any more: their gateways are asked for them again.
    damaged_uids: Mapped[list[str]] = mapped_column(server_default="[]")


class Instance(Base):
    """One instance and where its bytes lie: pack, offset and length; frames as (offset, length) spans."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "site_id"), Index("ix_instances_series", "series_id"))

    instance_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    series_id: Mapped[str] = mapped_column(ForeignKey("series.series_id"))
    pack_id: Mapped[str] = mapped_column(ForeignKey("packs.pack_id"), index=True)
    sop_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    number: Mapped[int | None]
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    bits_allocated: Mapped[int | None]
    frame_count: Mapped[int]  # 0 without pixel data
    offset_bytes: Mapped[int]  # of the Part 10 file inside the pack
    size_bytes: Mapped[int]
    frame_spans: Mapped[list[dict[str, Any]]]  # [{"spans": [[offset in the file, length], …]}, …] one per frame
    received_sha256: Mapped[str]
    stored_sha256: Mapped[str]
    pixel_sha256: Mapped[str | None]
    values_sha256: Mapped[str | None]
    received_transfer_syntax_uid: Mapped[str | None]  # when it is stored in another one
    rejection: Mapped[str | None]  # the code of the note that hides it (storage.catalogue.amendment_records)


class DepositState(StrEnum):
    """How far a deposit is."""

    PUTTING = "putting"  # its packs are on their way to staging
    COMMITTED = "committed"  # all of them are there, and its transfer is declared
    ABANDONED = "abandoned"  # it came to nothing; its packs are being removed, and the row with the last of them


class Deposit(Base):
    """Instances of one study that a person stored at the hub itself; its packs are granted under its own id."""

    __tablename__ = "deposits"
    __table_args__ = (Index("ix_deposits_open", "begun_at", postgresql_where=text("state <> 'committed'")),)

    deposit_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    study_uid: Mapped[str]
    deposited_by: Mapped[str]  # account id
    purpose: Mapped[str]  # storage.contract.manifest.Purpose
    state: Mapped[str]  # DepositState
    begun_at: Mapped[datetime]


class Transfer(Base):
    """A declared manifest. Durable until every instance of it is verified, and after."""

    __tablename__ = "transfers"
    __table_args__ = (
        UniqueConstraint("site_id", "manifest_sha256"),
        Index("ix_transfers_site_study", "site_id", "study_uid"),
        Index("ix_transfers_open", "site_id", "study_uid", postgresql_where=text("state <> 'verified'")),
        CheckConstraint("(gateway_id IS NULL) <> (deposit_id IS NULL)", name="one_source"),
    )

    transfer_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    gateway_id: Mapped[str | None] = mapped_column(ForeignKey("gateways.gateway_id"))
    deposit_id: Mapped[str | None] = mapped_column(ForeignKey("deposits.deposit_id"))  # instead of a gateway
    study_uid: Mapped[str]
    revision: Mapped[int]
    lane: Mapped[str]
    manifest_sha256: Mapped[str]
    manifest: Mapped[dict[str, Any]] = mapped_column(deferred=True)  # up to 12 MB: see transfers.manifest_of
    state: Mapped[str]  # storage.contract.wire.TransferState
    declared_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so


class Grant(Base):
    """Permission to upload given packs for a while."""

    __tablename__ = "grants"

    grant_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True), unique=True)  # orders grants whatever the clock does
    transfer_id: Mapped[str] = mapped_column(ForeignKey("transfers.transfer_id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class GrantedPack(Base):
    """One pack of a grant on its way from staging to its final key."""

    __tablename__ = "granted_packs"
    __table_args__ = (UniqueConstraint("grant_id", "pack_sha256"), Index("ix_granted_packs_state", "state"))

    granted_pack_id: Mapped[str] = mapped_column(primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.grant_id"))
    pack_sha256: Mapped[str]
    size_bytes: Mapped[int]
    staging_key: Mapped[str]
    sop_instance_uids: Mapped[list[str]]
    # Of a large pack all parts, [{"size_bytes", "sha256"}, …]; None for one that is uploaded whole.
    parts: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    # The numbers of those that have an address in this grant.
    parts_granted: Mapped[list[int] | None] = mapped_column(JSONB(none_as_null=True))
    state: Mapped[str]  # granted, committed, verified, refused, expired
    committed_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    refusal_code: Mapped[str | None]
    refusal_reason: Mapped[str | None]
    # Which parts must come again; None: all.
    refused_parts: Mapped[list[int] | None] = mapped_column(JSONB(none_as_null=True))
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so


class RebuildStep(Base):
    """A pack's record or a correction that a rebuild of the catalogue has found; gone when the rebuild is done."""

    __tablename__ = "rebuild_steps"
    __table_args__ = (Index("ix_rebuild_steps_number", "number"),)

    record_key: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    done_at: Mapped[datetime | None]
    problem: Mapped[str | None]  # in words: why the pack could not be catalogued as it was, or at all
