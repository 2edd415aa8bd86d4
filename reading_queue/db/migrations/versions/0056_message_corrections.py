"""Orders that people made of refused HL7 messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "message_corrections",
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("faults", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "number", name=op.f("pk_message_corrections")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["order_messages.message_id"],
            name=op.f("fk_message_corrections_message_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_message_corrections_order_id")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_message_corrections_account_id")
        ),
        sa.UniqueConstraint("order_id", name=op.f("uq_message_corrections_order_id")),
    )


def downgrade() -> None:
    op.drop_table("message_corrections")
