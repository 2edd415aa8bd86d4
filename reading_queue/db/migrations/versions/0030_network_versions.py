"""Organisations, people and duty keep versions; a roster is kept as written; physicians read for several hospitals.

What stands now becomes version 1. Of duty written so far only its periods are known.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

ZONE = "Asia/Shanghai"
DUTY_SO_FAR = """
UPDATE physicians SET duty = CASE
  WHEN EXISTS (SELECT 1 FROM duty_periods d WHERE d.physician_id = physicians.physician_id
               AND d.duty_period_id LIKE '%\\:always' AND d.ends_at > now()) THEN '"always"'::jsonb
  ELSE coalesce((
    SELECT jsonb_agg(jsonb_build_object(
      'starts_at', to_char(d.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
      'ends_at', to_char(d.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')) ORDER BY d.starts_at)
    FROM duty_periods d WHERE d.physician_id = physicians.physician_id AND d.ends_at > now()), '[]'::jsonb)
  END
"""
FIRST_VERSIONS = (
    """
    INSERT INTO network_versions (kind, subject_id, number, facts, recorded_at)
    SELECT 'organisation', organisation_id, 1, jsonb_build_object('kind', kind, 'name', name, 'name_en', name_en,
      'parent', parent_id, 'site', site_id, 'time_zone', time_zone), now() FROM organisations
    """,
    """
    INSERT INTO network_versions (kind, subject_id, number, facts, recorded_at)
    SELECT 'person', account_id, 1, jsonb_build_object('name', display_name, 'role', role,
      'organisation', organisation_id, 'language', language, 'disabled', disabled_at IS NOT NULL), created_at
    FROM accounts
    """,
    """
    INSERT INTO network_versions (kind, subject_id, number, facts, recorded_at)
    SELECT 'physician', physician_id, 1, jsonb_build_object('title', title, 'licence_number', licence_number,
      'licence_valid_until', licence_valid_until::text, 'modalities', modalities, 'specialties', specialties,
      'wip_max', wip_max, 'also_at', also_at), created_at
    FROM physicians JOIN accounts USING (account_id)
    """,
    """
    INSERT INTO network_versions (kind, subject_id, number, facts, recorded_at)
    SELECT 'duty', physician_id, 1, jsonb_build_object('duty', duty), created_at
    FROM physicians JOIN accounts USING (account_id)
    """,
)


def upgrade() -> None:
    op.add_column("organisations", sa.Column("time_zone", sa.Text(), server_default=ZONE, nullable=False))
    op.execute("UPDATE organisations o SET time_zone = s.time_zone FROM sites s WHERE s.site_id = o.site_id")
    op.add_column("physicians", sa.Column("also_at", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("physicians", sa.Column("duty", postgresql.JSONB(), server_default="[]", nullable=False))
    op.create_index("ix_physicians_also_at", "physicians", ["also_at"], postgresql_using="gin")
    op.execute(DUTY_SO_FAR)
    op.create_table(
        "network_versions",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["accounts.account_id"], name=op.f("fk_network_versions_recorded_by_accounts")
        ),
        sa.PrimaryKeyConstraint("kind", "subject_id", "number", name=op.f("pk_network_versions")),
    )
    op.create_index(
        "uq_network_versions_present",
        "network_versions",
        ["kind", "subject_id"],
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    for statement in FIRST_VERSIONS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("network_versions")
    op.drop_index("ix_physicians_also_at", "physicians")
    op.drop_column("physicians", "duty")
    op.drop_column("physicians", "also_at")
    op.drop_column("organisations", "time_zone")
