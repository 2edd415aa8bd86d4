"""Keep where the headers of a whole study lie, prepared in one object; ask for those of all studies that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prepared_metadata",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("instance_count", sa.BigInteger(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("json_bytes", sa.BigInteger(), nullable=False),
        sa.Column("series", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name=op.f("fk_prepared_metadata_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_prepared_metadata")),
    )
    op.add_column("studies", sa.Column("metadata_due_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE studies SET metadata_due_at = catalogued_at WHERE revision > 0")
    op.create_index(
        "ix_studies_metadata_due_at",
        "studies",
        ["metadata_due_at"],
        postgresql_where=sa.text("metadata_due_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_studies_metadata_due_at", "studies")
    op.drop_column("studies", "metadata_due_at")
    op.drop_table("prepared_metadata")
