"""Patients, studies, series, instances, packs; and the transfers by which they arrive.

Catalogue identity is (site, UID): one site can never touch another's study.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.tables import Base


class Patient(Base):
    """A patient as one site knows them; `patient_number` is (0010,0020), unique within its issuer, the site."""

    __tablename__ = "patients"
    __table_args__ = (UniqueConstraint("site_id", "patient_number"),)

    patient_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    patient_number: Mapped[str]
    name: Mapped[str]  # decoded, for people; the object keeps its own bytes
    birth_date: Mapped[date | None] = mapped_column(Date)
    sex: Mapped[str]


class Study(Base):
    """A study of one site. `revision` rises with every change of its set of instances."""

    __tablename__ = "studies"
    __table_args__ = (UniqueConstraint("site_id", "study_uid"), Index("ix_studies_study_uid", "study_uid"))

    study_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    study_uid: Mapped[str]
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.patient_id"), index=True)
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
    first_received_at: Mapped[datetime]  # at the gateway
    catalogued_at: Mapped[datetime]

    patient: Mapped[Patient] = relationship(lazy="raise_on_sql")


class Series(Base):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_uid"),)

    series_id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"))
    series_uid: Mapped[str]
    modality: Mapped[str]
    number: Mapped[int | None]
    description: Mapped[str] = mapped_column(server_default="")
    body_part: Mapped[str] = mapped_column(server_default="")
    instance_count: Mapped[int]


class Pack(Base):
    """One verified object that holds many instances of one study."""

    __tablename__ = "packs"
    __table_args__ = (UniqueConstraint("study_id", "pack_sha256"),)

    pack_id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"))
    pack_sha256: Mapped[str]
    object_key: Mapped[str]
    headers_key: Mapped[str]  # DICOM JSON of the members, prepared when the pack was verified
    size_bytes: Mapped[int]
    verified_at: Mapped[datetime]


class Instance(Base):
    """One instance and where its bytes lie: pack, offset and length; frames as (offset, length) spans."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("site_id", "sop_instance_uid"), Index("ix_instances_series", "series_id"))

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
    frame_count: Mapped[int]  # 0 without pixel data
    offset_bytes: Mapped[int]  # of the Part 10 file inside the pack
    size_bytes: Mapped[int]
    frame_spans: Mapped[list[dict[str, Any]]]  # [{"spans": [[offset in the file, length], …]}, …] one per frame
    received_sha256: Mapped[str]
    stored_sha256: Mapped[str]
    pixel_sha256: Mapped[str | None]


class Transfer(Base):
    """A declared manifest. Durable until every instance of it is verified, and after."""

    __tablename__ = "transfers"
    __table_args__ = (
        UniqueConstraint("site_id", "manifest_sha256"),
        Index("ix_transfers_site_study", "site_id", "study_uid"),
        Index("ix_transfers_open", "site_id", "study_uid", postgresql_where=text("state <> 'verified'")),
    )

    transfer_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.gateway_id"))
    study_uid: Mapped[str]
    revision: Mapped[int]
    lane: Mapped[str]
    manifest_sha256: Mapped[str]
    manifest: Mapped[dict[str, Any]]
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
    state: Mapped[str]  # granted, committed, verified, refused
    committed_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    refusal_code: Mapped[str | None]
    refusal_reason: Mapped[str | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so
