"""Until which day somebody belongs to the network; the versions of people say that none is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("last_day", sa.Date(), nullable=True))
    op.execute("""UPDATE network_versions SET facts = facts || '{"last_day": null}' WHERE kind = 'person'""")


def downgrade() -> None:
    op.execute("UPDATE network_versions SET facts = facts - 'last_day' WHERE kind = 'person'")
    op.drop_column("accounts", "last_day")
