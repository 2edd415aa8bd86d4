"""Which patient records of different sites are one person, and by which keys such records are found.

National IDs, names and birth dates stand here only as HMACs under a key of the hub: equal keys are equal facts, and say
nothing else. What the facts give is computed again at any time; what persons decided is kept (`decisions`), here and as
an object of its own (`storage.catalogue.link_records`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class StudyIdentity(Base):
    """The national IDs that a study's own headers hold; read once. `id_keys`: whether each number fits its study.

    It fits when it holds the birth date and sex that the study says.
    """

    __tablename__ = "study_identities"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id", ondelete="CASCADE"), primary_key=True)
    id_keys: Mapped[dict[str, Any]]


class PatientMatchKey(Base):
    """One key of a patient record: of a national ID, or of name, birth date and sex together.

    `is_proved`: the number holds the record's own birth date and sex.
    """

    __tablename__ = "patient_match_keys"
    __table_args__ = (
        Index("ix_patient_match_keys_key", "match_key", "patient_id"),
        CheckConstraint("kind IN ('national_id', 'person')", name="kind_is_known"),
    )

    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.patient_id", ondelete="CASCADE"), primary_key=True)
    match_key: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    is_proved: Mapped[bool]


class PatientMatching(Base):
    """How often it was asked to look for a record's links, and up to which asking that was done."""

    __tablename__ = "patient_matching"
    __table_args__ = (Index("ix_patient_matching_due", "asked_at", postgresql_where=text("asked > done")),)

    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.patient_id", ondelete="CASCADE"), primary_key=True)
    asked: Mapped[int]
    done: Mapped[int] = mapped_column(server_default="0")
    asked_at: Mapped[datetime]


class PatientLink(Base):
    """Two records that are one person, may be, or are not.

    `patient_a` is of the site whose id sorts first. Without `decisions` the state follows from the facts, and the row
    is gone when nothing speaks for it any more; with them only persons change it. `comparison`: {"traits", "doubts"} as
    last computed. `decisions`: [{"act", "at", "by", "reason"}, …], oldest first.
    """

    __tablename__ = "patient_links"
    __table_args__ = (
        UniqueConstraint("patient_a", "patient_b"),
        Index("ix_patient_links_b", "patient_b"),
        Index("ix_patient_links_state", "state", "changed_at"),
        Index("ix_patient_links_unrecorded", "link_id", postgresql_where=text("NOT is_recorded")),
        CheckConstraint("state IN ('suggested', 'linked', 'refused')", name="state_is_known"),
        CheckConstraint('site_a COLLATE "C" < site_b COLLATE "C"', name="two_sites_in_order"),
    )

    link_id: Mapped[str] = mapped_column(primary_key=True)
    patient_a: Mapped[str] = mapped_column(ForeignKey("patients.patient_id", ondelete="CASCADE"))
    patient_b: Mapped[str] = mapped_column(ForeignKey("patients.patient_id", ondelete="CASCADE"))
    site_a: Mapped[str]
    site_b: Mapped[str]
    state: Mapped[str]  # reading_queue.domain.links.LinkState
    is_by_person: Mapped[bool] = mapped_column(server_default=text("false"))  # a person has decided about it
    comparison: Mapped[dict[str, Any]]
    decisions: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")
    changed_at: Mapped[datetime]
    is_recorded: Mapped[bool] = mapped_column(server_default=text("true"))  # object storage knows all decisions
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so
