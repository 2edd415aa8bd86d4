"""Link patient records of different sites; have every record of before looked at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study_identities",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("id_keys", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name=op.f("fk_study_identities_study_id_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_identities")),
    )
    op.create_table(
        "patient_match_keys",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("match_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("is_proved", sa.Boolean(), nullable=False),
        sa.CheckConstraint("kind IN ('national_id', 'person')", name=op.f("ck_patient_match_keys_kind_is_known")),
        _of_patient("patient_match_keys", "patient_id"),
        sa.PrimaryKeyConstraint("patient_id", "match_key", name=op.f("pk_patient_match_keys")),
    )
    op.create_index("ix_patient_match_keys_key", "patient_match_keys", ["match_key", "patient_id"])
    op.create_table(
        "patient_matching",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        _of_patient("patient_matching", "patient_id"),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_patient_matching")),
    )
    op.create_index(
        "ix_patient_matching_due", "patient_matching", ["asked_at"], postgresql_where=sa.text("asked > done")
    )
    op.execute("INSERT INTO patient_matching (patient_id, asked, asked_at) SELECT patient_id, 1, now() FROM patients")
    op.create_table(
        "patient_links",
        sa.Column("link_id", sa.Text(), nullable=False),
        sa.Column("patient_a", sa.Text(), nullable=False),
        sa.Column("patient_b", sa.Text(), nullable=False),
        sa.Column("site_a", sa.Text(), nullable=False),
        sa.Column("site_b", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("is_by_person", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("comparison", postgresql.JSONB(), nullable=False),
        sa.Column("decisions", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_recorded", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('suggested', 'linked', 'refused')", name=op.f("ck_patient_links_state_is_known")),
        sa.CheckConstraint('site_a COLLATE "C" < site_b COLLATE "C"', name=op.f("ck_patient_links_two_sites_in_order")),
        _of_patient("patient_links", "patient_a"),
        _of_patient("patient_links", "patient_b"),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_patient_links")),
        sa.UniqueConstraint("patient_a", "patient_b", name=op.f("uq_patient_links_patient_a_patient_b")),
    )
    op.create_index("ix_patient_links_b", "patient_links", ["patient_b"])
    op.create_index("ix_patient_links_state", "patient_links", ["state", "changed_at"])
    op.create_index(
        "ix_patient_links_unrecorded", "patient_links", ["link_id"], postgresql_where=sa.text("NOT is_recorded")
    )
    op.create_index("ix_orders_site_patient", "orders", ["site_id", sa.text("(content ->> 'patient_number')")])


def downgrade() -> None:
    op.drop_index("ix_orders_site_patient", "orders")
    for table in ("patient_links", "patient_matching", "patient_match_keys", "study_identities"):
        op.drop_table(table)


def _of_patient(table: str, column: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_patients")
    return sa.ForeignKeyConstraint([column], ["patients.patient_id"], name=name, ondelete="CASCADE")
