"""Find studies in a large archive by date, number, UID or name without reading it; keep what series are searched by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ROWS = 1000
NEXT_STUDIES = sa.text(
    "SELECT study_id, patient_name FROM studies WHERE study_id > :after AND patient_name <> '' "
    "ORDER BY study_id LIMIT :rows"
)
WRITE = sa.text("UPDATE studies SET name_keys = :keys WHERE study_id = :study_id").bindparams(
    sa.bindparam("keys", type_=postgresql.ARRAY(sa.Text))
)
NEWEST_FIRST: list[str | sa.TextClause] = [sa.text("study_date DESC NULLS LAST"), "study_id"]


def upgrade() -> None:
    op.add_column("series", sa.Column("performed_date", sa.Date(), nullable=True))
    op.add_column("series", sa.Column("performed_time", sa.Text(), server_default="", nullable=False))
    op.add_column("series", sa.Column("requests", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("instances", sa.Column("bits_allocated", sa.BigInteger(), nullable=True))
    op.add_column("studies", sa.Column("name_keys", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))
    _fill_name_keys(op.get_bind())
    op.create_index("ix_studies_name_keys", "studies", ["name_keys"], postgresql_using="gin")
    op.create_index("ix_studies_newest", "studies", NEWEST_FIRST)
    op.create_index("ix_studies_site_newest", "studies", ["site_id", *NEWEST_FIRST])
    op.create_index("ix_studies_birth_date", "studies", ["patient_birth_date"])
    for name, table, column in (
        ("ix_studies_accession", "studies", "accession_number"),
        ("ix_studies_number", "studies", "study_number"),
        ("ix_patients_number", "patients", "patient_number"),
    ):
        op.create_index(name, table, [column], postgresql_ops={column: "text_pattern_ops"})
    op.create_index("ix_series_series_uid", "series", ["series_uid"])
    # The UID first: it serves a search that names no site as well.
    op.drop_constraint("uq_instances_site_id_sop_instance_uid", "instances")
    op.create_unique_constraint("uq_instances_sop_instance_uid_site_id", "instances", ["sop_instance_uid", "site_id"])


def downgrade() -> None:
    op.drop_constraint("uq_instances_sop_instance_uid_site_id", "instances")
    op.create_unique_constraint("uq_instances_site_id_sop_instance_uid", "instances", ["site_id", "sop_instance_uid"])
    op.drop_index("ix_series_series_uid", "series")
    op.drop_index("ix_patients_number", "patients")
    for name in ("number", "accession", "birth_date", "site_newest", "newest", "name_keys"):
        op.drop_index(f"ix_studies_{name}", "studies")
    op.drop_column("studies", "name_keys")
    op.drop_column("instances", "bits_allocated")
    for column in ("requests", "performed_time", "performed_date"):
        op.drop_column("series", column)


def _fill_name_keys(connection: sa.Connection) -> None:
    after = ""
    while rows := connection.execute(NEXT_STUDIES, {"after": after, "rows": ROWS}).all():
        named = [{"study_id": row.study_id, "keys": keys_of_name(row.patient_name, readings)} for row in rows]
        connection.execute(WRITE, named)
        after = rows[-1].study_id
