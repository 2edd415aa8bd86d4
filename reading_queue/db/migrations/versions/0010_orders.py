"""Keep the clinics' orders, so that the reader has history and question, and the case its urgency."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateSequence, DropSequence

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHANGES = sa.Sequence("order_changes")


def upgrade() -> None:
    op.execute(CreateSequence(CHANGES))
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("order_version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("change_number", sa.BigInteger(), nullable=False),
        sa.Column("differs", JSONB(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name=op.f("fk_orders_site_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.gateway_id"], name=op.f("fk_orders_gateway_id")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
        sa.UniqueConstraint("change_number", name=op.f("uq_orders_change_number")),
        sa.UniqueConstraint("site_id", "accession_number", name=op.f("uq_orders_site_id_accession_number")),
    )
    op.create_index("ix_orders_site_changes", "orders", ["site_id", "change_number"])
    op.create_index("ix_orders_site_study", "orders", ["site_id", "study_uid"])
    op.create_index("ix_studies_site_accession", "studies", ["site_id", "accession_number"])


def downgrade() -> None:
    op.drop_index("ix_studies_site_accession", "studies")
    op.drop_table("orders")
    op.execute(DropSequence(CHANGES))
