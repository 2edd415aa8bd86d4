"""Instances that were compressed on the way: the syntax they came in, and a digest of their element values."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("values_sha256", "received_transfer_syntax_uid"):
        op.add_column("instances", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    for name in ("received_transfer_syntax_uid", "values_sha256"):
        op.drop_column("instances", name)
