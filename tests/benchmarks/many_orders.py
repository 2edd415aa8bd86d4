"""A hundred thousand orders of all sites, made by the database itself; nineteen in twenty have their images."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from tests.benchmarks.archive_of_studies import GIVEN, SURNAMES

NAMES: Final = "CREATE UNLOGGED TABLE order_names (number int PRIMARY KEY, name text NOT NULL, keys text[] NOT NULL)"
ORDERS: Final = """
WITH numbers AS (
    SELECT n, lpad('order' || n, 32, '0') AS id, sites[1 + n % cardinality(sites)] AS site_id, names.name, names.keys,
           'B' || lpad(n::text, 9, '0') AS accession, 'W' || lpad(n::text, 8, '0') AS patient,
           CASE WHEN n % 10 = 0 THEN 'stat' WHEN n % 10 < 3 THEN 'urgent' ELSE 'routine' END AS lane,
           CASE WHEN n % 40 = 0 THEN 'cancelled' WHEN n % 20 = 1 THEN 'scheduled' ELSE 'done' END AS state,
           now() - n * interval '1 minute' AS at
    FROM generate_series(0, :orders - 1) n
    JOIN order_names names ON names.number = n * 37 % :names,
    (SELECT array_agg(site_id ORDER BY site_id) AS sites FROM sites JOIN organisations USING (site_id)) s
), made AS (
    INSERT INTO orders (order_id, site_id, accession_number, study_uid, order_version, state, lane, content,
                        received_at, change_number, differs)
    SELECT id, site_id, accession, '2.25.7' || n, 1, state, lane,
           jsonb_build_object('format', 'counterpart-order/1', 'order_id', id, 'version', 1, 'site_id', site_id,
               'accession_number', accession, 'study_uid', '2.25.7' || n, 'state', state, 'origin', 'console',
               'state_reason', CASE state WHEN 'cancelled' THEN 'bench' ELSE '' END, 'patient_number', patient,
               'patient_name', name, 'sex', 'F', 'birth_date', '1960-05-01', 'lane', lane, 'modality', 'CT',
               'procedure_name', '胸部平扫', 'history', '咳嗽2周', 'question', '排除肺炎', 'scheduled_at', at,
               'entered_by', 'bench', 'entered_at', at, 'changed_at', at),
           at, 1000000 + :orders - n, CASE state WHEN 'done' THEN '[]'::jsonb END
    FROM numbers
)
INSERT INTO order_search (order_id, keys)
SELECT id, keys || ARRAY(SELECT '#' || left(lower(accession), k) FROM generate_series(1, length(accession)) k)
            || ARRAY(SELECT '#' || left(lower(patient), k) FROM generate_series(1, length(patient)) k)
FROM numbers
"""


def fill_orders(engine: sa.Engine, orders: int) -> None:
    """Make so many orders, the newest change first."""
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        connection.execute(sa.text(NAMES))
        names = [f"{surname}^{given}" for surname in SURNAMES for given in GIVEN]
        rows = [{"number": n, "name": name, "keys": keys_of_name(name, readings)} for n, name in enumerate(names)]
        connection.execute(sa.text("INSERT INTO order_names VALUES (:number, :name, :keys)"), rows)
        connection.execute(sa.text(ORDERS), {"orders": orders, "names": len(names)})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))
