"""HL7 messages that bring orders to the hub, and the numbers by which their senders know the orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    texts = ("site_id", "sender_name", "address", "sender", "control_id", "kind", "digest")
    op.create_table(
        "order_messages",
        sa.Column("message_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("faults", JSONB(), server_default="[]", nullable=False),
        sa.Column("order_ids", JSONB(), server_default="[]", nullable=False),
        sa.Column("decided_at", moment, nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("settled_at", moment, nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_order_messages")),
        sa.UniqueConstraint(
            "site_id",
            "sender_name",
            "sender",
            "control_id",
            "digest",
            name=op.f("uq_order_messages_site_id_sender_name_sender_control_id_digest"),
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.account_id"], name=op.f("fk_order_messages_decided_by")),
        sa.ForeignKeyConstraint(["settled_by"], ["accounts.account_id"], name=op.f("fk_order_messages_settled_by")),
    )
    is_open = sa.text("settled_at IS NULL AND (state <> 'taken' OR faults <> '[]')")
    op.create_index("ix_order_messages_open", "order_messages", ["site_id", "message_id"], postgresql_where=is_open)
    op.create_index(
        "ix_order_messages_waiting",
        "order_messages",
        ["message_id"],
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_table(
        "placer_orders",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("site_id", "namespace", "placer_number", "order_id")),
        sa.PrimaryKeyConstraint("site_id", "namespace", "placer_number", name=op.f("pk_placer_orders")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name=op.f("fk_placer_orders_site_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_placer_orders_order_id")),
    )
    op.create_index("ix_placer_orders_order_id", "placer_orders", ["order_id"])


def downgrade() -> None:
    op.drop_table("placer_orders")
    op.drop_table("order_messages")
