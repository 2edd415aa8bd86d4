"""Keep every version of an order, what its reader was told of a change, and notes after the signature."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "order_versions",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("order_version", sa.BigInteger(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("changed", JSONB(), nullable=False),
        sa.Column("recorded_at", moment, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("gateway_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_versions_order_id")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_order_versions_account_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.gateway_id"], name=op.f("fk_order_versions_gateway_id")),
        sa.PrimaryKeyConstraint("order_id", "order_version", name=op.f("pk_order_versions")),
    )
    op.execute(
        "INSERT INTO order_versions (order_id, order_version, content, changed, recorded_at, gateway_id)"
        " SELECT order_id, order_version, content, '[]'::jsonb, received_at, gateway_id FROM orders"
    )
    op.create_table(
        "order_news",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("order_version", sa.BigInteger(), nullable=False),
        sa.Column("fields", JSONB(), nullable=False),
        sa.Column("told_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=True),
        sa.Column("seen_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_order_news_case_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_news_order_id")),
        sa.ForeignKeyConstraint(["seen_by"], ["accounts.account_id"], name=op.f("fk_order_news_seen_by")),
        sa.PrimaryKeyConstraint("case_id", "order_id", "order_version", name=op.f("pk_order_news")),
    )
    op.create_index("ix_order_news_unseen", "order_news", ["case_id"], postgresql_where=sa.text("seen_at IS NULL"))
    op.create_table(
        "order_notes",
        sa.Column("note_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_notes_order_id")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_order_notes_account_id")),
        sa.PrimaryKeyConstraint("note_id", name=op.f("pk_order_notes")),
    )
    op.create_index("ix_order_notes_order_id", "order_notes", ["order_id"])


def downgrade() -> None:
    for table in ("order_notes", "order_news", "order_versions"):
        op.drop_table(table)
