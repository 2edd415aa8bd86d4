"""Under which version of its agreement each offer was made; for earlier ones, the version of that moment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("offers", sa.Column("agreement_version", sa.BigInteger(), nullable=True))
    op.execute("""
        UPDATE offers SET agreement_version = versions.number FROM agreement_versions AS versions
        WHERE versions.agreement_id = offers.agreement_id AND versions.recorded_at <= offers.offered_at
          AND (versions.replaced_at IS NULL OR versions.replaced_at > offers.offered_at)
    """)


def downgrade() -> None:
    op.drop_column("offers", "agreement_version")
