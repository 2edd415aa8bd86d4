"""Find orders among very many: by state and lane in the order of their changes, by name and numbers by their keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from storage.catalogue.order_keys import keys_of_order
from storage.catalogue.pinyin import readings
from storage.contract.orders import Order

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

ROWS = 1000
NEXT = sa.text("SELECT order_id, content FROM orders WHERE order_id > :after ORDER BY order_id LIMIT :rows")
WRITE = sa.text("INSERT INTO order_search (order_id, keys) VALUES (:order_id, :keys)").bindparams(
    sa.bindparam("keys", type_=postgresql.ARRAY(sa.Text))
)


def upgrade() -> None:
    op.create_index("ix_orders_state_changes", "orders", ["state", "change_number"])
    op.create_index("ix_orders_lane_changes", "orders", ["lane", "change_number"])
    op.create_table(
        "order_search",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("keys", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_search_order_id")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_order_search")),
    )
    _fill(op.get_bind())
    op.create_index("ix_order_search_keys", "order_search", ["keys"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_table("order_search")
    op.drop_index("ix_orders_lane_changes", "orders")
    op.drop_index("ix_orders_state_changes", "orders")


def _fill(connection: sa.Connection) -> None:
    after = ""
    while rows := connection.execute(NEXT, {"after": after, "rows": ROWS}).all():
        orders = ((order_id, Order.model_validate(content)) for order_id, content in rows)
        connection.execute(
            WRITE, [{"order_id": order_id, "keys": keys_of_order(order, readings)} for order_id, order in orders]
        )
        after = rows[-1].order_id
