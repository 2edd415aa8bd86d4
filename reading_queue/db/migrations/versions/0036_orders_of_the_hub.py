"""Orders that are made at the hub: no gateway brought them, their consent is kept, their numbers come from here.

Orders without a study are found by an index; "no study yet" was written in two ways and is NULL from now on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateSequence, DropSequence

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

NUMBERS = sa.Sequence("hub_accession_numbers")


def upgrade() -> None:
    op.execute(CreateSequence(NUMBERS))
    op.alter_column("orders", "gateway_id", nullable=True)
    op.add_column("orders", sa.Column("consent", JSONB(), nullable=True))
    op.execute("UPDATE orders SET differs = NULL WHERE differs = 'null'::jsonb")
    op.create_index("ix_orders_waiting", "orders", ["site_id"], postgresql_where=sa.text("differs IS NULL"))


def downgrade() -> None:
    op.drop_index("ix_orders_waiting", "orders")
    op.drop_column("orders", "consent")
    op.execute("DELETE FROM orders WHERE gateway_id IS NULL")
    op.alter_column("orders", "gateway_id", nullable=False)
    op.execute(DropSequence(NUMBERS))
