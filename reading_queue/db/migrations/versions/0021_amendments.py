"""Corrections without touching originals: merged patients, moved studies, rejected instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("patients", sa.Column("merged_into_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_patients_merged_into_id"), "patients", "patients", ["merged_into_id"], ["patient_id"]
    )
    op.create_index("ix_patients_merged_into_id", "patients", ["merged_into_id"])
    op.add_column("instances", sa.Column("rejection", sa.Text(), nullable=True))
    op.create_table(
        "amendments",
        sa.Column("amendment_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_by_id", sa.Text(), nullable=True),
        sa.Column("is_recorded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("amendment_id", name=op.f("pk_amendments")),
        sa.UniqueConstraint("site_id", "study_uid", "number", name=op.f("uq_amendments_site_id_study_uid_number")),
        sa.UniqueConstraint("step", name=op.f("uq_amendments_step")),
    )
    op.create_index("ix_amendments_unrecorded", "amendments", ["step"], postgresql_where=sa.text("NOT is_recorded"))
    op.create_table(
        "refilings",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("filed_under_id", sa.Text(), nullable=True),
        sa.Column("own_patient_id", sa.Text(), nullable=False),
        sa.Column("own_name", sa.Text(), nullable=False),
        sa.Column("own_birth_date", sa.Date(), nullable=True),
        sa.Column("own_sex", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_refilings_study_id")),
        sa.ForeignKeyConstraint(["filed_under_id"], ["patients.patient_id"], name=op.f("fk_refilings_filed_under_id")),
        sa.ForeignKeyConstraint(["own_patient_id"], ["patients.patient_id"], name=op.f("fk_refilings_own_patient_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_refilings")),
    )
    op.create_index("ix_refilings_filed_under_id", "refilings", ["filed_under_id"])
    op.create_index("ix_refilings_own_patient_id", "refilings", ["own_patient_id"])
    op.create_table(
        "rejected_instances",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("amendment_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("is_note", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["amendment_id"], ["amendments.amendment_id"], name=op.f("fk_rejected_instances_amendment_id")
        ),
        sa.PrimaryKeyConstraint(
            "site_id", "study_uid", "sop_instance_uid", "amendment_id", name=op.f("pk_rejected_instances")
        ),
    )


def downgrade() -> None:
    for table in ("rejected_instances", "refilings", "amendments"):
        op.drop_table(table)
    op.drop_column("instances", "rejection")
    op.drop_index("ix_patients_merged_into_id", "patients")
    op.drop_column("patients", "merged_into_id")
